"""MediaPipe FaceMesh's 468 points: alignment points, yaw, and the face model's 68 landmarks.

Most of FaceMesh's points sit on anatomy that has one place: corners of eyes and mouth, borders
of the lips, the ridge of the nose. Its numbering is MediaPipe's canonical face model's; the
table below lists, for every iBUG landmark, the FaceMesh points on the same place, two where the
landmark lies between them. Where several would do (lids, brows, wings of the nose) those were
taken that lie nearest to the face model's landmarks on predicted faces of training people; the
inner ends of the brows have none within 2% of the face's size and are unknown.

The jaw is different. FaceMesh's outline follows the visible silhouette rather than bone, and
its points from the ears to the corners of the jaw (landmarks 0-4 and 12-16) match none of the
face model's to better than 5% of the face's size, so they are unknown. Around the chin (5-11)
they match to 3-5% up to 30 degrees of yaw; beyond, on the side that turns away, the error grows
to 5-7% at 30-45 degrees and 8-13% after that, so there they are unknown, too.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from facewright.models.arrays import Array
from facewright.models.landmarks import CHIN, JAW, LANDMARK_COUNT, MIRROR_ORDER

# Outer and inner corner of the image-left eye, inner and outer one of the image-right eye.
LEFT_EYE, RIGHT_EYE = (33, 133), (362, 263)
NOSE_TIP, LEFT_MOUTH, RIGHT_MOUTH = 1, 61, 291

LARGEST_YAW_OF_FAR_JAW: Final = 30.0
"""Degrees; see above."""

_POINTS: Final[dict[int, tuple[int, ...]]] = {
    5: (150, 169), 6: (170, 176), 7: (171,), 8: (175,), 9: (396,), 10: (395, 400), 11: (379, 394),
    17: (70,), 18: (63, 105), 19: (104, 65), 20: (108, 222),
    23: (337, 442), 24: (333, 295), 25: (293, 334), 26: (300,),
    27: (168,), 28: (6, 197), 29: (195,), 30: (4,),
    31: (240, 97), 32: (97,), 33: (2,), 34: (326,), 35: (460, 326),
    36: (33,), 37: (160, 161), 38: (158,), 39: (133,), 40: (153,), 41: (163,),
    42: (362,), 43: (385,), 44: (387, 388), 45: (263,), 46: (390,), 47: (380,),
    48: (61,), 49: (39, 40), 50: (37,), 51: (0,), 52: (267,), 53: (269, 270), 54: (291,),
    55: (321,), 56: (314, 405), 57: (17,), 58: (84, 181), 59: (91,),
    60: (78,), 61: (81,), 62: (13,), 63: (311,), 64: (308,), 65: (402,), 66: (14,), 67: (178,),
}  # fmt: skip


def five_points(mesh468: Array) -> Array:
    """The alignment points (N, 5, 2) of FaceMesh points (N, 468, 2 or 3)."""
    mesh = mesh468[..., :2]
    eyes = [mesh[:, eye].mean(1) for eye in (LEFT_EYE, RIGHT_EYE)]
    return np.stack([*eyes, *(mesh[:, k] for k in (NOSE_TIP, LEFT_MOUTH, RIGHT_MOUTH))], axis=1)


def yaw_degrees(mesh468: Array) -> Array:
    """Yaw (N,) of FaceMesh points (N, 468, 3), by the depth of the outer corners of the eyes.

    Positive as the model's: the image-right side of the face is the farther one.
    """
    across = mesh468[:, RIGHT_EYE[1]] - mesh468[:, LEFT_EYE[0]]
    return np.degrees(np.arctan2(across[:, 2], across[:, 0]))


def landmarks68(mesh468: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """The face model's landmarks of FaceMesh points.

    Args:
        mesh468: (N, 468, 3) px, z smaller where nearer; NaN where no face was found.

    Returns:
        Landmarks (N, 68, 2), 0 where unknown, and which are known (N, 68).
    """
    landmarks = np.zeros((len(mesh468), LANDMARK_COUNT, 2))
    known = np.zeros((len(mesh468), LANDMARK_COUNT), np.bool_)
    for landmark, points in _POINTS.items():
        landmarks[:, landmark] = mesh468[:, points, :2].mean(1)
        known[:, landmark] = True
    yaw = yaw_degrees(mesh468)
    left = np.arange(JAW.start, CHIN)
    known[np.ix_(yaw > LARGEST_YAW_OF_FAR_JAW, MIRROR_ORDER[left])] = False
    known[np.ix_(yaw < -LARGEST_YAW_OF_FAR_JAW, left)] = False
    known &= np.isfinite(landmarks).all(2)
    return np.where(known[..., None], landmarks, 0.0), known
