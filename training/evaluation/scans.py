"""Predictions against scans: crop, register, measure.

The paper's protocol: the scan is cropped to 95 mm around the tip of its nose, the prediction is
registered to the crop by ICP with rotation, translation and isotropic scale, and the distances
of the scan's points to the predicted surface are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import Array
from facewright.models.landmarks import (
    LANDMARK_COUNT,
    LEFT_EYE,
    LEFT_MOUTH_CORNER,
    NOSE_TIP,
    RIGHT_EYE,
    RIGHT_MOUTH_CORNER,
)
from facewright.models.morphable_model import PART_EYEBALL, PART_SKIN, MorphableModel
from facewright.training.evaluation.errors import ScanError
from facewright.training.evaluation.icp import register
from facewright.training.evaluation.nearest import Surface, finite_points
from facewright.training.evaluation.similarity import Similarity, fit_similarity

# The paper, section 5: the radius of the crop around the nose tip, mm.
FACE_RADIUS = 95.0
# Fewer points than this say nothing about a face.
FEWEST_POINTS = 100
# A face measured in mm is this much larger or smaller than the predicted one at most.
_UNIT_RANGE = 1.6
# The nose tip of a scan without a landmark there is looked for this near to where the mean face
# has it, mm.
_NOSE_SEARCH = 30.0

_OUTER_EYES, _INNER_EYES, _NOSE_BASE = (36, 45), (39, 42), 33
_INNER_LIPS = (62, 66)


@dataclass(frozen=True, eq=False)
class Markup:
    """Which points of a face were picked on a scan.

    Attributes:
        name: of the mark-up.
        weights: (K, 68), rows of sum 1: every picked point as a mean of iBUG landmarks.
    """

    name: str
    weights: Array

    @property
    def nose_tip(self) -> int | None:
        """Row of the nose tip, if it was picked."""
        rows = np.flatnonzero(self.weights[:, NOSE_TIP] == 1)
        return int(rows[0]) if len(rows) else None


def _markup(name: str, groups: Sequence[Sequence[int]]) -> Markup:
    weights = np.zeros((len(groups), LANDMARK_COUNT))
    for row, group in enumerate(groups):
        weights[row, list(group)] = 1 / len(group)
    return Markup(name, weights)


_EVERY = range(LANDMARK_COUNT)
IBUG_68 = _markup("the 68 iBUG landmarks", [[k] for k in _EVERY])
IBUG_51 = _markup("the inner 51 iBUG landmarks", [[k] for k in _EVERY[17:]])
# NoW: outer and inner corner of the image-left eye, inner and outer of the image-right one, nose
# base, mouth corners.
NOW_LANDMARKS = (_OUTER_EYES[0], *_INNER_EYES, _OUTER_EYES[1], _NOSE_BASE,
                 LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER)  # fmt: skip
NOW_7 = _markup("the 7 landmarks of NoW", [[k] for k in NOW_LANDMARKS])
FIVE_POINTS = _markup(
    "eye centers, nose tip, mouth corners",
    [_EVERY[LEFT_EYE], _EVERY[RIGHT_EYE], [NOSE_TIP], [LEFT_MOUTH_CORNER], [RIGHT_MOUTH_CORNER]],
)
# Inner eye corners, nose base, and the middle of the closed lips.
FACEWAREHOUSE_4 = _markup(
    "4 vertices of FaceWarehouse's mesh",
    [[_INNER_EYES[0]], [_INNER_EYES[1]], [_NOSE_BASE], _INNER_LIPS],
)
# A file of picked points does not say which they are: their number does.
MARKUPS = {len(m.weights): m for m in (IBUG_68, IBUG_51, NOW_7, FIVE_POINTS)}


def markup_of(points: Array) -> Markup:
    """The mark-up of picked points (K, 3), by their number.

    Raises:
        ScanError: no mark-up has that many.
    """
    if len(points) not in MARKUPS:
        known = ", ".join(f"{count} ({m.name})" for count, m in sorted(MARKUPS.items()))
        raise ScanError(f"{len(points)} landmarks; known are {known}")
    return MARKUPS[len(points)]


@dataclass(frozen=True, eq=False)
class Scan:
    """Points of a face's surface.

    Attributes:
        points: (N, 3) mm.
        landmarks: (K, 3) mm, picked on it.
        markup: which landmarks they are.
    """

    points: Array
    landmarks: Array
    markup: Markup


@dataclass(frozen=True, eq=False)
class Prediction:
    """A face in model space.

    Attributes:
        surface: without the inside of lids and mouth, which no scanner sees, mm.
        landmarks: (68, 3) mm.
    """

    surface: Surface
    landmarks: Array

    @staticmethod
    def of(model: MorphableModel, vertices: Array) -> Prediction:
        """The prediction whose vertices (V, 3) are those of `model`'s mesh.

        Raises:
            ScanError: vertices that are not finite.
        """
        seen = np.isin(model.parts[model.triangles], (PART_SKIN, PART_EYEBALL)).all(1)
        surface = Surface(vertices, model.triangles[seen])
        return Prediction(surface, surface.vertices[model.landmarks])


Crop = Callable[[Scan, Array], tuple[Array, float]]
"""Center and radius of the measured region of a scan, mm; the (68, 3) landmarks of the mean face
help where the scan's own do not say."""


