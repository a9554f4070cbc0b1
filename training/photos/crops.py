"""From a photo file to the crop that R-Net sees, the same as the service cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from facewright.models.arrays import Array
from facewright.models.camera import CROP_SIZE
from facewright.models.resampling import cut_square

PIXEL_CENTER = 0.5
"""Labels with pixel centers at integers are this much less than continuous coordinates."""


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
    matrix = np.array(transform, np.float64)
    matrix[:, 2] += margin
    return cut_square(photo_rgb_u8, matrix, CROP_SIZE + 2 * margin)
