"""From a photo file to the crop that R-Net sees, the same as the service cuts.

The service may not be imported here; the tests hold its crops against these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from models.alignment import crop_transform
from models.camera import CROP_SIZE

Array = npt.NDArray[Any]

PIXEL_CENTRE = 0.5
"""Labels with pixel centres at integers are this much less than continuous coordinates."""

# Quarter turns counter-clockwise of a picture whose y axis points down.
_QUARTER_TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])


class UnreadablePhoto(ValueError):
    """A file is missing, or no photo that can be decoded."""


def read_photo(path: Path) -> npt.NDArray[np.uint8]:
    """The photo (H, W, 3) uint8 RGB as a viewer shows it: EXIF applied, transparency on white.

    Raises:
        UnreadablePhoto: the file is missing or no picture.
    """
    try:
        with Image.open(path) as image:
            picture = ImageOps.exif_transpose(image)
            if picture.has_transparency_data:
                layer = picture.convert("RGBA")
                picture = Image.new("RGB", layer.size, "white")
                picture.paste(layer, mask=layer.getchannel("A"))
            return np.ascontiguousarray(picture.convert("RGB"))
    except Exception as error:  # Pillow's readers raise whatever their parsing stumbles over
        raise UnreadablePhoto(f"no photo at {path}: {error}") from error


def quarter_turns(points: Array) -> int:
    """How many quarter turns counter-clockwise bring a face (5, 2) closest to upright: 0..3.

    The face points down from between the eyes to between the mouth's corners.
    """
    right, down = points[3:].mean(0) - points[:2].mean(0)
    return round(float(np.arctan2(-right, down)) / (np.pi / 2)) % 4


def upright_transform(points: Array, template: Array) -> npt.NDArray[np.float64]:
    """Map (2, 3) from photo px to px of the 224 crop: quarter turns, scale and translation.

    Args:
        points: (5, 2) photo px in the order of :mod:`models.alignment`.
        template: (5, 3) mm, ``MorphableModel.five_points``.

    Raises:
        ValueError: no face has such points, see :func:`models.alignment.crop_transform`.
    """
    turn = np.eye(2)
    if np.isfinite(points).all():
        turn = np.linalg.matrix_power(_QUARTER_TURN, quarter_turns(points))
    upright = crop_transform(points.astype(np.float64) @ turn.T, template)
    return np.column_stack([upright[:, :2] @ turn, upright[:, 2]])


def map_points(transform: Array, points: Array) -> Array:
    """Points (..., K, 2) under affine maps (..., 2, 3)."""
    mapped: Array = points @ transform[..., :2].swapaxes(-1, -2) + transform[..., None, :, 2]
    return mapped


def map_points_back(transform: Array, points: Array) -> Array:
    """Points (..., K, 2) under the inverses of affine maps (..., 2, 3)."""
    back = np.linalg.inv(transform[..., :2]).swapaxes(-1, -2)
    mapped: Array = (points - transform[..., None, :, 2]) @ back
    return mapped


def cut_crop(
    photo_rgb_u8: npt.NDArray[np.uint8], transform: Array, margin: int = 0
) -> npt.NDArray[np.uint8]:
    """Cut a crop out of a photo (H, W, 3), (224 + 2 margin) px wide and high.

    Shrinking averages the pixels it covers; beyond the border the photo's outermost pixels are
    repeated.

    Args:
        photo_rgb_u8: the photo.
        transform: (2, 3), photo px to px of the 224 crop.
        margin: px around the 224 crop.
    """
    zoom = float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
    finer = max(1, int(np.ceil(1 / zoom)))
    matrix = np.array(transform, np.float64)
    matrix[:, 2] += margin
    matrix *= finer
    # OpenCV's pixel centres lie at integers.
    matrix[:, 2] += PIXEL_CENTRE * matrix[:, :2].sum(1) - PIXEL_CENTRE
    side = CROP_SIZE + 2 * margin
    crop = cv2.warpAffine(
        photo_rgb_u8,
        matrix,
        (finer * side, finer * side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if finer > 1:
        crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, np.uint8)
