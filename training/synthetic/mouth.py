"""What an open mouth shows: teeth that stay behind the lips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from facewright.models.arrays import FloatArray, IntArray

_UPPER, _LOWER = 62, 66
# How far behind the lips light comes in, and how fast it fades.
_LIT_MM, _DARK_MM = 12.0, 12.0
# Inner edges of the lips from one corner to the other, iBUG order.
_LIPS = {"lower": [60, 67, 66, 65, 64], "upper": [60, 61, 62, 63, 64]}
_BEHIND_MM = {"lower": 5.0, "upper": 3.0}
_LOWER_ABOVE_MM = 2.0


def rows_of_teeth(points: FloatArray, teeth: IntArray) -> list[NDArray[np.int64]]:
    """Vertex indices of the rows of teeth, the lower one first.

    Args:
        points: (V, 3) mm.
        teeth: (T, 3) triangles of disconnected rows; no rows when there are none.
    """
    if len(teeth) == 0:
        return []
    links = sparse.coo_matrix(
        (np.ones(2 * len(teeth)), (teeth[:, :2].ravel(order="F"), teeth[:, 1:].ravel(order="F"))),
        (len(points), len(points)),
    )
    row_of = connected_components(links, directed=False)[1]
    rows = [np.flatnonzero(row_of == row) for row in np.unique(row_of[teeth])]
    return sorted(rows, key=lambda row: float(points[row, 1].mean()))


def keep_behind_lips(
    vertices: FloatArray, rows: list[NDArray[np.int64]], landmarks: FloatArray
) -> None:
    """Move teeth, in place, that an expression of the lips would let stick out.

    Args:
        vertices: (V, 3) mm of a person.
        rows: the lower and the upper row; nothing happens when there are no rows.
        landmarks: (68, 3) mm of the same face.
    """
    for name, row in zip(("lower", "upper"), rows, strict=False):
        lip = landmarks[_LIPS[name]]
        lip = lip[np.argsort(lip[:, 0])]
        x = vertices[row, 0]
        depth = np.interp(x, lip[:, 0], lip[:, 2]) - _BEHIND_MM[name]
        vertices[row, 2] = np.minimum(vertices[row, 2], depth)
        if name == "lower":
            # The corners lie higher than the middle; teeth do not.
            edge = lip[:, 1].min() + _LOWER_ABOVE_MM
            vertices[row, 1] = np.minimum(vertices[row, 1], edge)


def shade_of_the_mouth(
    vertices: FloatArray, rows: list[NDArray[np.int64]], landmarks: FloatArray
) -> tuple[NDArray[np.int64], FloatArray]:
    """Vertices of the teeth and (n, 1) factors on their light: molars lie in the dark.

    Args:
        vertices: (V, 3) mm, model space.
        rows: of teeth.
        landmarks: (68, 3) mm.
    """
    teeth = np.concatenate([np.zeros(0, np.int64), *rows])
    behind = landmarks[[_UPPER, _LOWER], 2].max() - vertices[teeth, 2]
    factors = np.exp(-np.maximum(behind - _LIT_MM, 0) / _DARK_MM)
    return teeth, factors[:, None].astype(np.float32)
