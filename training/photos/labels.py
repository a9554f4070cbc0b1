"""Label files of photo collections, and the constant shift between two kinds of labels in one.

A label file is an `.npz` with `names` (N,), paths relative to the photo directory, and
`mesh468` (N, 468, 3), FaceMesh points in px with pixel centers at integers and NaN where no
face was found; optionally `landmarks68` (N, 68, 2) in the same coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facewright.models.arrays import Array
from facewright.training.photos.crops import PIXEL_CENTER
from facewright.training.photos.facemesh import five_points, yaw_degrees
from facewright.training.photos.facemesh import landmarks68 as facemesh_landmarks
from facewright.training.photos.faces import read_faces


@dataclass(frozen=True, eq=False)
class PhotoLabels:
    """Labels of N photos, in continuous coordinates (pixel centers at halves).

    Attributes:
        names: file names relative to the photo directory.
        points: (N, 5, 2) px, in the order of `models.alignment`; NaN where unknown.
        landmarks: (N, 68, 2) px, or None.
        of_mesh: (N, 68, 2) px, the face model's landmarks by FaceMesh; NaN where it knows none.
        yaw: (N,) degrees by FaceMesh, NaN where it found no face.
    """

    names: Sequence[str]
    points: Array
    landmarks: Array | None
    of_mesh: Array
    yaw: Array

    def take(self, rows: Array) -> PhotoLabels:
        """Labels of some photos."""
        return PhotoLabels(
            [self.names[k] for k in rows],
            self.points[rows],
            None if self.landmarks is None else self.landmarks[rows],
            self.of_mesh[rows],
            self.yaw[rows],
        )


def read_labels(path: Path, points_path: Path | None = None) -> PhotoLabels:
    """Read a label file; photos without alignment points are left out.

    Args:
        path: the label file.
        points_path: `.npz` with `names` and `points` (N, 5, 2) px, pixel centers at halves,
            to align by instead, such as a detector's.

    Raises:
        KeyError: an array is missing. FileNotFoundError: no such file.
    """
    with np.load(path) as file:
        names = [str(name) for name in file["names"]]
        mesh468 = file["mesh468"].astype(np.float64)
        landmarks = None
        if "landmarks68" in file:
            landmarks = file["landmarks68"].astype(np.float64) + PIXEL_CENTER
    points = five_points(mesh468) + PIXEL_CENTER
    if points_path is not None:
        faces = read_faces(points_path)
        points = np.full((len(names), 5, 2), np.nan)
        for row, name in enumerate(names):
            if name in faces:
                points[row] = faces[name].points
    of_mesh, known = facemesh_landmarks(mesh468)
    of_mesh = np.where(known[..., None], of_mesh + PIXEL_CENTER, np.nan)
    labels = PhotoLabels(names, points, landmarks, of_mesh, yaw_degrees(mesh468))
    return labels.take(np.flatnonzero(np.isfinite(points).all((1, 2))))


# iBUG and FaceMesh points of the same place: mirror pairs for x, anything anatomical for y.
_MIRROR_PAIRS = (((36, 45), (33, 263)), ((39, 42), (133, 362)), ((48, 54), (61, 291)))
_SAME_PLACE = (*_MIRROR_PAIRS, ((33,), (2,)), ((51,), (0,)), ((57,), (17,)))
# Views within these degrees are taken for frontal.
_FRONTAL_YAW = 10.0
# Of the sizes of faces, relative to their mean: with less, no line can be fitted.
_LEAST_SPREAD = 0.1
_HUBER = 1.345
_ITERATIONS = 30


def landmark_shift(mesh468: Array, landmarks68: Array) -> tuple[float, float]:
    """The constant offset in px of a collection's 68 landmarks from FaceMesh's points.

    A convention that differs in anatomy moves with the size of the face; an offset of pixels
    does not. Sideways, anatomy cancels between left and right: the offset is the median
    difference of the midpoints of mirror pairs on near-frontal photos. Downwards, it is what
    remains of the difference when the face's size goes to zero, by a robust line fit for each
    anatomical point, averaged.

    Args:
        mesh468: (N, 468, 3) px; NaN where no face was found.
        landmarks68: (N, 68, 2) px of the same photos, in the same coordinates.

    Returns:
        Right and down, px; to be subtracted from `landmarks68`.

    Raises:
        ValueError: fewer than ten near-frontal photos have both, or all faces are of one size.
    """
    yaw = yaw_degrees(mesh468)
    usable = np.isfinite(mesh468).all((1, 2)) & np.isfinite(landmarks68).all((1, 2))
    usable &= np.abs(yaw) < _FRONTAL_YAW
    if usable.sum() < 10:
        raise ValueError("too few near-frontal photos have both kinds of labels")
    mesh, landmarks = mesh468[usable, :, :2], landmarks68[usable]
    size = np.sqrt(np.prod(landmarks.max(1) - landmarks.min(1), axis=1))
    if size.std() < _LEAST_SPREAD * size.mean():
        raise ValueError("faces of different sizes are needed to tell an offset from anatomy")

    def difference(places: tuple[tuple[int, ...], tuple[int, ...]]) -> Array:
        of68, of468 = places
        return landmarks[:, of68].mean(1) - mesh[:, of468].mean(1)

    right = np.median([difference(pair)[:, 0] for pair in _MIRROR_PAIRS])
    down = np.mean([_intercept(size, difference(places)[:, 1]) for places in _SAME_PLACE])
    return float(right), float(down)


def _intercept(x: Array, y: Array) -> float:
    """Value at 0 of a line fitted with Huber's weights."""
    design = np.stack([np.ones_like(x), x], 1)
    weight = np.ones_like(y)
    line = np.zeros(2)
    for _ in range(_ITERATIONS):
        root = np.sqrt(weight)
        line = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        residual = np.abs(y - design @ line)
        scale = max(1.4826 * float(np.median(residual)), 1e-9)
        weight = np.minimum(1.0, _HUBER * scale / np.maximum(residual, 1e-12))
    return float(line[0])
