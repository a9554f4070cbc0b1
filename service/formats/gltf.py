"""What files of binary glTF 2.0 (GLB) are made of: one buffer, its accessors, and the wrapping."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from facewright.models.arrays import Array, ByteArray
from facewright.models.color import linear_from_srgb
from facewright.service.formats.media_types import JPEG
from facewright.service.formats.pictures import encode_picture

METERS_PER_MM = 1e-3
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
BYTE, UNSIGNED_BYTE, SHORT, UNSIGNED_SHORT = 5120, 5121, 5122, 5123
UNSIGNED_INT, FLOAT = 5125, 5126
UNLIT = "KHR_materials_unlit"
# The largest value of an index type restarts a primitive and must not occur (section 3.7.2.1).
RESTART_SHORT = 0xFFFF
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071
# 8-bit sRGB to 16-bit linear light, as COLOR_0 is linear.  16 bits keep the dark tones apart that
# 8 linear bits would merge.
LINEAR_FROM_SRGB_U16 = np.rint(linear_from_srgb(np.arange(256) / 255.0) * 65535.0).astype(np.uint16)


class Buffer:
    """The buffer of a file, and what tells its contents."""

    def __init__(self) -> None:
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []
        self._chunks: list[bytes | memoryview] = []
        self._length = 0

    def view(self, data: Array | bytes, target: int | None = None, stride: int = 0) -> int:
        """Append bytes; the number of their buffer view."""
        raw = memoryview(data if isinstance(data, bytes) else data.data).cast("B")
        view = {"buffer": 0, "byteOffset": self._length, "byteLength": raw.nbytes}
        if stride:
            view["byteStride"] = stride
        if target is not None:
            view["target"] = target
        self.views.append(view)
        padding = -raw.nbytes % 4
        self._chunks += [raw, bytes(padding)]
        self._length += raw.nbytes + padding
        return len(self.views) - 1

    def accessor(
        self,
        array: Array,
        kind: str,
        component: int,
        target: int | None = ARRAY_BUFFER,
        **more: Any,
    ) -> int:
        """Append an array (n, ...) whose rows are padded to 4 bytes; the accessor's number."""
        array = np.ascontiguousarray(array)
        stride = array[0].nbytes if target == ARRAY_BUFFER else 0
        view = self.view(array, target, stride)
        count = array.size if kind == "SCALAR" else len(array)
        self.accessors.append(
            {"bufferView": view, "componentType": component, "count": count, "type": kind, **more}
        )
        return len(self.accessors) - 1

    def indices(self, indices: Array) -> int:
        """Append indices of 16 or 32 bits; the accessor's number."""
        component = UNSIGNED_SHORT if indices.itemsize == 2 else UNSIGNED_INT
        return self.accessor(indices, "SCALAR", component, ELEMENT_ARRAY_BUFFER)

    def texture(self, rgb_u8: ByteArray, name: str) -> dict[str, Any]:
        """Append an image (N, N, 3) as JPEG; the document's entries for the one texture."""
        # Textures of colors are sRGB (section 3.9.2), whatever a profile says.
        picture = self.view(encode_picture(rgb_u8, JPEG, tagged=False))
        return {
            "textures": [{"sampler": 0, "source": 0}],
            "images": [{"name": name, "mimeType": "image/jpeg", "bufferView": picture}],
            "samplers": [
                {
                    "magFilter": _LINEAR,
                    "minFilter": _LINEAR_MIPMAP_LINEAR,
                    "wrapS": _CLAMP_TO_EDGE,
                    "wrapT": _CLAMP_TO_EDGE,
                }
            ],
        }

    def pack(self, document: Mapping[str, Any]) -> bytes:
        """The file of a document whose arrays are here; raises as `pack_glb`."""
        arrays = {"accessors": self.accessors, "bufferViews": self.views}
        return pack_glb({**document, **arrays}, self._chunks, self._length)


def pack_glb(
    document: Mapping[str, Any], chunks: Iterable[bytes | memoryview], length: int
) -> bytes:
    """The file of a glTF document and its one buffer, `length` bytes in `chunks`.

    Raises ValueError or TypeError for what is not JSON.
    """
    document = {**document, "buffers": [{"byteLength": length}]}
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + length)
    return b"".join(
        [
            header,
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", length, b"BIN\0"),
            *chunks,
        ]
    )
