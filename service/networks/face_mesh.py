"""FaceMesh: a closer look at one face, which tells whether it is one and where its points are.

FaceMesh (Kartynnik et al. 2019, arXiv 1907.06724) sees an upright square around a face and
gives 468 points of it and the confidence that a face is there at all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facewright.service.networks.image_networks import Float32

NAME = "face_mesh"

SIDE = 192
"""Of the square in pixels."""

FACE_SIDE = SIDE / 1.5
"""Pixels that the longer side of the face's box has in the square."""

_IMAGE_LEFT_EYE, _IMAGE_RIGHT_EYE = (33, 133), (362, 263)
"""Corners of the eyes, the outer and the inner and then the inner and the outer."""
_NOSE, _IMAGE_LEFT_MOUTH, _IMAGE_RIGHT_MOUTH = 1, 61, 291

_NEAR, _ALIKE, _STEADY = 0.12, 1.25, math.radians(12)
"""Of the square: how far a face may lie from where it was sought, how many times as large or
small it may be, and by which angle turned, for its points to be good."""


class MeshedFace(NamedTuple):
    """What FaceMesh says of a square, in pixels of the photo that it was cut from."""

    mesh: Float32
    """(468, 2)."""
    presence: float
    """Confidence that a face is there, 0..1."""

    @property
    def box(self) -> Float32:
        """(4,): x0, y0, x1, y1 of all points."""
        return np.concatenate([self.mesh.min(axis=0), self.mesh.max(axis=0)])

    @property
    def points(self) -> Float32:
        """(5, 2): as `DetectedFace.points`."""
        mesh = self.mesh
        eyes = [mesh[list(eye)].mean(axis=0) for eye in (_IMAGE_LEFT_EYE, _IMAGE_RIGHT_EYE)]
        others = mesh[[_NOSE, _IMAGE_LEFT_MOUTH, _IMAGE_RIGHT_MOUTH]]
        return np.concatenate([np.stack(eyes), others]).astype(np.float32)

    def transform(self) -> npt.NDArray[np.float64]:
        """The square that FaceMesh would look at next, as of `square_transform`."""
        eyes = self.mesh[[_IMAGE_LEFT_EYE[0], _IMAGE_RIGHT_EYE[1]]]
        return square_transform(self.box, eyes)


def square_transform(box: Float32, eyes: Float32) -> npt.NDArray[np.float64]:
    """Map (2, 3) from the photo to the square around a box (4,) whose eyes (2, 2) lie level."""
    right, down = (eyes[1] - eyes[0]).astype(np.float64)
    roll = math.atan2(down, right)
    scale = FACE_SIDE / max(float((box[2:] - box[:2]).max()), 1e-3)
    cosine, sine = scale * math.cos(roll), scale * math.sin(roll)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    center = (box[:2] + box[2:]).astype(np.float64) / 2
    return np.column_stack([linear, SIDE / 2 - linear @ center])


def read(answer: tuple[Float32, ...], transform: npt.NDArray[np.float64]) -> MeshedFace:
    """Read the network's answer, points (1404,) and a logit (1,), for a square of the photo."""
    in_square = answer[0].reshape(468, 3)[:, :2].astype(np.float64)
    mesh = (in_square - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    logit = float(np.clip(answer[1][0], -80, 80))
    return MeshedFace(mesh.astype(np.float32), 1 / (1 + math.exp(-logit)))


def settled(face: MeshedFace, transform: npt.NDArray[np.float64]) -> bool:
    """Whether the square lay well enough for the points of the face in it to be good."""
    wanted = face.transform()
    middle = np.linalg.inv(wanted[:, :2]) @ (SIDE / 2 - wanted[:, 2])
    off = transform[:, :2] @ middle + transform[:, 2] - SIDE / 2
    change = wanted[:, :2] @ np.linalg.inv(transform[:, :2])
    scale = math.sqrt(abs(float(np.linalg.det(change))))
    turn = math.atan2(change[1, 0], change[0, 0])
    return (
        float(np.abs(off).max()) < _NEAR * SIDE
        and 1 / _ALIKE < scale < _ALIKE
        and abs(turn) < _STEADY
    )
