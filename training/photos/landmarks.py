"""The 68 landmarks of a photograph, from a label file.

They are given as the face model has them, because losses compare them with the model's own: what
a file marks elsewhere (see `photos.conventions`) is unknown.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from facewright.models.arrays import Array
from facewright.models.landmarks import five_points
from facewright.training.photos.conventions import SHARP
from facewright.training.photos.crops import PIXEL_CENTER
from facewright.training.photos.facemesh import landmarks68


class Landmarks(NamedTuple):
    """Landmarks of one face.

    points: (68, 2) photo px, pixel centers at halves; finite everywhere.
    known: (68,) bool.
    """

    points: Array
    known: npt.NDArray[np.bool_]


LabelKind = Literal["facemesh", "labels68"]


class LabeledLandmarks:
    """Landmarks of a label file, see `photos.labels`. Asked from several threads.

    Args:
        path: `.npz` with `names` and `mesh468`, and `landmarks68` if asked for.
        kind: "facemesh" takes the model's landmarks from FaceMesh's points; "labels68" takes
            `landmarks68`, of which only 27 to 67 are the face model's.
        shift: px right and down by which `landmarks68` are off.

    Raises:
        KeyError: an array is missing. FileNotFoundError: no such file.
        ValueError: a shift is given for FaceMesh's points.
    """

    def __init__(
        self, path: Path, kind: LabelKind = "facemesh", shift: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        if kind == "facemesh" and any(shift):
            raise ValueError("the shift is one of landmarks68, FaceMesh's points have none")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.description = f"{kind} {digest} shift {shift[0]:g} {shift[1]:g}"
        with np.load(path) as file:
            names = [str(name) for name in file["names"]]
            if kind == "facemesh":
                points, known = landmarks68(file["mesh468"].astype(np.float64))
            else:
                points = file["landmarks68"].astype(np.float64) - np.array(shift)
                known = np.isfinite(points).all(2)
                known[:, : SHARP.start] = False
        self._points = np.where(known[..., None], points + PIXEL_CENTER, 0.0)
        self._known = known
        self._rows = {name: row for row, name in enumerate(names)}

    def find(self, name: str) -> Landmarks | None:
        """Landmarks of the photo of a path relative to its collection; None if there are none."""
        row = self._rows.get(name)
        if row is None or not self._known[row].any():
            return None
        return Landmarks(self._points[row], self._known[row])


# Mean distance over the spread of the points: a few in a thousand faces are above it, and those
# looked at were other faces of the same photo or wrong.
_LARGEST_DISAGREEMENT = 0.4


def same_face(landmarks: Array, points: Array) -> bool:
    """Whether landmarks (68, 2) and alignment points (5, 2) lie on one face.

    The landmarks from 27 on must be known.
    """
    spread = np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean())
    apart = np.linalg.norm(five_points(landmarks) - points, axis=1).mean()
    return bool(apart < _LARGEST_DISAGREEMENT * spread)
