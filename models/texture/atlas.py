"""Which point of the face each texel of a texture belongs to.

Texel (row i, column j) of an N x N texture has its centre at u = (j + 0.5) / N and
v = 1 - (i + 0.5) / N: the first row is the top of the image, where v is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel
from facewright.models.morphable_model import PART_EYEBALL, MorphableModel
from facewright.models.rasterizer import EMPTY, rasterize


@dataclass(frozen=True, eq=False)
class Atlas:
    """The texels of one face model at one size."""

    triangle_ids: NDArray[np.int32]
    """(N, N): the triangle that covers the texel's centre; -1 beyond the islands."""
    barycentric: NDArray[np.float32]
    """(N, N, 2): weights of the triangle's first two corners."""
    mirror: NDArray[np.int32]
    """(N, N): flat index of the texel at the mirror position; -1 beyond the islands."""
    padding: NDArray[np.int32]
    """(2, P): flat indices of the texels beyond the islands, and of the nearest within one."""

    @property
    def size(self) -> int:
        """N, the side in texels."""
        return len(self.triangle_ids)


def build_atlas(model: MorphableModel, size: int) -> Atlas:
    """Lay out a texture of `size` x `size` texels.

    Where triangles overlap in UV space, the one with the lowest id has the texel.
    Raises ValueError when no texel is covered.
    """
    flat = np.ones((model.n_vertices, 3), np.float32)
    flat[:, 0] = model.uv[:, 0] * size
    flat[:, 1] = (1.0 - model.uv[:, 1]) * size
    fragments = rasterize(flat[None], model.triangles, size, size)
    ids = fragments.triangle_ids[0]
    barycentric = np.ascontiguousarray(fragments.barycentric[0, ..., :2])
    if not (ids != EMPTY).any():
        raise ValueError("the face model's UV coordinates cover no texel")
    mirror = np.empty((size, size), np.int32)
    _find_mirror(ids, barycentric, np.array(model.triangles), flat[model.mirror], mirror)
    return Atlas(ids, barycentric, mirror, _padding(ids))


def eyeball_triangles(model: MorphableModel) -> NDArray[np.bool_]:
    """(T,): which triangles are an eyeball's."""
    eyeball: NDArray[np.bool_] = (model.parts == PART_EYEBALL)[model.triangles].all(axis=1)
    return eyeball


def _padding(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    beyond = (ids == EMPTY).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        beyond, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # A label stands for one texel within an island: which one is told by that texel itself.
    within = np.flatnonzero(beyond == 0)
    owner = np.empty(int(labels.max()) + 1, np.int32)
    owner[labels.ravel()[within]] = within
    targets = np.flatnonzero(beyond)
    return np.stack([targets, owner[labels.ravel()[targets]]]).astype(np.int32)


@kernel
def _find_mirror(
    ids: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    triangles: NDArray[np.int32],
    mirrored: NDArray[np.float32],
    found: NDArray[np.int32],
) -> None:
    """`mirrored` (V, 3) holds each vertex's partner's place in texels."""
    size = ids.shape[0]
    for row in range(size):
        for column in range(size):
            found[row, column] = EMPTY
            triangle = ids[row, column]
            if triangle == EMPTY:
                continue
            first, second = barycentric[row, column, 0], barycentric[row, column, 1]
            third = np.float32(1.0) - first - second
            a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
            x = first * mirrored[a, 0] + second * mirrored[b, 0] + third * mirrored[c, 0]
            y = first * mirrored[a, 1] + second * mirrored[b, 1] + third * mirrored[c, 1]
            other_column = min(max(np.int64(np.floor(x)), 0), size - 1)
            other_row = min(max(np.int64(np.floor(y)), 0), size - 1)
            if ids[other_row, other_column] != EMPTY:
                found[row, column] = other_row * size + other_column
