"""The triangle mesh that file writers take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class MeshTexture:
    """An image and where it lies on a mesh."""

    uv: NDArray[np.float32]
    """(V, 2) in [0, 1], v up."""
    rgb_u8: NDArray[np.uint8]
    """(N, N, 3) display-referred sRGB; the first row is at v = 1."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A colored triangle mesh: +x to the subject's left, +y up, +z out of the face.

    Raises ValueError when shapes do not fit each other, a number is not finite or a triangle
    refers to a vertex that does not exist, so that no writer has to look again.
    """

    vertices: NDArray[np.float32]
    """(V, 3) mm."""
    triangles: NDArray[np.int32]
    """(T, 3) vertex indices, counter-clockwise seen from outside."""
    normals: NDArray[np.float32]
    """(V, 3) unit vectors."""
    colors_u8: NDArray[np.uint8]
    """(V, 3) display-referred sRGB: the albedo, or the texture at the vertices."""
    texture: MeshTexture | None = None

    def __post_init__(self) -> None:
        shape = (len(self.vertices), 3)
        for name in ("vertices", "normals", "colors_u8"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}")
        if not np.isfinite(self.vertices).all() or not np.isfinite(self.normals).all():
            raise ValueError("vertices and normals must be finite")
        if self.triangles.ndim != 2 or self.triangles.shape[1] != 3 or not self.triangles.size:
            raise ValueError(f"triangles must be (T > 0, 3), got {self.triangles.shape}")
        if self.triangles.min() < 0 or self.triangles.max() >= len(self.vertices):
            raise ValueError("a triangle refers to a vertex that does not exist")
        if self.texture is not None and self.texture.uv.shape != (len(self.vertices), 2):
            raise ValueError(f"texture coordinates must be ({len(self.vertices)}, 2)")
