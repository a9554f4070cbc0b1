from __future__ import annotations

import numpy as np
import pytest

from facewright.training.synthetic.creases import PIXELS_PER_MM, TOP_MM, FoldRelief


@pytest.fixture(scope="module")
def folds(head) -> FoldRelief:
    return FoldRelief(head.surface, head.units)


def test_a_smile_deepens_its_folds_on_its_side(folds, head):
    left = head.units["mouthSmileLeft"]
    on_left, on_right = folds.activation("nasolabial", left)
    assert on_left == pytest.approx(1.0, abs=1e-4)
    assert on_right < 0.6
    calm = folds.relief(3, 0 * left, age=0.0)
    assert (calm == 0).all()
    smiling = folds.relief(3, left, age=0.3)[..., 2]
    middle = smiling.shape[1] // 2
    assert smiling[:, middle:].max() > 0.3
    assert smiling[:, middle:].sum() > 2 * smiling[:, :middle].sum()


def test_age_makes_folds_that_stay(folds, head):
    rest = 0 * head.units["mouthSmileLeft"]
    first, again = folds.relief(5, rest, age=0.9), folds.relief(5, rest, age=0.9)
    assert np.array_equal(first, again)
    assert 0.2 < first[..., 2].max() < 2
    assert not np.array_equal(first, folds.relief(6, rest, age=0.9))


def test_slopes_are_the_heights_differences(folds, head):
    relief = folds.relief(5, head.units["mouthSmileLeft"], age=0.0)
    height = -relief[..., 2]
    inner = (slice(2, -2), slice(2, -2))
    right = np.gradient(height, 1 / PIXELS_PER_MM, axis=1)[inner]
    up = -np.gradient(height, 1 / PIXELS_PER_MM, axis=0)[inner]
    assert np.corrcoef(relief[..., 0][inner].ravel(), right.ravel())[0, 1] > 0.97
    assert np.corrcoef(relief[..., 1][inner].ravel(), up.ravel())[0, 1] > 0.97
    assert relief[..., 1].std() == pytest.approx(up.std(), rel=0.2)


def test_unknown_blendshapes_make_no_fold(folds):
    # The toy head has no brow blendshapes.
    assert folds.activation("forehead", np.ones(64, np.float32)) == (0.0, 0.0)
    assert TOP_MM > 60
