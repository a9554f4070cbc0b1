"""The triangle mesh that file writers take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from facewright.models.normals import index_range


@dataclass(frozen=True, eq=False)
class MeshTexture:
    """An image and where it lies on a mesh."""

    uv: NDArray[np.float32]
    """(V, 2) in [0, 1], v up."""
    rgb_u8: NDArray[np.uint8]
    """(N, N, 3) display-referred sRGB; the first row is at v = 1."""

    def at_vertices(self) -> NDArray[np.uint8]:
        """(V, 3): the texels that the vertices lie in."""
        size = len(self.rgb_u8)
        columns = self.uv[:, 0] * size
        rows = (1.0 - self.uv[:, 1]) * size
        cells = np.clip(np.stack([rows, columns]).astype(np.int64), 0, size - 1)
        return self.rgb_u8[cells[0], cells[1]]


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
    colors: NDArray[np.uint8] | None
    """(V, 3) display-referred sRGB; without them the mesh has a texture."""
    texture: MeshTexture | None = None

    def __post_init__(self) -> None:
        shape = (len(self.vertices), 3)
        for name in ("vertices", "normals", "colors"):
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise ValueError(f"{name} must be {shape}, got {array.shape}")
        if self.colors is None and self.texture is None:
            raise ValueError("a mesh has colors or a texture")
        if not np.isfinite(self.vertices).all() or not np.isfinite(self.normals).all():
            raise ValueError("vertices and normals must be finite")
        if self.triangles.ndim != 2 or self.triangles.shape[1] != 3 or not self.triangles.size:
            raise ValueError(f"triangles must be (T > 0, 3), got {self.triangles.shape}")
        lowest, highest = index_range(self.triangles)
        if lowest < 0 or highest >= len(self.vertices):
            raise ValueError("a triangle refers to a vertex that does not exist")
        if self.texture is not None and self.texture.uv.shape != (len(self.vertices), 2):
            raise ValueError(f"texture coordinates must be ({len(self.vertices)}, 2)")

    @cached_property
    def colors_u8(self) -> NDArray[np.uint8]:
        """(V, 3) display-referred sRGB: the mesh's colors, or its texture at the vertices.

        Looked up when a format asks for them: not every one does.
        """
        if self.colors is not None:
            return self.colors
        assert self.texture is not None
        return self.texture.at_vertices()
