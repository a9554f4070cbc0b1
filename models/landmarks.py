"""The 68 landmarks of the iBUG 300-W mark-up: names of their groups and their mirror order.

Indices are 0-based.  Left and right are the image's, of a face that looks at the camera; the
subject's right eye is the image-left eye.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import Array

LANDMARK_COUNT: Final = 68

JAW: Final = slice(0, 17)
"""Contour from the image-left ear over the chin (8) to the image-right ear."""
LEFT_BROW: Final = slice(17, 22)
RIGHT_BROW: Final = slice(22, 27)
NOSE_BRIDGE: Final = slice(27, 31)
NOSE_BASE: Final = slice(31, 36)
LEFT_EYE: Final = slice(36, 42)
RIGHT_EYE: Final = slice(42, 48)
OUTER_MOUTH: Final = slice(48, 60)
INNER_MOUTH: Final = slice(60, 68)

GROUPS: Final[dict[str, slice]] = {
    "jaw": JAW,
    "left_brow": LEFT_BROW,
    "right_brow": RIGHT_BROW,
    "nose_bridge": NOSE_BRIDGE,
    "nose_base": NOSE_BASE,
    "left_eye": LEFT_EYE,
    "right_eye": RIGHT_EYE,
    "outer_mouth": OUTER_MOUTH,
    "inner_mouth": INNER_MOUTH,
}

CHIN: Final = 8
NOSE_TIP: Final = 30
LEFT_MOUTH_CORNER: Final = 48
RIGHT_MOUTH_CORNER: Final = 54


def five_points(landmarks: Array) -> Array:
    """Points (..., 5, k) to align by, of landmarks (..., 68, k).

    Image-left eye, image-right eye (means of six landmarks each), nose tip, image-left mouth
    corner, image-right mouth corner.
    """
    eyes = [landmarks[..., eye, :].mean(axis=-2) for eye in (LEFT_EYE, RIGHT_EYE)]
    others = (NOSE_TIP, LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER)
    return np.stack([*eyes, *(landmarks[..., k, :] for k in others)], axis=-2)


def _mirror_order() -> NDArray[np.int64]:
    order = np.arange(LANDMARK_COUNT)
    pairs = [
        *((i, 16 - i) for i in range(8)),
        *((17 + i, 26 - i) for i in range(5)),
        (31, 35), (32, 34),
        (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
        (48, 54), (49, 53), (50, 52), (59, 55), (58, 56),
        (60, 64), (61, 63), (67, 65),
    ]  # fmt: skip
    for left, right in pairs:
        order[[left, right]] = right, left
    order.setflags(write=False)
    return order


MIRROR_ORDER: Final = _mirror_order()
"""(68,): landmark i of a mirrored face is landmark MIRROR_ORDER[i] of the face."""
