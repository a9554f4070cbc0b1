"""Noise that is long in one direction: single hairs of a scalp, fibers of an iris."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facewright.models.arrays import Array, FloatArray

# Hair grows out of the crown, which lies in this direction from the middle of the scalp, and
# turns about it by this many radians on its way down.
_CROWN, _WHORL = np.array([0.0, 0.8, -0.6]), 0.6


def fibers(around: Array, along: Array, octaves: Sequence[tuple[int, float]]) -> FloatArray:
    """(n,) noise of unit variance that is long in one direction, the same every time.

    around: (n,) radians. along: (n,).
    octaves: how many fibers there are around, and how long they are.
    """
    rng = np.random.default_rng(23)
    result = np.zeros(len(around), np.float32)
    for count, length in octaves:
        noise = rng.standard_normal((64, count)).astype(np.float32)
        across = (around / (2 * np.pi) % 1 * count).astype(np.float32)
        down = (along / length % 64).astype(np.float32)
        # More than 32767 values in one row are too many for OpenCV.
        rows = [
            cv2.remap(noise, a[None], d[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)[0]
            for a, d in zip(
                np.array_split(across, len(across) // 30000 + 1),
                np.array_split(down, len(down) // 30000 + 1),
                strict=True,
            )
        ]
        values = np.concatenate(rows)
        result += values / values.std()
    return np.asarray(result / result.std(), np.float32)


def hairs(offsets: Array, octaves: Sequence[tuple[int, float]]) -> FloatArray:
    """(n,) noise of unit variance of hairs that grow out of the crown.

    offsets: (n, 3) mm from the middle of the scalp.
    octaves: as of `fibers`; lengths in mm.
    """
    offsets = offsets.astype(np.float64)
    distance = np.linalg.norm(offsets, axis=1)
    down = np.arccos(np.clip(offsets @ _CROWN / distance, -1, 1))
    around = np.arctan2(offsets[:, 0], offsets @ np.cross(_CROWN, [1, 0, 0]))
    return fibers(around + _WHORL * down, down * distance, octaves)