def around_nose_tip(scan: Scan, mean_landmarks: Array) -> tuple[Array, float]:
    """The paper's region: 95 mm around the tip of the nose.

    If the tip was not picked, it is the foremost point of the scan near the place where the mean
    face has its own once its landmarks lie on the scan's.
    """
    row = scan.markup.nose_tip
    if row is not None:
        return scan.landmarks[row], FACE_RADIUS
    pose = fit_similarity(scan.markup.weights @ mean_landmarks, scan.landmarks)
    guess = pose.apply(mean_landmarks[None, NOSE_TIP])[0]
    near = scan.points[np.linalg.norm(scan.points - guess, axis=1) < _NOSE_SEARCH]
    if not len(near):
        raise ScanError("the scan has no points where its landmarks say that the nose is")
    forward = pose.rotation[:, 2]
    return near[np.argmax(near @ forward)], FACE_RADIUS


def now_region(scan: Scan, mean_landmarks: Array) -> tuple[Array, float]:
    """The region of the NoW benchmark, from its seven landmarks.

    The center is 30% of the way from the nose base to the middle of the inner eye corners; the
    radius is 0.7 times the sum of that way's length and the distance of the outer eye corners.

    Raises:
        ScanError: the scan has other landmarks.
    """
    if scan.markup is not NOW_7:
        raise ScanError(f"NoW's protocol needs {NOW_7.name}, got {scan.markup.name}")
    outer_left, inner_left, inner_right, outer_right, base = scan.landmarks[:5]
    bridge = (inner_left + inner_right) / 2
    width, height = np.linalg.norm(outer_left - outer_right), np.linalg.norm(bridge - base)
    return base + 0.3 * (bridge - base), float(0.7 * (width + height))


@dataclass(frozen=True)
class Protocol:
    """How predictions are compared with scans.

    Attributes:
        name: short, for reports.
        crop: the region.
        scaled: whether the alignment fits a scale, or takes the prediction's millimeters as such.
        trim: share of the scan's points, the farthest ones, that do not count in the alignment,
            for scans with hair and the like; all points are measured.
    """

    name: str
    crop: Crop
    scaled: bool
    trim: float


PAPER = Protocol("paper", around_nose_tip, scaled=True, trim=0.0)
NOW = Protocol("NoW", now_region, scaled=True, trim=0.0)
NOW_METRICAL = Protocol("NoW, metrical", now_region, scaled=False, trim=0.0)


@dataclass(frozen=True, eq=False)
class ScanErrors:
    """How far a prediction is from a scan.

    Attributes:
        distances: (M,) mm, of the scan's points in the crop to the predicted surface.
        covered: share of them whose nearest point is not on the border of the predicted mesh.
        pose: maps the prediction to the scan.
    """

    distances: Array
    covered: float
    pose: Similarity

    @property
    def mean(self) -> float:
        """Mean distance, mm."""
        return float(self.distances.mean())

    @property
    def rmse(self) -> float:
        """Root of the mean squared distance, mm."""
        return float(np.sqrt((self.distances**2).mean()))

    @property
    def median(self) -> float:
        """Median distance, mm."""
        return float(np.median(self.distances))


def measure(
    scan: Scan, prediction: Prediction, protocol: Protocol, mean_landmarks: Array
) -> ScanErrors:
    """Compare a prediction with a scan.

    Args:
        scan: mm.
        prediction: of the face on it, in any pose; mm.
        protocol: such as `PAPER`.
        mean_landmarks: (68, 3) mm, of the mean face.

    Raises:
        ScanError: points or landmarks are not finite, the landmarks are not those of the
            protocol, the crop holds hardly any point, the scan is not in mm, or the prediction
            does not come to lie on it.
    """
    points = finite_points(scan.points, "scan")
    if not np.isfinite(scan.landmarks).all():
        raise ScanError("the scan's landmarks are not finite")
    # The fit of both sets with a scale tells whether the units are the same.
    partners = scan.markup.weights @ prediction.landmarks
    if len(partners) != len(scan.landmarks):
        raise ScanError(f"{len(scan.landmarks)} points are not {scan.markup.name}")
    units = float(fit_similarity(partners, scan.landmarks).scale)
    if not 1 / _UNIT_RANGE < units < _UNIT_RANGE:
        raise ScanError(
            f"the scan's landmarks span {units:.3g} times what the prediction's do:"
            " is the scan in millimeters, and are the landmarks in the right order?"
        )
    center, radius = protocol.crop(scan, mean_landmarks)
    crop = points[np.linalg.norm(points - center, axis=1) <= radius]
    if len(crop) < FEWEST_POINTS:
        raise ScanError(
            f"{len(crop)} of {len(points)} points lie within {radius:.0f} mm of the crop's center"
        )
    scaled, trim = protocol.scaled, protocol.trim
    start = fit_similarity(partners, scan.landmarks, scaled=scaled)
    found = register(prediction.surface, crop, start, scaled=scaled, trim=trim)
    covered = 1 - float(prediction.surface.on_border(found.nearest).mean())
    return ScanErrors(found.distances, covered, found.pose)


def sample_surface(
    vertices: Array, triangles: Array, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Points (count, 3) spread evenly over a mesh, as a scanner's are."""
    corners = np.asarray(vertices, np.float64)[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1)
    chosen = corners[rng.choice(len(corners), count, p=area / area.sum())]
    # Uniform in the triangle: the square root undoes the narrowing towards the first corner.
    u, v = np.sqrt(rng.random(count))[:, None], rng.random(count)[:, None]
    points: NDArray[np.float64] = (
        (1 - u) * chosen[:, 0] + u * (1 - v) * chosen[:, 1] + u * v * chosen[:, 2]
    )
    return points
