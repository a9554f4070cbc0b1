from __future__ import annotations

import numpy as np
import pytest

from facewright.training.identity_branch.heads import distance, fit_heads, joining_weights

FORM = np.diag(1 / np.arange(1.0, 81))


def people(count: int, curved: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (count, 12), offset and of different spread, and identities that follow."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 12))
    values = np.abs(x) - 0.8 if curved else x
    identity = values @ np.random.default_rng(9).normal(0, 0.3, (12, 80))
    identity += rng.normal(0, 0.05, identity.shape)
    features = 3 + x * np.geomspace(0.01, 10, 12)
    return features.astype(np.float32), identity


@pytest.mark.parametrize("curved", [False, True])
def test_the_head_that_fits_wins(curved: bool) -> None:
    features, identity = people(1500, curved)
    choosing = np.arange(1500) >= 1200
    heads = list(fit_heads(features, identity, choosing, FORM, 64, 1))
    assert [head.name.split()[0] for head in heads] == ["linear,", "64"]
    linear, network = heads
    unseen, true = people(300, curved, seed=5)
    nothing = distance(true, FORM)
    errors = {head.name: distance(head.predict(unseen) - true, FORM) for head in heads}
    for head in heads:
        assert errors[head.name] == pytest.approx(head.error, rel=0.2)
    if curved:
        assert errors[network.name] < 0.7 * errors[linear.name]
    else:
        assert errors[linear.name] < 0.2 * nothing


def test_no_hidden_layer_means_a_linear_head_alone() -> None:
    features, identity = people(60, False)
    (head,) = fit_heads(features, identity, np.arange(60) >= 50, FORM, 0, 1)
    assert len(head.layers) == 1


def test_distance_is_the_forms() -> None:
    difference = np.random.default_rng(0).normal(size=(7, 80))
    square = sum(float(row @ FORM @ row) for row in difference) / 7
    assert distance(difference, FORM) == pytest.approx(square**0.5)


def test_weights_of_two_independent_estimates_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(size=(20000, 80))
    noise = np.linspace(0.3, 2, 80)
    one, other = true + noise * rng.normal(size=true.shape), true + rng.normal(size=true.shape)
    first, second = joining_weights(one, other, true)
    # Of two unbiased estimates with noise a and b of something of variance 1.
    expected = (1 / noise**2) / (1 + 1 / noise**2 + 1)
    np.testing.assert_allclose(first, expected, atol=0.03)
    np.testing.assert_allclose(second, 1 / (1 + 1 / noise**2 + 1), atol=0.03)
    joined = first * one + second * other
    error = ((joined - true) ** 2).mean(0)
    assert (error < np.minimum(((one - true) ** 2).mean(0), ((other - true) ** 2).mean(0))).all()


def test_few_portraits_leave_the_inverse_variances() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=(3, 80))
    first, second = joining_weights(true + 0.1, true + 0.2, true)
    np.testing.assert_allclose(first + second, 1, atol=0.1)
    np.testing.assert_allclose(first, 0.8, atol=0.1)
