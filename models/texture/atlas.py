"""Which point of the face each texel of a texture belongs to.

Texel (row i, column j) of an N x N texture has its center at u = (j + 0.5) / N and
v = 1 - (i + 0.5) / N: the first row is the top of the image, where v is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel
from facewright.models.morphable_model import PART_CAVITY, PART_SKIN, MorphableModel
from facewright.models.rasterizer import EMPTY, rasterize

# Side in texels of the squares by which texels are sorted.
_SQUARE = 32


@dataclass(frozen=True, eq=False)
class Atlas:
    """The P texels within the islands of one face model at one size.

    Texels come square by square, and within a square triangle by triangle: R runs of texels of one
    triangle each, whose neighbors are near in memory.
    """

    size: int
    """N, the side in texels."""
    owners: NDArray[np.int32]
    """(R,): the triangle of each run."""
    starts: NDArray[np.int32]
    """(R + 1,): where each run's texels begin, and where the last one's end."""
    places: NDArray[np.uint16]
    """(P, 2): row and column of the texels."""
    barycentric: NDArray[np.float32]
    """(P, 2): weights of the triangle's first two corners."""
    mirror: NDArray[np.int32]
    """(P,): flat index of the texel at the mirror position; -1 where that is beyond the islands."""
    padding: NDArray[np.int32]
    """(2, N * N - P): flat indices of the texels beyond the islands, and of the nearest within."""


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
    within = np.flatnonzero(ids != EMPTY)
    if not len(within):
        raise ValueError("the face model's UV coordinates cover no texel")
    rows, columns = np.divmod(within, size)
    owners = ids.ravel()[within]
    squares = (rows // _SQUARE) * size + columns // _SQUARE
    order = np.lexsort((within, owners, squares))
    owners, squares, texels = owners[order], squares[order], within[order]
    changes = np.flatnonzero((np.diff(owners) != 0) | (np.diff(squares) != 0)) + 1
    starts = np.concatenate([[0], changes, [len(texels)]]).astype(np.int32)
    barycentric = np.ascontiguousarray(fragments.barycentric[0].reshape(-1, 3)[texels, :2])
    mirror = np.empty(len(texels), np.int32)
    _find_mirror(ids, owners, barycentric, np.array(model.triangles), flat[model.mirror], mirror)
    places = np.stack([rows[order], columns[order]], axis=1).astype(np.uint16)
    return Atlas(size, owners[starts[:-1]], starts, places, barycentric, mirror, _padding(ids))


def islands_of_triangles(model: MorphableModel) -> NDArray[np.int8]:
    """(T,): the island of each triangle: 0 the face with its cavities, else its part.

    Colors are not spread from one island to another.
    """
    part = model.parts[model.triangles].min(axis=1)
    return np.where(np.isin(part, (PART_SKIN, PART_CAVITY)), 0, part).astype(np.int8)


def nearest_texels(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """(N, N) flat indices of the nearest texels whose triangle (N, N) is not EMPTY."""
    beyond = (ids == EMPTY).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        beyond, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # A label stands for one texel within an island: which one is told by that texel itself.
    within = np.flatnonzero(beyond == 0)
    owner = np.empty(int(labels.max()) + 1, np.int32)
    owner[labels.ravel()[within]] = within
    return owner[labels]


def _padding(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    targets = np.flatnonzero(ids == EMPTY)
    return np.stack([targets, nearest_texels(ids).ravel()[targets]]).astype(np.int32)


@kernel
def _find_mirror(
    ids: NDArray[np.int32],
    owners: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    triangles: NDArray[np.int32],
    mirrored: NDArray[np.float32],
    found: NDArray[np.int32],
) -> None:
    """Owners (P,) are the texels' triangles; mirrored (V, 3) the partners' places in texels."""
    size = ids.shape[0]
    for at in range(owners.shape[0]):
        triangle = owners[at]
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        first, second = barycentric[at, 0], barycentric[at, 1]
        third = np.float32(1.0) - first - second
        x = first * mirrored[a, 0] + second * mirrored[b, 0] + third * mirrored[c, 0]
        y = first * mirrored[a, 1] + second * mirrored[b, 1] + third * mirrored[c, 1]
        column = min(max(np.int64(np.floor(x)), 0), size - 1)
        row = min(max(np.int64(np.floor(y)), 0), size - 1)
        found[at] = row * size + column if ids[row, column] != EMPTY else EMPTY


@kernel
def spread_over_texels(
    ids: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    triangles: NDArray[np.int32],
    values: NDArray[np.float32],
    result: NDArray[np.float32],
) -> None:
    """Interpolate values (V, 3) of the vertices to the texels (N, N, 3) within islands.

    ids: (N, N), -1 beyond the islands.  barycentric: (N, N, 2).
    """
    for row in range(ids.shape[0]):
        for column in range(ids.shape[1]):
            triangle = ids[row, column]
            if triangle == EMPTY:
                continue
            a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
            first, second = barycentric[row, column, 0], barycentric[row, column, 1]
            third = np.float32(1.0) - first - second
            for channel in range(3):
                result[row, column, channel] = (
                    first * values[a, channel]
                    + second * values[b, channel]
                    + third * values[c, channel]
                )
