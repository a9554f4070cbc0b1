"""Transfer curve of sRGB (IEC 61966-2-1) on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def linear_from_srgb(values: FloatArray) -> FloatArray:
    """Decode display-referred sRGB in [0, 1] (any shape) to linear light."""
    values = np.clip(values, 0.0, 1.0).astype(np.float32)
    low = values / np.float32(12.92)
    high = ((values + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(values <= 0.04045, low, high).astype(np.float32)


def srgb_from_linear(values: FloatArray) -> FloatArray:
    """Encode linear light (any shape, clipped to [0, 1]) as display-referred sRGB."""
    values = np.clip(values, 0.0, 1.0).astype(np.float32)
    low = values * np.float32(12.92)
    high = np.float32(1.055) * values ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(values <= 0.0031308, low, high).astype(np.float32)
