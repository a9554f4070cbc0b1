"""Sets of photos of one person: which ones a step trains on follows from seed and step alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Apart in the seeds, so that the two kinds of pictures and the measurements are independent.
PORTRAITS, PHOTOS = 0, 1
MEASURED = 2
AT_MOST_BAD = 2  # photos of a set

Indices = npt.NDArray[np.int64]


class Sets(NamedTuple):
    """B sets of up to K photos."""

    rows: Indices  # (B, K) of the pictures
    copies: Indices  # (B, K), 0 for the picture as it is, else a degraded copy
    present: npt.NDArray[np.bool_]  # (B, K): smaller sets are filled up with what does not count


class People:
    """The people of some pictures of whom there are at least two.

    Args:
        person: (N,) number of the person on each picture.
        held_out: share of the people that are set aside.
        seed: of this choice.

    Attributes:
        training, held_out: rows of each person, by group.

    Raises:
        ValueError: a group is empty.
    """

    def __init__(self, person: npt.NDArray[np.int64], held_out: float, seed: int) -> None:
        numbers, counts = np.unique(person, return_counts=True)
        numbers = np.random.default_rng(seed).permutation(numbers[counts > 1])
        aside = round(held_out * len(numbers))
        if not 0 < aside < len(numbers):
            raise ValueError(f"{len(numbers)} people with two pictures or more are too few")
        self.held_out, self.training = (
            [np.flatnonzero(person == number) for number in group]
            for group in (numbers[:aside], numbers[aside:])
        )


def draw_sets(
    people: list[Indices],
    count: int,
    size: int,
    *,
    degraded: float,
    copies: int,
    rng: np.random.Generator,
) -> Sets:
    """Sets of different people, with one or two degraded photos in some.

    Args:
        people: rows of each person.
        count: of the sets; people come again only when there are fewer.
        size: photos of a set, or all that a person has.
        degraded: share of the sets with degraded photos; at least one photo stays as it is.
        copies: degraded ones of every picture.
        rng: decides everything.
    """
    rows = np.zeros((count, size), np.int64)
    which = np.zeros_like(rows)
    present = np.zeros(rows.shape, np.bool_)
    chosen = rng.choice(len(people), count, replace=count > len(people))
    for b, k in enumerate(chosen):
        own = rng.permutation(people[k])[:size]
        rows[b, : len(own)], present[b, : len(own)] = own, True
        rows[b, len(own) :] = own[0]
        if rng.random() < degraded:
            bad = min(int(rng.integers(1, AT_MOST_BAD + 1)), len(own) - 1)
            which[b, rng.choice(len(own), bad, replace=False)] = rng.integers(1, copies + 1, bad)
    return Sets(rows, which, present)
