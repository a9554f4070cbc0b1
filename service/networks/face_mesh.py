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
    box: Float32
    """(4,): x0, y0, x1, y1 of all points."""
    presence: float
    """Confidence that a face is there, 0..1."""

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
    (x0, y0, x1, y1), ((left, upper), (right, lower)) = box.tolist(), eyes.tolist()
    roll = math.atan2(lower - upper, right - left)
    scale = FACE_SIDE / max(x1 - x0, y1 - y0, 1e-3)
    cosine, sine = scale * math.cos(roll), scale * math.sin(roll)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return np.array(
        [
            [cosine, sine, SIDE / 2 - cosine * x - sine * y],
            [-sine, cosine, SIDE / 2 + sine * x - cosine * y],
        ]
    )


def read(answer: tuple[Float32, ...], transform: npt.NDArray[np.float64]) -> MeshedFace:
    """Read the network's answer, points (1404,) and a logit (1,), for a square of the photo."""
    linear, shift = transform[:, :2], transform[:, 2]
    # The inverse of a similarity is its transpose over the squared scale.
    back = linear / (linear[0] @ linear[0])
    mesh = ((answer[0].reshape(468, 3)[:, :2] - shift) @ back).astype(np.float32)
    columns = np.ascontiguousarray(mesh.T)  # NumPy is slow along the short side of an array
    logit = min(max(float(answer[1][0]), -80.0), 80.0)
    box = np.concatenate([columns.min(axis=1), columns.max(axis=1)])
    return MeshedFace(mesh, box, 1 / (1 + math.exp(-logit)))


def astray(face: MeshedFace, transform: npt.NDArray[np.float64]) -> float:
    """How far the face lies from where its square was cut; up to 1 its points are good."""
    (a, b, c), (d, e, f) = transform.tolist()
    (wanted_a, wanted_b, _), _ = face.transform().tolist()
    x0, y0, x1, y1 = face.box.tolist()
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    off = max(abs(a * x + b * y + c - SIDE / 2), abs(d * x + e * y + f - SIDE / 2))
    scale = math.hypot(wanted_a, wanted_b) / math.hypot(a, b)
    turn = math.remainder(math.atan2(wanted_b, wanted_a) - math.atan2(b, a), math.tau)
    return max(off / (_NEAR * SIDE), abs(math.log(scale)) / math.log(_ALIKE), abs(turn) / _STEADY)
