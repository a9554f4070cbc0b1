"""Encode pictures as JPEG or PNG files."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from facewright.service.formats.media_types import PNG

_JPEG_QUALITY = 90


def encode_picture(rgb_u8: npt.NDArray[np.uint8], media_type: str) -> bytes:
    """A picture (H, W, 3) as a JPEG or PNG file."""
    bgr = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2BGR)
    if media_type == PNG:
        # Level 1: photographs hardly shrink further, and it is four times as quick.
        done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    else:
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise RuntimeError(f"cannot encode a picture of shape {rgb_u8.shape}")
    return data.tobytes()
