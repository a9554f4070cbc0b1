"""Encode pictures as JPEG or PNG files, which say that their colors are sRGB."""

from __future__ import annotations

import struct
import zlib
from functools import cache

import cv2
from PIL import ImageCms

from facewright.models.arrays import ByteArray
from facewright.service.formats.media_types import PNG

_JPEG_QUALITY = 90
_PNG_HEADER_BYTES = 8 + 25
"""Signature and IHDR, which the other chunks follow."""
_JPEG_START_BYTES = 2
_PROFILE_DATE = slice(24, 36)


def encode_picture(rgb_u8: ByteArray, media_type: str, *, tagged: bool = True) -> bytes:
    """An sRGB picture (H, W, 3) as a JPEG or PNG file.

    tagged: name the color space in the file; not for files inside others that have a rule.
    """
    bgr = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2BGR)
    if media_type == PNG:
        # Level 1: photographs hardly shrink further, and it is four times as quick.
        done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        head, tag = _PNG_HEADER_BYTES, _png_tag()
    else:
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        head, tag = _JPEG_START_BYTES, _jpeg_tag()
    if not done:
        raise RuntimeError(f"cannot encode a picture of shape {rgb_u8.shape}")
    if not tagged:
        return data.tobytes()
    return b"".join([data[:head].tobytes(), tag, data[head:].tobytes()])


@cache
def _png_tag() -> bytes:
    """The chunk `sRGB` (ISO/IEC 15948, 11.3.3.5) with the perceptual intent."""
    body = b"sRGB\0"
    return struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body))


@cache
def _jpeg_tag() -> bytes:
    """A segment with an sRGB profile (ICC.1, B.4): JPEG itself has no names for color spaces."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # A fixed time, so that the same photo gives the same bytes.
    profile[_PROFILE_DATE] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    body = b"ICC_PROFILE\0\1\1" + bytes(profile)
    return b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body
