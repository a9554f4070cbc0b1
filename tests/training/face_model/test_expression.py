from __future__ import annotations

import numpy as np

from facewright.training.face_model.expression import other_side, sample_activations

NAMES = (
    "jawOpen",
    "mouthClose",
    "mouthSmileLeft",
    "mouthSmileRight",
    "browInnerUp",
    "mpfb/eye-left-slit",
    "mpfb/eye-right-slit",
)


def test_units_know_their_other_side() -> None:
    assert other_side(NAMES).tolist() == [0, 1, 3, 2, 4, 6, 5]


def test_activations_keep_their_limits() -> None:
    strengths = sample_activations(np.random.default_rng(0), NAMES, 2000)
    assert strengths.min() >= 0
    assert strengths[:, :5].max() <= 1
    assert (strengths > 0).any(axis=0).all()
    # The corrective closes an open jaw and does nothing else.
    close, jaw = strengths[:, 1], strengths[:, 0]
    assert (close <= jaw).all()
    assert 0 < (close > 0).mean() < 0.15
    both = (strengths[:, 2] > 0) & (strengths[:, 3] > 0)
    either = (strengths[:, 2] > 0) | (strengths[:, 3] > 0)
    assert both.sum() > 0.6 * either.sum()


def test_activations_are_reproducible() -> None:
    one, two = (sample_activations(np.random.default_rng(5), NAMES, 50) for _ in range(2))
    np.testing.assert_array_equal(one, two)
