"""Cutting a square out of a photo along an affine map, without aliasing."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from facewright.models.jit import kernel

# Pixels around the square's footprint that bilinear interpolation may touch.
_MARGIN = 2


Sample = TypeVar("Sample", np.uint8, np.float32)


def cut_square(
    rgb: npt.NDArray[Sample], transform: npt.NDArray[np.float64], side: int
) -> npt.NDArray[Sample]:
    """Resample a photo (H, W, 3) into a square (side, side, 3) of the same type.

    `transform` (2, 3) maps photo pixels to pixels of the square, both continuous (pixel
    centers at halves).  It scales both axes alike and may turn or mirror.  A shrinking map
    averages over the area that every new pixel covers; an enlarging one interpolates
    linearly.  Beyond the border the photo's outermost pixels are repeated: the network has
    never seen hard black edges next to a face.
    """
    height, width = rgb.shape[:2]
    (a, b, c), (d, e, f) = transform.tolist()
    scale = math.hypot(a, d)

    # Work on the footprint of the square only: a face is a small part of a large photo.
    # The inverse is the transpose over the squared scale.
    center_x, center_y = side / 2 - c, side / 2 - f
    middle_x = (a * center_x + d * center_y) / scale**2
    middle_y = (b * center_x + e * center_y) / scale**2
    reach = side / 2 * (abs(a) + abs(d)) / scale**2 + _MARGIN * max(1.0, 1.0 / scale)
    left, right = _clip_range(middle_x - reach, middle_x + reach, width)
    top, bottom = _clip_range(middle_y - reach, middle_y + reach, height)
    region: npt.NDArray[Any]
    region, shrunk = halve(rgb[top:bottom, left:right], 1 / scale)

    across = down = float(shrunk)  # photo pixels in one of the region
    if scale * shrunk < 1:
        region_height, region_width = region.shape[:2]
        small_width = max(1, round(region_width * scale * shrunk))
        small_height = max(1, round(region_height * scale * shrunk))
        across *= region_width / small_width
        down *= region_height / small_height
        region = shrink(region, small_height, small_width)

    # OpenCV counts from pixel centers: p_cv = p - 0.5 on both sides.
    x, y = left + across / 2, top + down / 2
    to_square = np.array(
        [
            [a * across, b * down, a * x + b * y + c - 0.5],
            [d * across, e * down, d * x + e * y + f - 0.5],
        ]
    )
    square = cv2.warpAffine(
        region,
        to_square,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return square.astype(rgb.dtype, copy=False)


def halve(rgb: npt.NDArray[Sample], shrink: float) -> tuple[npt.NDArray[Sample], int]:
    """Halve an image (H, W, 3) as often as it is to be made smaller, by `shrink` at least.

    Returns the image and the power of two <= `shrink` by which it is smaller now.  Averaging
    2 x 2 pixels is ten times as quick as averaging areas that do not end with a pixel, which is
    left to do for a factor below 2 then.  An odd last row or column is dropped.
    """
    smaller: npt.NDArray[Any] = rgb
    shrunk = 1
    while 2 * shrunk <= shrink and min(smaller.shape[:2]) >= 2:
        height, width = smaller.shape[0] // 2, smaller.shape[1] // 2
        if smaller.dtype == np.uint8:
            smaller = _halved(smaller, height, width)
        else:
            even = smaller[: 2 * height, : 2 * width]
            smaller = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
        shrunk *= 2
    return smaller, shrunk


def _halved(rgb_u8: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """What OpenCV's INTER_AREA makes of the first (2 height, 2 width) pixels, in half its time."""
    if rgb_u8.strides[1:] != (3, 1) or rgb_u8.strides[0] < 0:
        rgb_u8 = np.ascontiguousarray(rgb_u8)
    # A part of a photo as the bytes from its first to its last: rows stay where they are, and the
    # kernel knows that neighbors lie side by side.
    pitch = rgb_u8.strides[0]
    length = (2 * height - 1) * pitch + 6 * width
    octets = np.lib.stride_tricks.as_strided(rgb_u8, (length,), (1,), writeable=False)
    small = np.empty((height, 3 * width), np.uint8)
    _halve(octets, pitch, small)
    return small.reshape(height, width, 3)


