from __future__ import annotations

import numpy as np
import pytest

from facewright.models.segmentation import HAIR, OCCLUDER, OTHER, SKIN
from facewright.training.synthetic.generate import PortraitGenerator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def portraits(head):
    return list(PortraitGenerator(head, classes=True).portraits(3, range(24)))


def test_classes_change_nothing_else(generator, portraits) -> None:
    for plain, one in zip(generator.portraits(3, range(4)), portraits, strict=False):
        assert plain.classes is None
        assert np.array_equal(plain.image, one.image)
        assert np.array_equal(plain.attention, one.attention)


def test_bare_skin_is_skin(portraits) -> None:
    for one in portraits:
        bare = one.classes[one.attention > 200]
        assert (bare == SKIN).mean() > 0.98
    shown = np.stack([one.classes for one in portraits])
    assert {OTHER, SKIN, HAIR, OCCLUDER} == set(np.unique(shown).tolist())
    # Eyes, mouths and beards are skin as well, and so are ears and necks.
    attention = np.stack([one.attention for one in portraits])
    assert (shown == SKIN).sum() > 1.05 * (attention > 128).sum()
    assert (shown[:, :8, :8] != SKIN).mean() > 0.95
