"""From a detected face to the crop that R-Net sees.

Scale and position come from five points (`models.alignment`); the crop is turned by quarter
turns only, because the network regresses in-plane rotation itself and has learnt it up to
some 45 degrees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from facewright.models.alignment import crop_transform
from facewright.models.camera import CROP_SIZE
from facewright.models.resampling import cut_square
from facewright.service.networks.detection import DetectedFace


def face_crop_transform(face: DetectedFace, template: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Map (2, 3) from photo pixels to pixels of the face's crop, both continuous.

    `template` (5, 3) is `MorphableModel.five_points` in mm.  The map turns the face upright
    by `face.orientation` quarter turns, then scales and shifts it as the network was trained.
    Raises ValueError for points that no face can have, such as five points on a line.
    """
    return crop_transform(face.points, template, face.orientation)


def crop_face(
    rgb_u8: npt.NDArray[np.uint8], transform: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Cut the crop (224, 224, 3) of a face out of a photo (H, W, 3)."""
    return cut_square(rgb_u8, transform, CROP_SIZE)
