"""Write a mesh as binary glTF 2.0 (GLB).

Meters, +Y up, +Z forward (glTF 2.0, section 3.4), one rough and non-metallic material, and a dark
one for the inside of the open shell that a face is: where one looks into it, between lips or from
behind, there is no skin.  Without a
texture the vertices have colors, and no extension is used.  A texture is a JPEG inside the file;
as light is part of it, the material asks not to be lit once more (`KHR_materials_unlit`), and a
reader that does not know the extension shows it lit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from facewright.models.arrays import Array, IntArray
from facewright.models.frozen import once_if_frozen
from facewright.models.normals import index_range
from facewright.service.formats.gltf import (
    FLOAT,
    LINEAR_FROM_SRGB_U16,
    METERS_PER_MM,
    RESTART_SHORT,
    UNLIT,
    UNSIGNED_SHORT,
    Buffer,
)
from facewright.service.formats.mesh import Mesh

_INSIDE = {
    "name": "inside",
    "pbrMetallicRoughness": {
        "baseColorFactor": [0.02, 0.015, 0.015, 1.0],
        "metallicFactor": 0.0,
        "roughnessFactor": 1.0,
    },
}


def write_glb(mesh: Mesh, extras: Mapping[str, Any]) -> bytes:
    """A self-contained GLB file.

    extras: what to keep in `asset.extras`, as JSON allows it (license, coefficients, ...);
    `units` is added.
    Raises ValueError or TypeError for extras that are not JSON.
    """
    buffer = Buffer()
    positions = np.ascontiguousarray(mesh.vertices * np.float32(METERS_PER_MM), "<f4")
    columns = np.ascontiguousarray(positions.T)  # along rows of three NumPy takes 40 times as long
    bounds = {"min": columns.min(1).tolist(), "max": columns.max(1).tolist()}
    outside, inside = _indices(mesh.triangles)
    attributes = {
        "POSITION": buffer.accessor(positions, "VEC3", FLOAT, **bounds),
        "NORMAL": buffer.accessor(mesh.normals.astype("<f4", copy=False), "VEC3", FLOAT),
        **_color_attribute(buffer, mesh),
    }
    primitives = [
        {"attributes": attributes, "indices": buffer.indices(outside), "material": 0},
        # Without normals: it is all but black, whatever the light.
        {
            "attributes": {"POSITION": attributes["POSITION"]},
            "indices": buffer.indices(inside),
            "material": 1,
        },
    ]
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.7}
    skin: dict[str, Any] = {"name": "skin", "pbrMetallicRoughness": surface}
    document: dict[str, Any] = {
        "asset": {
            "version": "2.0",
            "generator": "facewright",
            "extras": {**extras, "units": "meters"},
        },
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face"}],
        "meshes": [{"name": "face", "primitives": primitives}],
        "materials": [skin, _INSIDE],
    }
    if mesh.texture is not None:
        surface["baseColorTexture"] = {"index": 0}
        skin["extensions"] = {UNLIT: {}}
        document["extensionsUsed"] = [UNLIT]
        document |= buffer.texture(mesh.texture.rgb_u8, "skin")
    return buffer.pack(document)


@once_if_frozen
def _indices(triangles: IntArray) -> tuple[Array, Array]:
    """Triangles (T, 3) as an accessor has them, and the same seen from inside."""
    short = index_range(triangles)[1] < RESTART_SHORT
    outside = np.ascontiguousarray(triangles, "<u2" if short else "<u4")
    return outside, np.ascontiguousarray(outside[:, ::-1])


def _color_attribute(buffer: Buffer, mesh: Mesh) -> dict[str, int]:
    """What colors the mesh: the attribute's name and accessor.

    Vertex colors would multiply a texture, so it is one or the other.
    """
    if mesh.texture is not None:
        places = mesh.texture.uv.astype("<f4")
        # Texture coordinates of glTF count from the top of the image (section 3.8.2).
        places[:, 1] = 1.0 - places[:, 1]
        return {"TEXCOORD_0": buffer.accessor(places, "VEC2", FLOAT)}
    # An unused fourth channel keeps every element on the required 4-byte boundary.
    opaque = cv2.cvtColor(mesh.colors_u8[None], cv2.COLOR_RGB2RGBA)[0]
    colors = cv2.LUT(opaque, LINEAR_FROM_SRGB_U16).astype("<u2", copy=False)
    return {"COLOR_0": buffer.accessor(colors, "VEC4", UNSIGNED_SHORT, normalized=True)}
