from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.training.synthetic.background import cut_backdrop, draw_background
from facewright.training.synthetic.photo import degrade, draw_border, draw_development

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_development_is_a_picture_that_brightens_with_light(seed: int):
    develop = draw_development(np.random.default_rng(seed), incident=0.2)
    gray = np.repeat(np.linspace(0, 2, 50, dtype=np.float32)[:, None], 3, axis=1)
    shown = develop(gray).mean(1)
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert (np.diff(shown) >= -1e-6).all()


def test_light_on_the_face_is_mostly_well_exposed():
    """A gray card in the face's light, in light of all strengths."""
    shown = [
        draw_development(np.random.default_rng(s), incident=light)(
            np.full((1, 3), 0.3 * light, np.float32)
        ).mean()
        for s, light in enumerate(np.geomspace(0.05, 3, 300))
    ]
    assert 0.4 < np.median(shown) < 0.65
    assert np.quantile(shown, 0.15) > 0.3
    assert np.quantile(shown, 0.9) < 0.8
    # Some are much too dark or too bright.
    assert np.quantile(shown, 0.02) < 0.35
    assert np.quantile(shown, 0.99) > 0.7


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


def test_border_covers_what_it_says_and_keeps_the_middle():
    framed = 0
    for seed in range(150):
        image = np.full((64, 64, 3), 0.5, np.float32)
        cover = draw_border(np.random.default_rng(seed), image, turned=10.0)
        if cover is None:
            assert (image == 0.5).all()
            continue
        framed += 1
        assert 0 <= cover.min() <= cover.max() <= 1
        assert (image[cover == 0] == 0.5).all()
        assert np.ptp(image[cover == 1]) == 0 if (cover == 1).any() else True
        assert cover[24:40, 24:40].max() == 0
    assert 10 < framed < 50


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
    assert 0.05 < np.std(means) < 0.35


def test_backdrops_are_cut_to_size():
    whole = [np.random.default_rng(k).random((40, 40, 3), np.float32) for k in range(2)]
    cut = cut_backdrop(np.random.default_rng(0), whole, 64)
    assert cut.shape == (64, 64, 3)
    assert 0 <= cut.min() <= cut.max() <= 1
