"""Results that are kept for arrays which nobody can write to."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

from numpy.typing import NDArray

Result = TypeVar("Result")

_KEPT = 16
"""Results of one function, and arrays that it holds on to: a face model has a few."""


class _Identity:
    """An array as a key: equal to itself alone."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.array is other.array


def once_if_frozen(
    make: Callable[[NDArray[Any]], Result],
) -> Callable[[NDArray[Any]], Result]:
    """Keep what `make` says of an array that is read-only, such as a face model's.

    What is kept is found by the array itself, not by its values: to compare those would take as
    long as to look at them again.  Of other arrays nothing is kept.
    """
    kept = lru_cache(maxsize=_KEPT)(lambda key: make(key.array))

    @wraps(make)
    def once(array: NDArray[Any]) -> Result:
        return make(array) if array.flags.writeable else kept(_Identity(array))

    return once
