"""Drawing a head's triangles into reused buffers: back faces culled, affine weights.

The exact rasterizer of `models` serves overlays and training; portraits are supersampled and made
of triangles of a few pixels, where this simpler kernel is several times faster.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import FloatArray

EMPTY = -1


class FrameBuffer:
    """What the pixels of a square image see; reused from portrait to portrait.

    Attributes:
        triangle_ids: (S, S) int32, -1 where nothing is seen.
        weights: (S, S, 2) float32, weights of the triangle's second and third corners.
        nearness: (S, S) float32, 1000 / depth in mm; 0 where nothing is seen.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.triangle_ids = np.empty((size, size), np.int32)
        self.weights = np.empty((size, size, 2), np.float32)
        self.nearness = np.empty((size, size), np.float32)

    def draw(self, points: FloatArray, triangles: NDArray[np.int32]) -> None:
        """Clear the buffer and draw a mesh.

        Args:
            points: (V, 3) float32: x px, y px (down), 1000 / depth.
            triangles: (T, 3) int32, counter-clockwise seen from outside.
        """
        self.triangle_ids.fill(EMPTY)
        self.nearness.fill(0.0)
        _draw(points, triangles, self.triangle_ids, self.weights, self.nearness)


@numba.njit(cache=True, fastmath=True)
def _draw(points, triangles, ids, weights, nearness):  # type: ignore[no-untyped-def]
    height, width = ids.shape
    half = np.float32(0.5)
    one = np.float32(1.0)
    slack = np.float32(-1e-5)
    for t in range(triangles.shape[0]):
        a = triangles[t, 0]
        b = triangles[t, 1]
        c = triangles[t, 2]
        xa = points[a, 0]
        ya = points[a, 1]
        xb = points[b, 0] - xa
        yb = points[b, 1] - ya
        xc = points[c, 0] - xa
        yc = points[c, 1] - ya
        # y points down, so counter-clockwise triangles have negative area.
        area = xb * yc - xc * yb
        if area > -1e-6:
            continue
        low_x = xa + min(np.float32(0.0), xb, xc)
        high_x = xa + max(np.float32(0.0), xb, xc)
        low_y = ya + min(np.float32(0.0), yb, yc)
        high_y = ya + max(np.float32(0.0), yb, yc)
        if high_x < 0 or low_x > width or high_y < 0 or low_y > height:
            continue
        first_column = max(0, int(np.ceil(low_x - half)))
        last_column = min(width - 1, int(np.floor(high_x - half)))
        first_row = max(0, int(np.ceil(low_y - half)))
        last_row = min(height - 1, int(np.floor(high_y - half)))
        inverse = one / area
        za = points[a, 2]
        zb = points[b, 2] - za
        zc = points[c, 2] - za
        for row in range(first_row, last_row + 1):
            y = np.float32(row) + half - ya
            for column in range(first_column, last_column + 1):
                x = np.float32(column) + half - xa
                wb = (x * yc - xc * y) * inverse
                wc = (xb * y - x * yb) * inverse
                if wb < slack or wc < slack or one - wb - wc < slack:
                    continue
                z = za + wb * zb + wc * zc
                if z > nearness[row, column]:
                    nearness[row, column] = z
                    ids[row, column] = t
                    weights[row, column, 0] = wb
                    weights[row, column, 1] = wc
