"""Confidence intervals by resampling people (Efron 1979)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facewright.models.arrays import Array

RESAMPLES = 1000
TAILS = (2.5, 97.5)


class Interval(NamedTuple):
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float

    @staticmethod
    def of(value: float, resampled: Array) -> Interval:
        """The percentile interval of values (R,) of resampled people; NaN where there is none."""
        finite = resampled[np.isfinite(resampled)]
        if not len(finite):
            return Interval(float(value), float("nan"), float("nan"))
        low, high = np.percentile(finite, TAILS)
        return Interval(float(value), float(low), float(high))


def resampled_people(people: int, seed: int) -> Array:
    """How often each of the people is drawn: (1 + R, people); the first row is everyone once."""
    draws = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), RESAMPLES)
    return np.concatenate([np.ones((1, people)), draws])


def weighted_means(values: Array, weights: Array) -> Array:
    """Mean (R,) of values (P,) under weights (R, P)."""
    mean: Array = weights @ values / weights.sum(1)
    return mean


def weighted_auc(likeness: Array, weights: Array) -> Array:
    """Probability (R,) that a person is more alike to itself than two different people are.

    Args:
        likeness: (P, P) of first halves (rows) and second halves (columns) of people's photos.
        weights: (R, P), how often each person counts.

    Returns:
        (R,), ties counting half; NaN where all weight is on one person.
    """
    own = np.diag(likeness)
    first, second = np.nonzero(~np.eye(len(own), dtype=bool))
    order = np.argsort(likeness[first, second])
    first, second = first[order], second[order]
    ordered = likeness[first, second]
    below, upto = (np.searchsorted(ordered, own, side) for side in ("left", "right"))
    values = np.empty(len(weights))
    for r, w in enumerate(weights):
        cumulated = np.concatenate([[0.0], np.cumsum(w[first] * w[second])])
        total = cumulated[-1] * w.sum()
        won = (cumulated[below] + cumulated[upto]) / 2
        values[r] = w @ won / total if total else np.nan
    return values
