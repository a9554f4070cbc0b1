"""From a detected face to the crop that R-Net sees.

Scale and position come from five points (`models.alignment`); the crop is turned by quarter
turns only, because the network regresses in-plane rotation itself and has learnt it up to
some 45 degrees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.alignment import crop_transform
from models.camera import CROP_SIZE
from service.detection import DetectedFace
from service.resampling import cut_square

# Quarter turns counter-clockwise of the picture, whose y axis points down: turn 1 moves a
# point on the right (x) to the top (-y).
_QUARTER_TURNS = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [-1, 0]], [[-1, 0], [0, -1]], [[0, -1], [1, 0]]],
    dtype=np.float64,
)


def face_crop_transform(face: DetectedFace, template: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Map (2, 3) from photo pixels to pixels of the face's crop, both continuous.

    `template` (5, 3) is `MorphableModel.five_points` in mm.  The map turns the face upright
    by `face.orientation` quarter turns, then scales and shifts it as the network was trained.
    Raises ValueError for points that no face can have, such as five points on a line.
    """
    turn = _QUARTER_TURNS[face.orientation]
    upright = crop_transform(face.points.astype(np.float64) @ turn.T, template)
    return np.column_stack([upright[:, :2] @ turn, upright[:, 2]])


def crop_face(
    rgb_u8: npt.NDArray[np.uint8], transform: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Cut the crop (224, 224, 3) of a face out of a photo (H, W, 3)."""
    return cut_square(rgb_u8, transform, CROP_SIZE)
