from __future__ import annotations

import numpy as np
import pytest

from facewright.training.data.degradation import KINDS, degrade, degrade_badly


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 130, (28, 28, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def difference(a, b):
    return np.abs(a.astype(float) - b).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_strength_is_what_it_says(picture, kind):
    before = picture.copy()
    steps = [degrade(picture, kind, s, np.random.default_rng(1)) for s in (0, 0.3, 0.6, 1.0)]
    assert np.array_equal(picture, before)
    assert all(step.shape == picture.shape and step.dtype == np.uint8 for step in steps)
    away = [difference(step, picture) for step in steps]
    assert away[0] == 0
    assert away[1] < away[2] < away[3]
    again = degrade(picture, kind, 0.6, np.random.default_rng(1))
    assert np.array_equal(again, steps[2])
    with pytest.raises(ValueError, match="strength"):
        degrade(picture, kind, 1.5, np.random.default_rng(1))


def test_the_face_is_covered_by_its_share(picture):
    y, x = np.mgrid[:224, :224]
    face = ((x - 112) / (0.34 * 224)) ** 2 + ((y - 112) / (0.42 * 224)) ** 2 < 1
    for strength in (0.4, 1.0):
        shares = []
        for seed in range(20):
            out = degrade(picture, "occlusion", strength, np.random.default_rng(seed))
            shares.append((out != picture).any(2)[face].mean())
        assert np.mean(shares) == pytest.approx(0.85 * strength, abs=0.12)


def test_bad_copies_are_bad_and_differ(picture):
    copies = [degrade_badly(picture, np.random.default_rng(seed)) for seed in range(30)]
    assert min(difference(copy, picture) for copy in copies) > 3
    assert len({copy.tobytes() for copy in copies}) == 30
    again = degrade_badly(picture, np.random.default_rng(4))
    assert np.array_equal(again, copies[4])
