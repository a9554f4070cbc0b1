"""The faces that `facewright detect` finds, the service's own detector."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from facewright.models.arrays import Array


class Face(NamedTuple):
    """A detected face; coordinates in photo px, pixel centers at halves.

    points: (5, 2) in the order of `models.alignment`.
    box: (4,) x0, y0, x1, y1; NaN where the detector's file has none.
    """

    points: Array
    box: Array


def read_faces(path: Path) -> dict[str, Face]:
    """Faces by photo name, as `facewright detect` writes them; the first of several counts.

    Photos without a face are left out.

    Raises:
        KeyError: an array is missing. FileNotFoundError: no such file.
    """
    faces: dict[str, Face] = {}
    with np.load(path) as file:
        points = file["points"].astype(np.float64)
        boxes = (
            file["boxes"].astype(np.float64)
            if "boxes" in file
            else np.full((len(points), 4), np.nan)
        )
        for name, five, box in zip(file["names"], points, boxes, strict=True):
            if np.isfinite(five).all():
                faces.setdefault(str(name), Face(five, box))
    return faces
