"""Write a mesh as binary glTF 2.0 (GLB).

Meters, +Y up, +Z forward (glTF 2.0, section 3.4), one rough and non-metallic material, and a dark
one for the inside of the open shell that a face is: where one looks into it, between lips or from
behind, there is no skin.  Without a
texture the vertices have colors, and no extension is used.  A texture is a JPEG inside the file;
as light is part of it, the material asks not to be lit once more (`KHR_materials_unlit`), and a
reader that does not know the extension shows it lit.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.color import linear_from_srgb
from facewright.models.frozen import once_if_frozen
from facewright.models.normals import index_range
from facewright.service.formats.media_types import JPEG
from facewright.service.formats.mesh import Mesh
from facewright.service.formats.pictures import encode_picture

_METRES_PER_MM = 1e-3
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_UNSIGNED_SHORT, _UNSIGNED_INT, _FLOAT = 5123, 5125, 5126
# The largest value of an index type restarts a primitive and must not occur (section 3.7.2.1).
_RESTART_SHORT = 0xFFFF
_INSIDE = {
    "name": "inside",
    "pbrMetallicRoughness": {
        "baseColorFactor": [0.02, 0.015, 0.015, 1.0],
        "metallicFactor": 0.0,
        "roughnessFactor": 1.0,
    },
}
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071
# 8-bit sRGB to 16-bit linear light, as COLOR_0 is linear.
LINEAR_FROM_SRGB_U16 = np.rint(linear_from_srgb(np.arange(256) / 255.0) * 65535.0).astype(np.uint16)


def write_glb(mesh: Mesh, extras: Mapping[str, Any]) -> bytes:
    """A self-contained GLB file.

    extras: what to keep in `asset.extras`, as JSON allows it (license, coefficients, ...);
    `units` is added.
    Raises ValueError or TypeError for extras that are not JSON.
    """
    positions = np.ascontiguousarray(mesh.vertices * np.float32(_METRES_PER_MM), "<f4")
    count = len(positions)
    outside, inside = _indices(mesh.triangles)
    index = {
        "componentType": _UNSIGNED_SHORT if outside.itemsize == 2 else _UNSIGNED_INT,
        "count": outside.size,
        "type": "SCALAR",
    }
    vector = {"componentType": _FLOAT, "count": count, "type": "VEC3"}
    columns = np.ascontiguousarray(positions.T)  # along rows of three NumPy takes 40 times as long
    bounds = {"min": columns.min(1).tolist(), "max": columns.max(1).tolist()}
    color_name, color_array, color_accessor = _color_attribute(mesh)
    arrays: list[tuple[NDArray[Any], int | None]] = [
        (positions, _ARRAY_BUFFER),
        (np.ascontiguousarray(mesh.normals, "<f4"), _ARRAY_BUFFER),
        (color_array, _ARRAY_BUFFER),
        (outside, _ELEMENT_ARRAY_BUFFER),
        (inside, _ELEMENT_ARRAY_BUFFER),
    ]
    material: dict[str, Any] = {
        "name": "skin",
        "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.7},
    }
    textures: dict[str, Any] = {}
    if mesh.texture is not None:
        # Textures of colors are sRGB (section 3.9.2), whatever a profile says.
        picture = encode_picture(mesh.texture.rgb_u8, JPEG, tagged=False)
        arrays.append((np.frombuffer(picture, np.uint8), None))
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        material["extensions"] = {"KHR_materials_unlit": {}}
        textures = {
            "extensionsUsed": ["KHR_materials_unlit"],
            "textures": [{"sampler": 0, "source": 0}],
            "images": [{"name": "skin", "mimeType": "image/jpeg", "bufferView": len(arrays) - 1}],
            "samplers": [
                {
                    "magFilter": _LINEAR,
                    "minFilter": _LINEAR_MIPMAP_LINEAR,
                    "wrapS": _CLAMP_TO_EDGE,
                    "wrapT": _CLAMP_TO_EDGE,
                }
            ],
        }

    views: list[dict[str, int]] = []
    chunks: list[bytes | memoryview] = []
    offset = 0
    for array, target in arrays:
        view = {"buffer": 0, "byteOffset": offset, "byteLength": array.nbytes}
        views.append(view if target is None else {**view, "target": target})
        padding = -array.nbytes % 4
        chunks += [array.data.cast("B"), bytes(padding)]
        offset += array.nbytes + padding
    document = {
        "asset": {
            "version": "2.0",
            "generator": "facewright",
            "extras": {**extras, "units": "meters"},
        },
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face"}],
        "meshes": [
            {
                "name": "face",
                "primitives": [
                    {
                        "attributes": {"POSITION": 0, "NORMAL": 1, color_name: 2},
                        "indices": 3,
                        "material": 0,
                    },
                    # Without normals: it is all but black, whatever the light.
                    {"attributes": {"POSITION": 0}, "indices": 4, "material": 1},
                ],
            }
        ],
        "materials": [material, _INSIDE],
        **textures,
        "accessors": [
            {"bufferView": 0, **vector, **bounds},
            {"bufferView": 1, **vector},
            {"bufferView": 2, "count": count, **color_accessor},
            {"bufferView": 3, **index},
            {"bufferView": 4, **index},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }
    return pack_glb(document, chunks, offset)


@once_if_frozen
def _indices(triangles: NDArray[np.int32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Triangles (T, 3) as an accessor has them, and the same seen from inside."""
    short = index_range(triangles)[1] < _RESTART_SHORT
    outside = np.ascontiguousarray(triangles, "<u2" if short else "<u4")
    return outside, np.ascontiguousarray(outside[:, ::-1])


def pack_glb(
    document: Mapping[str, Any], chunks: Iterable[bytes | memoryview], length: int
) -> bytes:
    """The file of a glTF document and its one buffer, `length` bytes in `chunks`.

    Raises ValueError or TypeError for what is not JSON.
    """
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


def _color_attribute(mesh: Mesh) -> tuple[str, NDArray[Any], dict[str, Any]]:
    """Name, values and accessor of what colors the mesh.

    Vertex colors would multiply a texture, so it is one or the other.
    """
    if mesh.texture is not None:
        places = mesh.texture.uv.astype("<f4")
        # Texture coordinates of glTF count from the top of the image (section 3.8.2).
        places[:, 1] = 1.0 - places[:, 1]
        return "TEXCOORD_0", places, {"componentType": _FLOAT, "type": "VEC2"}
    # 16 bits keep the dark tones apart that 8 linear bits would merge; an unused fourth
    # channel keeps every element on the required 4-byte boundary.
    opaque = cv2.cvtColor(mesh.colors_u8[None], cv2.COLOR_RGB2RGBA)[0]
    colors = cv2.LUT(opaque, LINEAR_FROM_SRGB_U16).astype("<u2", copy=False)
    accessor = {"componentType": _UNSIGNED_SHORT, "normalized": True, "type": "VEC4"}
    return "COLOR_0", colors, accessor