@kernel
def _halve(octets: npt.NDArray[np.uint8], pitch: int, small: npt.NDArray[np.uint8]) -> None:
    """Fill `small` (h, 3 w) with means of 2 x 2 pixels, of rows that begin every `pitch` bytes."""
    height, width = small.shape[0], small.shape[1] // 3
    pairs = np.empty(6 * width, np.uint16)
    for row in range(height):
        upper, lower, line = octets[2 * row * pitch :], octets[(2 * row + 1) * pitch :], small[row]
        for i in range(6 * width):
            pairs[i] = np.uint16(upper[i]) + np.uint16(lower[i])
        for x in range(width):
            line[3 * x] = (pairs[6 * x] + pairs[6 * x + 3] + np.uint16(2)) >> 2
            line[3 * x + 1] = (pairs[6 * x + 1] + pairs[6 * x + 4] + np.uint16(2)) >> 2
            line[3 * x + 2] = (pairs[6 * x + 2] + pairs[6 * x + 5] + np.uint16(2)) >> 2


def warm_up() -> None:
    """Compile, or load from the cache, what cutting a square out of a photo needs."""
    photo = np.zeros((4, 4, 3), np.uint8)
    halve(photo, 2)
    shrink(photo, 3, 3)


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


def shrink(rgb: npt.NDArray[Sample], height: int, width: int) -> npt.NDArray[Sample]:
    """Shrink an image (H, W, 3) to (height, width, 3) by averaging over the area.

    Like OpenCV's INTER_AREA, up to the order of additions, in about half of its time.
    """
    rows = np.ascontiguousarray(rgb).reshape(len(rgb), -1)
    rows.setflags(write=False)  # photos may be frozen or not: one form, one compilation
    small = np.empty((height, 3 * width), rgb.dtype)
    _average(rows, small, rgb.dtype == np.uint8)
    return small.reshape(height, width, 3)


@kernel
def _average(rows: npt.NDArray[Sample], small: npt.NDArray[Sample], whole: bool) -> None:
    """Average rows (H, 3 W) of three samples per pixel over the area of each pixel of `small`.

    `whole` rounds to whole numbers.  Down first, which the processor does for eight samples at
    a time; then across.
    """
    height, width = rows.shape[0], rows.shape[1] // 3
    small_height, small_width = small.shape[0], small.shape[1] // 3
    across, down = width / small_width, height / small_height
    first = np.empty(small_width, np.int64)
    taps = np.empty(small_width, np.int64)
    weights = np.empty((small_width, int(across) + 2), np.float32)
    for column in range(small_width):
        left, right = column * across, min((column + 1) * across, float(width))
        first[column] = int(left)
        taps[column] = min(width, math.ceil(right - 1e-9)) - first[column]
        for tap in range(taps[column]):
            pixel = first[column] + tap
            covered = min(right, pixel + 1.0) - max(left, float(pixel))
            weights[column, tap] = covered / across
    line = np.empty(3 * width, np.float32)
    for row in range(small_height):
        top, bottom = row * down, min((row + 1) * down, float(height))
        line[:] = 0.0
        for source in range(int(top), min(height, math.ceil(bottom - 1e-9))):
            weight = np.float32((min(bottom, source + 1.0) - max(top, float(source))) / down)
            samples = rows[source]
            for index in range(3 * width):
                line[index] += weight * samples[index]
        for column in range(small_width):
            red = green = blue = np.float32(0)
            place = 3 * first[column]
            for tap in range(taps[column]):
                share = weights[column, tap]
                red += share * line[place]
                green += share * line[place + 1]
                blue += share * line[place + 2]
                place += 3
            if whole:
                red, green, blue = np.rint(red), np.rint(green), np.rint(blue)
            small[row, 3 * column] = red
            small[row, 3 * column + 1] = green
            small[row, 3 * column + 2] = blue


def _clip_range(low: float, high: float, size: int) -> tuple[int, int]:
    """Whole pixels of a photo that a range touches, one at least."""
    first = min(max(math.floor(low), 0), size - 1)
    return first, min(max(math.ceil(high), first + 1), size)
