from __future__ import annotations

import numpy as np
import pytest

from facewright.training.appearance.regions import FaceRegions
from facewright.training.synthetic.creases import ExpressionCreases


@pytest.fixture(scope="module")
def creases(head) -> ExpressionCreases:
    return ExpressionCreases(FaceRegions(head.surface), head.units)


def test_a_smile_deepens_its_folds(creases, head):
    smile = head.units["mouthSmileLeft"]
    assert creases.activation("nasolabial", smile) == pytest.approx(1.0, abs=1e-4)
    assert creases.activation("nasolabial", 0 * smile) == 0.0
    calm = creases.shade(np.random.default_rng(0), 0 * smile, age=1.0)
    assert (calm == 1).all()
    smiling = creases.shade(np.random.default_rng(0), smile, age=1.0)
    fold = FaceRegions(head.surface).nasolabial_fold > 0.5
    assert smiling[fold].mean() < 0.9
    assert 0 < smiling.min() <= smiling.max() <= 1


def test_unknown_blendshapes_make_no_fold(creases, head):
    # The toy head has no brow blendshapes.
    assert creases.activation("forehead", np.ones(64, np.float32)) == 0.0
