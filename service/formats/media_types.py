"""The media types of everything that the service writes."""

from __future__ import annotations

from facewright.service.options import MeshFormat

JSON = "application/json"
GLB = "model/gltf-binary"
OBJ = "model/obj"
PLY = "model/ply"
STL = "model/stl"
JPEG = "image/jpeg"
PNG = "image/png"
ZIP = "application/zip"

MESH_TYPES: dict[MeshFormat, str] = {"glb": GLB, "obj": OBJ, "ply": PLY, "stl": STL}
EXTENSIONS = {JPEG: ".jpg", PNG: ".png"}
"""Of pictures."""
