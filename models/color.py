"""Transfer curve of sRGB (IEC 61966-2-1) on arrays."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)


def linear_from_srgb(values: NDArray[Float]) -> NDArray[Float]:
    """Decode display-referred sRGB (any shape, clipped to [0, 1]) to linear light."""
    values = np.clip(values, 0.0, 1.0)
    high = ((values + 0.055) / 1.055) ** 2.4
    return np.where(values <= 0.04045, values / 12.92, high).astype(values.dtype)


def srgb_from_linear(values: NDArray[Float]) -> NDArray[Float]:
    """Encode linear light (any shape, clipped to [0, 1]) as display-referred sRGB."""
    values = np.clip(values, 0.0, 1.0)
    high = 1.055 * values ** (1 / 2.4) - 0.055
    return np.where(values <= 0.0031308, values * 12.92, high).astype(values.dtype)
