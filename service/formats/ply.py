"""Write a mesh as binary PLY (Turk 1994), little-endian.

Millimeters, +Y up, with normals and vertex colors, display-referred sRGB in 0..255.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from facewright.service.formats.mesh import Mesh

_VERTEX = np.dtype([("position", "<f4", 3), ("normal", "<f4", 3), ("color", "u1", 3)])
_FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])


def write_ply(mesh: Mesh, header: Mapping[str, Any]) -> bytes:
    """A PLY file; `header` becomes comments, one line each, after generator and units."""
    comments = {"generator": "facewright", "units": "millimeters", **header}
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {' '.join(f'{key}: {value}'.split())}" for key, value in comments.items()),
        f"element vertex {len(mesh.vertices)}",
        *(f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        f"element face {len(mesh.triangles)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    vertices = np.empty(len(mesh.vertices), _VERTEX)
    vertices["position"] = mesh.vertices
    vertices["normal"] = mesh.normals
    vertices["color"] = mesh.colors_u8
    faces = np.empty(len(mesh.triangles), _FACE)
    faces["count"] = 3
    faces["corners"] = mesh.triangles
    text = "\n".join(lines).encode("utf-8", "surrogateescape")
    return b"".join([text, vertices.tobytes(), faces.tobytes()])
