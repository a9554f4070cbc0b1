"""What every pixel of a portrait shows, drawn beside the picture in false colors."""

from __future__ import annotations

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import Array, FloatArray
from facewright.models.segmentation import CLASSES, HAIR, OCCLUDER, OTHER, SKIN
from facewright.training.synthetic.raster import FrameBuffer
from facewright.training.synthetic.scene import Geometry
from facewright.training.synthetic.strands import draw

# The channels of the false colors; what is in none of them is other.
_DRAWN = (SKIN, HAIR, OCCLUDER)
_COLORS = {name: np.eye(len(_DRAWN), dtype=np.float32)[k] for k, name in enumerate(_DRAWN)}
_COLORS[OTHER] = np.zeros(len(_DRAWN), np.float32)


class ClassMap:
    """Shares of the classes of `models.segmentation` in the pixels of one portrait at a time.

    Everything is drawn in the picture's own order and with its depth test, so that a strand of
    hair covers in the map what it covers in the picture.

    Attributes:
        shares: (S, S, 3) float32: skin, hair, occluder.
    """

    def __init__(self, size: int) -> None:
        self.shares = np.empty((size, size, len(_DRAWN)), np.float32)
        self._unused = np.empty((size, size), np.float32)

    def draw_geometry(self, frame: FrameBuffer, geometry: Geometry, head_triangles: int) -> None:
        """Start with what the frame sees; triangles from `head_triangles` on are props."""
        classes = np.full(frame.triangle_ids.shape, OTHER, np.uint8)
        _classify(
            frame.triangle_ids,
            frame.weights,
            geometry.triangles,
            geometry.cloth,
            geometry.hair,
            head_triangles,
            classes,
        )
        table = np.stack([_COLORS[k] for k in range(len(CLASSES))])
        self.shares[:] = table[classes]

    def draw_strands(
        self,
        kind: int,
        nodes: FloatArray,
        widths: FloatArray,
        opacity: FloatArray,
        pixels_per_mm: np.float32,
        bias: np.float32,
        nearness: FloatArray,
    ) -> None:
        """Draw lines of one class, before the picture's are; see `strands.draw`."""
        colors = np.broadcast_to(_COLORS[kind], nodes.shape)
        draw(nodes, np.ascontiguousarray(colors), widths, opacity, pixels_per_mm, bias,
             self.shares, nearness.copy(), self._unused)  # fmt: skip

    def cover(self, kind: int, share: Array) -> None:
        """Lay something of one class over all, by its share (n, n) in [0, 1]."""
        size = len(self.shares)
        if len(share) != size:
            share = cv2.resize(share, (size, size))
        self.shares += share[..., None] * (_COLORS[kind] - self.shares)

    def finish(self, size: int) -> NDArray[np.uint8]:
        """(size, size): the largest class of every pixel of the portrait."""
        small = cv2.resize(self.shares, (size, size), interpolation=cv2.INTER_AREA)
        every = np.empty((size, size, len(CLASSES)), np.float32)
        every[..., OTHER] = 1 - small.sum(axis=2)
        every[..., list(_DRAWN)] = small
        return every.argmax(axis=2).astype(np.uint8)


@numba.njit(cache=True)
def _classify(ids, weights, triangles, cloth, hair, head_triangles, classes):  # type: ignore[no-untyped-def]
    height, width = ids.shape
    for row in range(height):
        for column in range(width):
            t = ids[row, column]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            wb, wc = weights[row, column, 0], weights[row, column, 1]
            wa = np.float32(1.0) - wb - wc
            worn = wa * cloth[a] + wb * cloth[b] + wc * cloth[c]
            painted = wa * hair[a] + wb * hair[b] + wc * hair[c]
            if worn < -0.5 or (t >= head_triangles and painted < 0.5):
                classes[row, column] = OCCLUDER
            elif worn > 0.5:
                classes[row, column] = OTHER
            elif painted > 0.5:
                classes[row, column] = HAIR
            else:
                classes[row, column] = SKIN
