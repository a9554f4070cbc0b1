"""Write a mesh as Wavefront OBJ text.

Millimeters, +Y up.  Vertex colors follow the coordinates (`v x y z r g b`, display-referred
sRGB in [0, 1]), as MeshLab, Blender and most libraries read them; Blender shows them once a
material asks for the attribute.  With a material of its own there are texture coordinates instead:
readers would multiply one with the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from facewright.models.arrays import ByteArray, FloatArray, IntArray
from facewright.models.jit import kernel
from facewright.service.formats.mesh import Mesh

_COORDINATE_DECIMALS = 4
_NORMAL_DECIMALS = 4
_UV_DECIMALS = 6
# Three decimals tell all 256 levels apart.
_COLOR_DECIMALS = 3
_LARGEST_COORDINATE = 1e6
# Sign, seven digits, point, four decimals and a space; indices have at most ten digits.
_WIDEST_NUMBER = 14

_SPACE, _NEWLINE, _MINUS, _POINT, _SLASH, _ZERO = (ord(c) for c in " \n-./0")
_V, _N, _F, _T = (ord(c) for c in "vnft")
_MATERIAL = "skin"


def write_obj(mesh: Mesh, header: Mapping[str, Any], material_file: str | None = None) -> bytes:
    """OBJ text: vertices to 0.0001 mm with colors, normals, triangles.

    header: one comment line each, `# key: value`, after that for units.
    material_file: name of the file that `write_mtl` gives; texture coordinates then take the
        place of the colors.
    Raises ValueError for coordinates beyond a kilometre, and for a material without a texture.
    """
    if material_file is not None and mesh.texture is None:
        raise ValueError("a material needs a mesh with a texture")
    if np.abs(mesh.vertices).max() > _LARGEST_COORDINATE:
        raise ValueError("the mesh is larger than a kilometre")
    comments = {
        "generator": "facewright",
        "units": "millimeters",
        **({"vertex colors": "sRGB"} if material_file is None else {}),
        **header,
    }
    lines = [f"# {' '.join(f'{key}: {value}'.split())}\n" for key, value in comments.items()]
    lines.append("o face\n")
    if material_file is not None and mesh.texture is not None:
        lines += [f"mtllib {material_file}\n", f"usemtl {_MATERIAL}\n"]
        uv, colors = mesh.texture.uv, np.zeros((0, 3), np.uint8)
    else:
        uv, colors = np.zeros((0, 2), np.float32), mesh.colors_u8
    vertices = np.ascontiguousarray(mesh.vertices, np.float32)
    numbers = len(vertices) * 9 + mesh.triangles.size * 3
    buffer = np.empty(
        numbers * _WIDEST_NUMBER + (2 * len(vertices) + len(mesh.triangles)) * 8, np.uint8
    )
    end = _write_body(
        buffer,
        *(
            np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])
            for array, dtype in (
                (vertices, np.float32),
                (colors, np.uint8),
                (uv, np.float32),
                (mesh.normals, np.float32),
                (mesh.triangles, np.int32),
            )
        ),
    )
    return b"".join(
        [*(line.encode("utf-8", "surrogateescape") for line in lines), buffer[:end].tobytes()]
    )


def write_mtl(texture_file: str) -> bytes:
    """The material for `write_obj`: an image on a surface without gloss.

    Only what readers know: Blender warns of a map of the ambient color, and MTL has no material
    that asks not to be lit.
    """
    return (
        f"# generator: facewright\nnewmtl {_MATERIAL}\n"
        f"Ka 1 1 1\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 1\nmap_Kd {texture_file}\n"
    ).encode("utf-8", "surrogateescape")


@kernel
def _put_integer(buffer: ByteArray, at: int, number: int, least_digits: int) -> int:
    """Write a number >= 0 with leading zeros up to `least_digits`; returns the end."""
    digits = 1
    rest = number // 10
    while rest > 0 or digits < least_digits:
        digits += 1
        rest //= 10
    for place in range(at + digits - 1, at - 1, -1):
        buffer[place] = _ZERO + number % 10
        number //= 10
    return at + digits


@kernel
def _put_fixed(buffer: ByteArray, at: int, value: float, decimals: int) -> int:
    """Write a space and a number with fixed decimals; returns the end."""
    scale = 10**decimals
    number = np.int64(np.rint(value * scale))
    buffer[at] = _SPACE
    at += 1
    if number < 0:
        buffer[at] = _MINUS
        at += 1
        number = -number
    at = _put_integer(buffer, at, number // scale, 1)
    buffer[at] = _POINT
    return _put_integer(buffer, at + 1, number % scale, decimals)


@kernel
def _put_vectors(
    buffer: ByteArray, at: int, letter: int, vectors: FloatArray, decimals: int
) -> int:
    """Write a line for each vector: `v`, a letter and its numbers; returns the end."""
    for row in range(vectors.shape[0]):
        buffer[at] = _V
        buffer[at + 1] = letter
        at += 2
        for axis in range(vectors.shape[1]):
            at = _put_fixed(buffer, at, np.float64(vectors[row, axis]), decimals)
        buffer[at] = _NEWLINE
        at += 1
    return at


@kernel
def _write_body(
    buffer: ByteArray,
    vertices: FloatArray,
    colors: ByteArray,
    uv: FloatArray,
    normals: FloatArray,
    triangles: IntArray,
) -> int:
    """Write all lines, with `vt` or, when `uv` is empty, colors; returns the end."""
    at = 0
    textured = uv.shape[0] > 0
    for vertex in range(vertices.shape[0]):
        buffer[at] = _V
        at += 1
        for axis in range(3):
            at = _put_fixed(buffer, at, np.float64(vertices[vertex, axis]), _COORDINATE_DECIMALS)
        if not textured:
            for channel in range(3):
                at = _put_fixed(buffer, at, colors[vertex, channel] / 255.0, _COLOR_DECIMALS)
        buffer[at] = _NEWLINE
        at += 1
    at = _put_vectors(buffer, at, _T, uv, _UV_DECIMALS)
    at = _put_vectors(buffer, at, _N, normals, _NORMAL_DECIMALS)
    for triangle in range(triangles.shape[0]):
        buffer[at] = _F
        at += 1
        for corner in range(3):
            index = np.int64(triangles[triangle, corner]) + 1
            buffer[at] = _SPACE
            at = _put_integer(buffer, at + 1, index, 1)
            buffer[at] = _SLASH
            at += 1
            if textured:
                at = _put_integer(buffer, at, index, 1)
            buffer[at] = _SLASH
            at = _put_integer(buffer, at + 1, index, 1)
        buffer[at] = _NEWLINE
        at += 1
    return at
