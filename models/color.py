"""Transfer curve of sRGB (IEC 61966-2-1) on arrays, and its levels."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel

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


def srgb_u8(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The nearest of 256 levels for values (any shape, clipped to [0, 1]), which must be finite."""
    levels = np.empty(values.shape, np.uint8)
    _quantize(np.ascontiguousarray(values, np.float32).reshape(-1), levels.reshape(-1))
    return levels


@kernel
def _quantize(values: NDArray[np.float32], levels: NDArray[np.uint8]) -> None:
    for i in range(len(values)):
        value = min(max(values[i], np.float32(0.0)), np.float32(1.0))
        levels[i] = np.uint8(np.rint(value * np.float32(255.0)))
