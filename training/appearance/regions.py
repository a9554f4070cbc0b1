"""Anatomical weight maps and coordinates on a surface: where cheeks, brows, beards, folds are.

Everything is measured in the frame of `Surface.relative` (reference millimeters from the middle
between the eyes), so the same numbers hold for the face model and for whole heads.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from facewright.models.arrays import Array, FloatArray, float32
from facewright.training.appearance.surface import EYEBALL, INSIDE, SKIN, TEETH, TONGUE, Surface

# Height of a tooth that shows out of the gums, mm.
_TOOTH_MM = 9.0


def sigmoid(x: Array) -> FloatArray:
    """Logistic function, overflow-safe."""
    return (1.0 / (1.0 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32)


def smoothstep(x: Array, low: float, high: float) -> FloatArray:
    """Cubic step from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _bell(x: Array, sigma: float) -> FloatArray:
    return np.exp(-0.5 * (x / sigma) ** 2).astype(np.float32)


def _distance_to_polyline(points: FloatArray, line: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distance of (N, 2) points to a (K, 2) polyline and their parameter along it in [0, 1]."""
    best = np.full(len(points), np.inf)
    along = np.zeros(len(points))
    lengths = np.linalg.norm(np.diff(line, axis=0), axis=1)
    starts = np.concatenate([[0.0], np.cumsum(lengths)])
    for k, length in enumerate(lengths):
        step = line[k + 1] - line[k]
        t = np.clip((points - line[k]) @ step / length**2, 0, 1)
        distance = np.linalg.norm(points - line[k] - t[:, None] * step, axis=1)
        closer = distance < best
        best = np.where(closer, distance, best)
        along = np.where(closer, (starts[k] + t * length) / starts[-1], along)
    return best.astype(np.float32), along.astype(np.float32)


def _gums(points: FloatArray, triangles: NDArray[np.int32], teeth: NDArray[np.bool_]) -> FloatArray:
    """(V,) 1 where a row of teeth is gum: further from the biting edge than a tooth is high."""
    weight = np.zeros(len(points), np.float32)
    own = triangles[teeth[triangles].all(axis=1)]
    if len(own) == 0:
        return weight
    links = sparse.coo_matrix(
        (np.ones(2 * len(own)), (own[:, :2].ravel("F"), own[:, 1:].ravel("F"))),
        (len(points), len(points)),
    )
    row_of = connected_components(links, directed=False)[1]
    rows = [np.flatnonzero(row_of == row) for row in np.unique(row_of[own])]
    highest = max(points[row, 1].mean() for row in rows)
    for row in rows:
        down = 1.0 if points[row, 1].mean() == highest else -1.0
        height, depth = down * points[row, 1], points[row, 2]
        # The edge of the molars lies at another height than that of the incisors.
        ends = depth < depth.min() + 6, depth > depth.max() - 4
        edge = np.interp(depth, [depth.min() + 3, depth.max()], [height[e].min() for e in ends])
        weight[row] = sigmoid((height - edge - _TOOTH_MM) / 0.6)
    return weight


class FaceRegions:
    """Static maps of one surface, each (V,) float32 unless said otherwise."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        relative = surface.relative
        self.x_abs = np.abs(relative[:, 0])
        self.y = relative[:, 1]
        self.z = relative[:, 2]
        self.skin = (surface.parts == SKIN).astype(np.float32)
        self.inside = surface.parts == INSIDE
        self.eyeball = surface.parts == EYEBALL
        self.teeth = surface.parts == TEETH
        self.tongue = surface.parts == TONGUE
        self.lips = (np.clip((surface.mask("lips") - 0.15) / 0.6, 0, 1) * self.skin).astype(
            np.float32
        )
        self.eyelids = surface.mask("eyelids") * self.skin
        self.ears = surface.mask("ears") * self.skin
        marks = surface.relative_landmarks
        self.nose_tip = marks[30]
        self.nose_base_y = float(marks[31:36, 1].mean())
        self.mouth_y = float(marks[[48, 54, 51, 57], 1].mean())
        self.chin_y = float(marks[8, 1])
        self.front = self.z > -45

    @cached_property
    def gums(self) -> FloatArray:
        """Of the teeth, what lies beyond the crowns."""
        return _gums(self.surface.points, self.surface.triangles, self.teeth)

    @cached_property
    def cheeks(self) -> FloatArray:
        """Apples of the cheeks."""
        return _bell(self.x_abs - 38, 14) * _bell(self.y + 38, 14) * self.front

    @cached_property
    def nose(self) -> FloatArray:
        """Tip and wings of the nose."""
        offset = (self.surface.relative - self.nose_tip) / float32([13, 11, 22])
        return np.exp(-0.5 * (offset**2).sum(1)).astype(np.float32)

    @cached_property
    def under_eyes(self) -> FloatArray:
        """Lower lids and tear troughs."""
        return _bell(self.x_abs - 27, 12) * _bell(self.y + 14, 5) * self.front

    @cached_property
    def eye_sockets(self) -> FloatArray:
        """Around and above the eyes."""
        return _bell(self.x_abs - 29, 15) * _bell(self.y - 6, 8) * self.front

    @cached_property
    def upper_lids(self) -> FloatArray:
        """Skin between eye and brow, where eyeshadow goes."""
        return _bell(self.x_abs - 32, 12) * _bell(self.y - 8, 4) * self.front * self.skin

    @cached_property
    def forehead(self) -> FloatArray:
        """Skin above the brows."""
        return sigmoid((self.y - 38) / 6) * self.front

    @cached_property
    def mouth_surround(self) -> FloatArray:
        """Chin and upper lip skin."""
        return _bell(self.x_abs, 24) * _bell(self.y - self.mouth_y + 6, 20) * self.front

    @cached_property
    def t_zone(self) -> FloatArray:
        """Oily parts: forehead center, nose ridge, chin, cheek bones."""
        ridge = _bell(self.x_abs, 9) * smoothstep(self.y, -60, -10)
        chin = _bell(self.x_abs, 12) * _bell(self.y - self.chin_y - 12, 10)
        return np.clip(
            ridge + 0.7 * _bell(self.x_abs, 30) * self.forehead + 0.6 * chin + 0.5 * self.cheeks,
            0,
            1,
        )

    @cached_property
    def lower_lip(self) -> FloatArray:
        """The part of the lips below the mouth line."""
        return self.lips * sigmoid((self.mouth_y - self.y) / 1.5)

    @cached_property
    def beard(self) -> FloatArray:
        """Where a full beard can grow: cheeks below a line, chin, upper lip, upper neck."""
        base, mouth = self.nose_base_y, self.mouth_y
        line = np.interp(
            self.x_abs,
            [0, 12, 22, 35, 55, 66, 80],
            [base - 4, base - 5, mouth + 8, mouth - 2, mouth + 8, base + 24, base + 36],
        )
        grown = sigmoid((line - self.y) / 3.0)
        grown *= (1 - self.lips) * self.skin * sigmoid((self.y - self.chin_y + 20) / 5)
        grown *= sigmoid((self.z + 88) / 5) * (1 - smoothstep(self.ears, 0.1, 0.5))
        bare = _bell(self.x_abs - 12, 6) * _bell(self.y - mouth + 15, 4)
        philtrum = _bell(self.x_abs, 3) * _bell(self.y - base + 5, 5)
        return (grown * (1 - 0.5 * bare) * (1 - 0.5 * philtrum)).astype(np.float32)

    @cached_property
    def moustache(self) -> FloatArray:
        """The upper lip's part of the beard."""
        above = sigmoid((self.y - self.mouth_y - 1) / 2)
        return self.beard * above * sigmoid((30 - self.x_abs) / 3)

    @cached_property
    def brow_polyline(self) -> FloatArray:
        """(5, 2) |x| and y of the mean brow's middle, inner end first."""
        marks = self.surface.relative_landmarks
        line = (marks[22:27, :2] + marks[21:16:-1, :2] * float32([-1, 1])) / 2
        return (line - float32([0, 1.5])).astype(np.float32)

    def brow_coordinates(self) -> tuple[FloatArray, FloatArray]:
        """Along the brow (0 inner end, 1 outer end) and mm above its middle line."""
        line = self.brow_polyline
        along = (self.x_abs - line[0, 0]) / (line[-1, 0] - line[0, 0])
        extended_x = np.concatenate([[line[0, 0] - 12], line[:, 0], [line[-1, 0] + 12]])
        drop = (line[-1, 1] - line[-2, 1]) / (line[-1, 0] - line[-2, 0]) * 12
        extended_y = np.concatenate([[line[0, 1] - 1.0], line[:, 1], [line[-1, 1] + drop]])
        above = self.y - np.interp(self.x_abs, extended_x, extended_y)
        return along.astype(np.float32), above.astype(np.float32)

    @cached_property
    def nasolabial_fold(self) -> FloatArray:
        """Crease from the nose wings past the mouth corners."""
        marks = self.surface.relative_landmarks
        wing, corner = np.abs(marks[35]), marks[54]
        line = float32(
            [
                [wing[0] + 1.5, marks[35, 1] + 6],
                [wing[0] + 7, marks[35, 1] - 3],
                [corner[0] + 5, corner[1] + 9],
                [corner[0] + 7, corner[1] - 2],
            ]
        )
        distance, along = _distance_to_polyline(np.stack([self.x_abs, self.y], 1), line)
        return _bell(distance, 1.6) * (1 - 0.6 * along) * self.front * self.skin

    @cached_property
    def eye_bag_line(self) -> FloatArray:
        """Tear trough: the arc under the lower lid."""
        arc = -17 + 4.5 * ((self.x_abs - 27) / 14) ** 2
        inside = smoothstep(self.x_abs, 10, 17) * (1 - smoothstep(self.x_abs, 33, 43))
        return _bell(self.y - arc, 1.6) * inside * self.front * self.skin

    @cached_property
    def crows_feet(self) -> FloatArray:
        """Rays from the outer corners of the eyes."""
        corner = self.surface.relative_landmarks[45]
        dx, dy = self.x_abs - corner[0] - 1, self.y - corner[1]
        distance = np.hypot(dx, dy)
        angle = np.arctan2(dy, np.maximum(dx, 1e-3))
        rays = np.maximum.reduce(
            [_bell((angle - a) * np.maximum(distance, 1), 1.0) for a in (-0.75, -0.2, 0.35)]
        )
        reach = smoothstep(distance, 2, 6) * (1 - smoothstep(distance, 12, 22))
        return rays * reach * (dx > 0) * self.front * self.skin

    def forehead_lines(self, first_mm: float, gap_mm: float, count: int) -> FloatArray:
        """`count` horizontal creases, the lowest `first_mm` above the eyes."""
        arch = 3 * np.cos(self.x_abs / 12)
        lines = np.zeros(len(self.y), np.float32)
        for k in range(count):
            lines = np.maximum(lines, _bell(self.y - first_mm - k * gap_mm - arch, 1.1))
        return lines * (1 - smoothstep(self.x_abs, 32, 48)) * self.front * self.skin

    @cached_property
    def frown_lines(self) -> FloatArray:
        """Two vertical creases between the brows."""
        span = smoothstep(self.y, 8, 15) * (1 - smoothstep(self.y, 26, 34))
        return _bell(self.x_abs - 7.5, 1.1) * span * self.front * self.skin

    @cached_property
    def marionette_lines(self) -> FloatArray:
        """Creases from the mouth corners down to the jaw."""
        corner = self.surface.relative_landmarks[54]
        line = float32(
            [
                [corner[0] + 3, corner[1] - 3],
                [corner[0] + 5, corner[1] - 12],
                [corner[0] + 4, corner[1] - 22],
            ]
        )
        distance, along = _distance_to_polyline(np.stack([self.x_abs, self.y], 1), line)
        return _bell(distance, 1.5) * (1 - 0.7 * along) * self.front * self.skin
