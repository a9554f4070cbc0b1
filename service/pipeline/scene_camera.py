"""One camera for all faces of a photo, each of which was reconstructed before its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from facewright.models.arrays import DoubleArray
from facewright.models.camera import CAMERA_DISTANCE
from facewright.service.pipeline.reconstruction import Reconstruction

_CAMERA = np.array([0.0, 0.0, CAMERA_DISTANCE])


class SceneCamera(NamedTuple):
    """The camera of a photo, at (0, 0, 1000) mm, looking along -z through the photo's middle."""

    focal_px: float
    """That of the first face's camera, so that this face keeps its distance."""
    middle: DoubleArray
    """(2,) photo pixels."""

    @classmethod
    def of(cls, faces: Sequence[Reconstruction], width: int, height: int) -> SceneCamera:
        """The camera for a photo of these pixels; the largest face comes first."""
        return cls(float(faces[0].intrinsics[0, 0]), np.array([width, height]) / 2)

    def place(self, face: Reconstruction) -> DoubleArray:
        """(4, 4): a face's model space to the scene, in mm.

        The face's origin is seen where it was, as large, and from the same side: it is turned as
        the line of sight is.
        """
        seen = face.translation_mm.astype(np.float64) - _CAMERA
        focal = face.intrinsics[0, 0]
        pixel = face.intrinsics[:2, 2] + focal * seen[:2] * (1, -1) / -seen[2]
        across = (pixel - self.middle) * (1, -1) / self.focal_px
        moved = -seen[2] * self.focal_px / focal * np.array([*across, -1.0])
        matrix = np.eye(4)
        matrix[:3, :3] = _turn(seen, moved) @ face.rotation_matrix
        matrix[:3, 3] = moved + _CAMERA
        return matrix


def _turn(start: DoubleArray, end: DoubleArray) -> DoubleArray:
    """The least rotation (3, 3) that turns the direction `start` (3,) to `end`, less than 180°."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    x, y, z = np.cross(start, end)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: DoubleArray = np.eye(3) + skew + skew @ skew / (1 + start @ end)
    return turn
