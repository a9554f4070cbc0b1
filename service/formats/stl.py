"""Write a mesh as binary STL (3D Systems 1988): triangles alone, in millimeters, +Y up."""

from __future__ import annotations

import numpy as np

from facewright.service.formats.mesh import Mesh

_HEADER_BYTES = 80
# It must not begin like the text form, "solid".
_HEADER = b"facewright mesh, millimeters, +Y up"

_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def write_stl(mesh: Mesh) -> bytes:
    """An STL file: every triangle with the unit normal of its plane."""
    facets = np.zeros(len(mesh.triangles), _FACET)
    corners = mesh.vertices[mesh.triangles]
    facets["corners"] = corners
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    facets["normal"] = normals / np.where(lengths > 0, lengths, 1)
    count = np.array([len(facets)], "<u4").tobytes()
    return b"".join([_HEADER.ljust(_HEADER_BYTES), count, facets.tobytes()])
