"""A mesh as a file of any format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facewright.service.formats.glb import write_glb
from facewright.service.formats.head import HeadMesh
from facewright.service.formats.head_glb import write_head_glb
from facewright.service.formats.mesh import Mesh
from facewright.service.formats.obj import write_obj
from facewright.service.formats.ply import write_ply
from facewright.service.formats.stl import write_stl
from facewright.service.options import MeshFormat


def write_mesh(
    mesh: Mesh | HeadMesh,
    form: MeshFormat,
    about: Mapping[str, Any],
    material_file: str | None = None,
    *,
    quantized: bool = True,
) -> bytes:
    """The bytes of the file.

    Args:
        mesh: a head with its parts and targets only for "glb".
        form: the file's format.
        about: of the mesh, written into formats that have a place for it.
        material_file: name of the MTL file that an OBJ file refers to; without one the
            texture's colors are given to its vertices.
        quantized: whether a head's vertices and targets are stored as integers.
    """
    if isinstance(mesh, HeadMesh):
        assert form == "glb"
        return write_head_glb(mesh, about, quantized=quantized)
    if form == "glb":
        return write_glb(mesh, about)
    if form == "ply":
        return write_ply(mesh, about)
    if form == "stl":
        return write_stl(mesh)
    return write_obj(mesh, about, material_file)
