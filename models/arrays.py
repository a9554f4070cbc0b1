"""Types of arrays, named once; shapes stand in docstrings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]
IntArray = NDArray[np.int32]
IndexArray = NDArray[np.intp]
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


def float32(values: ArrayLike) -> FloatArray:
    """Values as an array of float32."""
    return np.asarray(values, np.float32)
