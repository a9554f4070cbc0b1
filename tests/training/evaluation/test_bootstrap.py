from __future__ import annotations

import numpy as np
import pytest

from facewright.training.evaluation.bootstrap import (
    RESAMPLES,
    Interval,
    resampled_people,
    weighted_auc,
    weighted_means,
)
from facewright.training.evaluation.measures import area_under_curve


def test_everyone_comes_first_then_resamples():
    weights = resampled_people(7, seed=1)
    assert weights.shape == (1 + RESAMPLES, 7)
    assert (weights[0] == 1).all()
    assert (weights.sum(1) == 7).all()
    assert weights[1:].std() > 0.5
    assert np.array_equal(weights, resampled_people(7, seed=1))


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(3, 2, 400)
    means = weighted_means(values, resampled_people(400, 0))
    interval = Interval.of(means[0], means[1:])
    assert interval.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.04)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.04)


def test_the_area_is_that_of_all_pairs_and_of_repeated_people():
    rng = np.random.default_rng(0)
    likeness = rng.integers(0, 6, (9, 9)) + 2 * np.eye(9)  # with ties
    off = ~np.eye(9, dtype=bool)
    expected = area_under_curve(np.diag(likeness), likeness[off])
    drawn = rng.integers(0, 9, 9)
    weights = np.stack([np.ones(9), np.bincount(drawn, minlength=9), np.eye(9)[2] * 9])
    areas = weighted_auc(likeness, weights)
    assert areas[0] == pytest.approx(expected)
    # A person who is drawn twice is no stranger to itself.
    first, second = np.meshgrid(drawn, drawn, indexing="ij")
    negative = likeness[first, second][first != second]
    assert areas[1] == pytest.approx(area_under_curve(likeness[drawn, drawn], negative))
    assert np.isnan(areas[2])
