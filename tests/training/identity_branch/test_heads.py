from __future__ import annotations

import numpy as np
import pytest

from facewright.training.identity_branch.heads import distance, fit_head

FORM = np.diag(1 / np.arange(1.0, 81))


def people(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (count, 12), offset and of different spread, and identities that follow."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 12))
    identity = x @ np.random.default_rng(9).normal(0, 0.3, (12, 80)) + 0.7
    identity += rng.normal(0, noise, identity.shape)
    seen = 3 + x * np.geomspace(0.01, 10, 12)
    return seen.astype(np.float32), identity


def test_the_head_finds_what_identities_follow_from() -> None:
    seen, identity = people(400, 0.05)
    head = fit_head(seen, identity, np.arange(400) >= 300, FORM)
    unseen, true = people(300, 0.0, seed=5)
    assert distance(head.predict(unseen) - true, FORM) < 0.05 * distance(true, FORM)
    assert head.error == pytest.approx(distance(np.full((1, 80), 0.05), FORM), rel=0.3)


def test_few_people_and_much_noise_take_a_large_penalty() -> None:
    clear = fit_head(*people(400, 0.05), np.arange(400) >= 300, FORM)
    seen, identity = people(20, 5.0)
    noisy = fit_head(seen, identity, np.arange(20) >= 14, FORM)
    assert noisy.ridge > clear.ridge
    middle = identity[:14].mean(0)
    assert np.abs(noisy.predict(seen) - middle).mean() < np.abs(identity - middle).mean()


def test_the_choosing_people_are_not_fitted_to() -> None:
    seen, identity = people(60, 0.05)
    choosing = np.arange(60) >= 40
    other = identity.copy()
    other[choosing] += 10
    one, shifted = (fit_head(seen, y, choosing, FORM) for y in (identity, other))
    assert shifted.error > 10 * one.error
    if shifted.ridge == one.ridge:
        np.testing.assert_array_equal(one.weight, shifted.weight)


def test_distance_is_the_forms() -> None:
    difference = np.random.default_rng(0).normal(size=(7, 80))
    square = sum(float(row @ FORM @ row) for row in difference) / 7
    assert distance(difference, FORM) == pytest.approx(square**0.5)
