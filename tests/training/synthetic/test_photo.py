from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.synthetic.background import draw_background
from training.synthetic.photo import degrade, draw_development

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_development_is_a_picture_that_brightens_with_light(seed: int):
    develop = draw_development(np.random.default_rng(seed), face_light=0.2)
    grey = np.repeat(np.linspace(0, 2, 50, dtype=np.float32)[:, None], 3, axis=1)
    shown = develop(grey).mean(1)
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert (np.diff(shown) >= -1e-6).all()


def test_faces_are_mostly_well_exposed():
    shown = [
        draw_development(np.random.default_rng(s), face_light=light)(
            np.full((1, 3), light, np.float32)
        ).mean()
        for s, light in enumerate(np.geomspace(0.02, 3, 300))
    ]
    assert 0.35 < np.median(shown) < 0.65
    assert np.quantile(shown, 0.02) > 0.15
    assert np.quantile(shown, 0.98) < 0.9


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_degraded_photo_is_repeatable_and_still_the_picture(seed: int):
    y, x = np.mgrid[:64, :64] / 64
    image = np.stack([x, y, (x + y) / 2], -1).astype(np.float32)
    first, second = (degrade(np.random.default_rng(seed), image.copy()) for _ in range(2))
    assert first.dtype == np.uint8
    assert first.shape == image.shape
    assert np.array_equal(first, second)
    assert np.corrcoef(first.mean(2).ravel(), image.mean(2).ravel())[0, 1] > 0.75


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_background_is_linear_light(seed: int):
    image = draw_background(np.random.default_rng(seed), 48)
    assert image.shape == (48, 48, 3)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert image.max() <= 1


def test_backgrounds_differ():
    means = [draw_background(np.random.default_rng(s), 32).mean() for s in range(30)]
    assert np.std(means) == pytest.approx(0.1, abs=0.08)
