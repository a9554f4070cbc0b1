"""What is kept for read-only arrays, and that nothing is kept for others."""

from __future__ import annotations

import numpy as np

from facewright.models.frozen import once_if_frozen


def test_a_frozen_array_is_looked_at_once() -> None:
    seen: list[np.ndarray] = []

    @once_if_frozen
    def total(array: np.ndarray) -> float:
        seen.append(array)
        return float(array.sum())

    frozen = np.arange(4.0)
    frozen.setflags(write=False)
    assert [total(frozen), total(frozen)] == [6.0, 6.0]
    assert len(seen) == 1
    other = np.arange(4.0)  # equal, but another array
    other.setflags(write=False)
    assert total(other) == 6.0
    assert len(seen) == 2


def test_an_array_that_can_change_is_looked_at_each_time() -> None:
    total = once_if_frozen(lambda array: float(array.sum()))
    array = np.arange(4.0)
    assert total(array) == 6.0
    array[0] = 10.0
    assert total(array) == 16.0
