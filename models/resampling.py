"""Cutting a square out of a photo along an affine map, without aliasing."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

# Pixels around the square's footprint that bilinear interpolation may touch.
_MARGIN = 2


Sample = TypeVar("Sample", np.uint8, np.float32)


def cut_square(
    rgb: npt.NDArray[Sample], transform: npt.NDArray[np.float64], side: int
) -> npt.NDArray[Sample]:
    """Resample a photo (H, W, 3) into a square (side, side, 3) of the same type.

    `transform` (2, 3) maps photo pixels to pixels of the square, both continuous (pixel
    centres at halves).  It scales both axes alike and may turn or mirror.  A shrinking map
    averages over the area that every new pixel covers; an enlarging one interpolates
    linearly.  Beyond the border the photo's outermost pixels are repeated: the network has
    never seen hard black edges next to a face.
    """
    height, width = rgb.shape[:2]
    linear, shift = transform[:, :2], transform[:, 2]
    scale = math.sqrt(abs(float(np.linalg.det(linear))))

    # Work on the footprint of the square only: a face is a small part of a large photo.
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]], dtype=np.float64)
    footprint = np.linalg.solve(linear, (corners - shift).T).T
    margin = _MARGIN * max(1.0, 1.0 / scale)
    x0, y0 = np.floor(footprint.min(axis=0) - margin)
    x1, y1 = np.ceil(footprint.max(axis=0) + margin)
    left, right = _clip_range(x0, x1, width)
    top, bottom = _clip_range(y0, y1, height)
    region: npt.NDArray[Any] = rgb[top:bottom, left:right]

    to_region = np.eye(2)
    if scale < 1:
        small_width = max(1, round((right - left) * scale))
        small_height = max(1, round((bottom - top) * scale))
        to_region = np.diag([(right - left) / small_width, (bottom - top) / small_height])
        region = cv2.resize(region, (small_width, small_height), interpolation=cv2.INTER_AREA)

    region_linear = linear @ to_region
    region_shift = linear @ np.array([left, top], dtype=np.float64) + shift
    # OpenCV counts from pixel centres: p_cv = p - 0.5 on both sides.
    centred_shift = region_shift + region_linear @ np.array([0.5, 0.5]) - 0.5
    square = cv2.warpAffine(
        region,
        np.column_stack([region_linear, centred_shift]),
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return square.astype(rgb.dtype, copy=False)


def area_weights(source: int, target: int) -> npt.NDArray[np.float32]:
    """Matrix (target, source) that shrinks a row of pixels by averaging over the area.

    Both sides of an image are shrunk by ``W @ image @ W.T``, which is what OpenCV's INTER_AREA
    does; every row sums to 1.

    Raises:
        ValueError: the target is larger than the source, or not positive.
    """
    if not 0 < target <= source:
        raise ValueError(f"cannot shrink {source} pixels to {target}")
    # Counted in pixels of 1 / (source target) of the image, so that every edge is an integer.
    low = np.arange(target)[:, None] * source
    first = np.arange(source)[None] * target
    covered = np.minimum(low + source, first + target) - np.maximum(low, first)
    return (covered.clip(min=0) / source).astype(np.float32)


def _clip_range(low: float, high: float, size: int) -> tuple[int, int]:
    """Clip a range of pixels to a photo, keeping at least one pixel."""
    first = int(np.clip(low, 0, size - 1))
    return first, int(np.clip(high, first + 1, size))
