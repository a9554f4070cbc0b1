"""Colors of teeth, gums, tongue and the inside of the mouth, which no photo shows well enough.

They are those of daylight; a texture brightens or darkens them as the photo does the skin.  What
lies deeper in the mouth is darker, for the material of a textured head is not lit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facewright.models.arrays import DoubleArray, FloatArray

# sRGB, in the half shade that lips leave.
_ENAMEL = np.array([0.70, 0.66, 0.60])
_GUM = np.array([0.52, 0.31, 0.30])
_TONGUE = np.array([0.57, 0.33, 0.32])
# Widths of the teeth from the middle of a row, mm, and heights of the crowns of its first ones:
# means of adults (Nelson, Wheeler's Dental Anatomy, 2014, table 1-1).
_WIDTHS = {
    "upper_teeth": (8.5, 6.5, 7.5, 7.0, 7.0, 10.0, 9.0, 8.5),
    "lower_teeth": (5.0, 5.5, 7.0, 7.0, 7.0, 11.0, 10.5, 10.0),
}
_CROWN = {"upper_teeth": 9.5, "lower_teeth": 8.5}
# Between two teeth: half the width of the shade, mm, and how dark it is.
_GAP, _GAP_SHADE = 0.4, 0.3
# Depth behind the front at which a row, the tongue and the mouth have 37% of the light, mm.
_TEETH_DEPTH, _TONGUE_DEPTH, _MOUTH_DEPTH = 32.0, 30.0, 30.0
_DARKEST, _DARKEST_MOUTH = 0.25, 0.45
# The inner side of a row.
_BEHIND_TEETH = 0.5
# A bin of the angle around a row, degrees.
_BIN = 6.0


@dataclass(frozen=True, eq=False)
class ToothPlaces:
    """Where points (n, 3) lie on a row of teeth."""

    along: DoubleArray
    """(n,) mm from the middle of the row, to both sides."""
    height: DoubleArray
    """(n,) mm from the biting edge to the gums."""
    light: DoubleArray
    """(n,) in [0, 1]: what reaches them of the light."""

    @property
    def table(self) -> FloatArray:
        """(n, 3): the three of them, to be interpolated."""
        return np.stack([self.along, self.height, self.light], axis=1).astype(np.float32)

    @classmethod
    def find(cls, points: FloatArray, row: str) -> ToothPlaces:
        """Of the vertices (n, 3) mm of the mean head's "upper_teeth" or "lower_teeth"."""
        x, y, z = points.astype(np.float64).T
        y = y if row == "upper_teeth" else -y
        angle = np.degrees(np.arctan2(np.abs(x), z - z.min()))
        radius = np.hypot(x, z - z.min())
        # The row as a curve: its outer side, and its biting edge.
        middles = np.arange(0, 90 + _BIN / 2, _BIN)
        outer, edge, edge_radius = (np.zeros(len(middles)) for _ in range(3))
        for index, middle in enumerate(middles):
            near = np.flatnonzero(np.abs(angle - middle) <= _BIN / 2)
            lowest = near[y[near].argmin()]
            outer[index] = radius[near].max()
            edge[index], edge_radius[index] = y[lowest], radius[lowest]
        curve = outer[:, None] * np.stack(
            [np.sin(np.radians(middles)), np.cos(np.radians(middles))], axis=1
        )
        lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
        inside = np.interp(angle, middles, edge_radius) - radius
        light = np.exp(-np.maximum(z.max() - z - 4, 0) / _TEETH_DEPTH)
        light *= 1 - (1 - _BEHIND_TEETH) * np.clip(inside / 2, 0, 1)
        return cls(np.interp(angle, middles, lengths), y - np.interp(angle, middles, edge), light)

    def colors(self, row: str, *, gaps: bool) -> FloatArray:
        """(n, 3) sRGB of a row.

        gaps: whether points lie close enough together to show where teeth meet.
        """
        ends = np.concatenate([[0], np.cumsum(_WIDTHS[row])])
        tooth = np.clip(np.searchsorted(ends, self.along) - 1, 0, len(ends) - 2)
        middle, half = (ends[tooth] + ends[tooth + 1]) / 2, (ends[tooth + 1] - ends[tooth]) / 2
        across = np.clip((self.along - middle) / half, -1, 1)
        gum = _smooth((self.height - _CROWN[row] * (1 - 0.2 * across**4)) / 0.8 + 0.5)
        # Towards the gums enamel is a little darker and warmer.
        colors = _ENAMEL * (1 - np.outer(np.clip(self.height / 10, 0, 1), [0.05, 0.09, 0.14]))
        if gaps:
            distance = (1 - np.abs(across)) * half
            colors *= 1 - _GAP_SHADE * np.exp(-0.5 * (distance / _GAP) ** 2)[:, None]
        colors += gum[:, None] * (_GUM - colors)
        return np.asarray(colors * np.maximum(self.light, _DARKEST)[:, None], np.float32)


def tongue_colors(points: FloatArray, normals: FloatArray) -> FloatArray:
    """(n, 3) sRGB of the tongue's points (n, 3) mm with normals (n, 3)."""
    depth = points[:, 2].max() - points[:, 2]
    light = np.exp(-np.maximum(depth - 6, 0) / _TONGUE_DEPTH)
    light *= 0.8 + 0.2 * np.clip(normals[:, 1] + 0.5, -0.5, 1)
    top = np.clip(normals[:, 1], 0, 1)
    groove = np.exp(-0.5 * (points[:, 0] / 1.2) ** 2) * top * np.clip(depth / 6 - 0.5, 0, 1)
    light = np.maximum(light, _DARKEST) * (1 - 0.18 * groove)
    return np.asarray(_TONGUE * light[:, None], np.float32)


def mouth_light(points: FloatArray) -> FloatArray:
    """(n,) in [0, 1]: what reaches points (n, 3) mm of the mouth's inside of the light."""
    depth = points[:, 2].max() - points[:, 2]
    return np.asarray(np.maximum(np.exp(-depth / _MOUTH_DEPTH), _DARKEST_MOUTH), np.float32)


def _smooth(share: DoubleArray) -> DoubleArray:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
