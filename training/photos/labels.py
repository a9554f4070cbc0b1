"""Label files of photo collections.

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
