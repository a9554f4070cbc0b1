"""How a reconstructed face becomes the mesh that file writers take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewright.models.color import srgb_u8
from facewright.models.landmarks import INNER_MOUTH
from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals
from facewright.service.formats.mesh import Mesh, MeshTexture
from facewright.service.options import Expression, Pose
from facewright.service.pipeline.reconstruction import Reconstruction

AXES: dict[Pose, str] = {
    "canonical": "+X to the subject's left, +Y up, +Z out of the face",
    "camera": "+X to the right of the photo, +Y up in it, +Z towards the camera at (0, 0, 1 m)",
}
"""What the axes of a mesh mean, for whoever reads its file."""


_UPPER_LIP, _LOWER_LIP = [1, 2, 3], [7, 6, 5]
"""Inner landmarks one above the other, of the eight around the inner mouth."""
_LIT_MOUTH_MM = 12.0
"""Distance of the lips from which on light reaches the teeth."""
_CLOSED_MOUTH_LIGHT = 0.1


@dataclass(frozen=True, eq=False)
class FaceLevel:
    """A coarser mesh over the face model's vertices."""

    vertices: NDArray[np.int32]
    """(v,) those of the model's that it has."""
    triangles: NDArray[np.int32]
    """(T, 3) over these."""

    @classmethod
    def of(cls, triangles: NDArray[np.int32]) -> FaceLevel:
        """The level with these triangles (T, 3) over all of the model's vertices."""
        used, local = np.unique(triangles, return_inverse=True)
        return cls(used, local.reshape(triangles.shape).astype(np.int32))


def face_mesh(
    model: MorphableModel,
    reconstruction: Reconstruction,
    expression: Expression = "keep",
    pose: Pose = "canonical",
    texture_u8: NDArray[np.uint8] | None = None,
    level: FaceLevel | None = None,
) -> Mesh:
    """The mesh of one reconstructed face, colored with its albedo or a texture.

    expression: "keep" the photo's, or "neutral".
    pose: "canonical", upright about the model's origin, or "camera", rotated and moved as in
    the photo, with the camera at (0, 0, 1000) mm looking along -z.
    texture_u8: (N, N, 3) in the model's texture coordinates, sRGB.
    level: of a coarser mesh; None for the model's own.
    Raises ValueError for other words and for a reconstruction that is not finite.
    """
    if expression not in ("keep", "neutral"):
        raise ValueError(f"unknown expression: {expression}")
    if pose not in ("canonical", "camera"):
        raise ValueError(f"unknown pose: {pose}")
    kept = expression == "keep"
    vertices = reconstruction.vertices if kept else reconstruction.neutral_vertices
    if pose == "camera":
        vertices = vertices @ reconstruction.rotation_matrix.T + reconstruction.translation_mm
    return colored_mesh(model, vertices, reconstruction.albedo, texture_u8, level)


def colored_mesh(
    model: MorphableModel,
    vertices: NDArray[np.float32],
    albedo: NDArray[np.float32],
    texture_u8: NDArray[np.uint8] | None = None,
    level: FaceLevel | None = None,
) -> Mesh:
    """The face model's mesh with these vertices (V, 3) mm, colored with albedo or texture.

    albedo: (V, 3) in 0..1; what lies behind the lips is as dark as they leave it.
    texture_u8: (N, N, 3) in the model's texture coordinates, sRGB; instead of the albedo.
    level: as for `face_mesh`; normals are the full mesh's.
    Raises ValueError for numbers that are not finite.
    """
    vertices = np.ascontiguousarray(vertices, np.float32)
    texture = None if texture_u8 is None else MeshTexture(model.uv, texture_u8)
    mesh = Mesh(
        vertices,
        model.triangles,
        vertex_normals(vertices[None], model.triangles)[0],
        _colors(model, vertices, albedo) if texture is None else None,
        texture,
    )
    return mesh if level is None else _at_level(mesh, level)


def _at_level(mesh: Mesh, level: FaceLevel) -> Mesh:
    """The vertices of a full mesh that a level has, with its triangles."""
    used, texture = level.vertices, mesh.texture
    return Mesh(
        mesh.vertices[used],
        level.triangles,
        mesh.normals[used],
        None if mesh.colors is None else mesh.colors[used],
        None if texture is None else MeshTexture(texture.uv[used], texture.rgb_u8),
    )


def _colors(
    model: MorphableModel, vertices: NDArray[np.float32], albedo: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The albedo (V, 3) in 0..255, with teeth and tongue in the shadow of the lips.

    Renderers without shadows would light them as the skin, and teeth between lips that touch all
    but in places be a bright line.
    """
    colors = srgb_u8(albedo)
    within = model.behind_lips
    if not within.size:
        return colors
    lips = vertices[model.landmarks[INNER_MOUTH]]
    gap = np.linalg.norm(lips[_UPPER_LIP] - lips[_LOWER_LIP], axis=1).mean()
    light = np.float32(np.clip(gap / _LIT_MOUTH_MM, _CLOSED_MOUTH_LIGHT, 1.0))
    colors[within] = srgb_u8(light * albedo[within])
    return colors
