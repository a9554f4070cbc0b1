from __future__ import annotations

import numpy as np
import pytest

from facewright.training.synthetic.accessories import (
    GlassesCase,
    GlassesDesign,
    draw_blur_in_front,
    tint_lens,
)

EARS = np.float32([[-75, 30, -80], [75, 30, -80]])


@pytest.fixture(scope="module")
def landmarks(toy_head) -> np.ndarray:
    return toy_head.data.landmark_mean


@pytest.mark.parametrize("dark", [False, True])
def test_lenses_are_in_front_of_the_eyes(landmarks, dark: bool):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        glasses = GlassesDesign.draw(rng, dark).fit(rng, landmarks, EARS)
        assert (glasses.opacity > 0.5) == dark
        for rim, eye in zip(glasses.rims, (slice(36, 42), slice(42, 48)), strict=True):
            low, high = rim.min(0), rim.max(0)
            assert (landmarks[eye, :2] > low[:2]).all()
            assert (landmarks[eye, :2] < high[:2]).all()
            assert low[2] > landmarks[eye, 2].max()
        assert np.allclose(glasses.bars[1:, -1], EARS, atol=1e-4)


def test_who_needs_glasses_mostly_wears_the_same_pair(landmarks):
    cases = [GlassesCase.draw(np.random.default_rng(s), age=0.8) for s in range(60)]
    owners = [c for c in cases if c.clear is not None]
    assert 8 < len(owners) < 40
    rng = np.random.default_rng(0)
    worn = [owners[0].take(rng, landmarks, EARS) for _ in range(60)]
    clear = [w for w in worn if w is not None and w.opacity < 0.5]
    assert 35 < len(clear) < 60
    assert all(np.array_equal(w.rims, clear[0].rims) for w in clear)


def lens_over(landmarks, dark: bool, in_front: float = 0.0):
    rng = np.random.default_rng(3)
    glasses = GlassesDesign.draw(rng, dark).fit(rng, landmarks, EARS)
    image, bare = np.full((60, 60, 3), 0.5, np.float32), np.ones((60, 60), np.float32)
    nearness = np.full((60, 60), 1.0 + in_front, np.float32)
    outline = np.float32([[15, 15, 1.1], [45, 15, 1.1], [45, 45, 1.1], [15, 45, 1.1]])
    tint_lens(rng, image, nearness, bare, outline, glasses, 1.0)
    return image, nearness, bare, glasses


def test_a_dark_lens_hides_and_is_seen(landmarks):
    image, nearness, bare, glasses = lens_over(landmarks, dark=True)
    assert bare[30, 30] == pytest.approx(1 - glasses.opacity - 0.5 * glasses.glare, abs=0.02) or (
        bare[30, 30] == 0
    )
    assert nearness[30, 30] == pytest.approx(1.1)
    assert bare[5, 5] == 1
    assert nearness[5, 5] == 1
    assert (image[5, 5] == 0.5).all()


def test_a_lens_behind_something_changes_nothing(landmarks):
    image, nearness, bare, _ = lens_over(landmarks, dark=True, in_front=0.5)
    assert (image == 0.5).all()
    assert (bare == 1).all()
    assert (nearness == 1.5).all()


def test_a_clear_lens_hides_little(landmarks):
    _, nearness, bare, _ = lens_over(landmarks, dark=False)
    assert bare.min() > 0.5
    assert (nearness == 1).all()


def test_blur_in_front_leaves_the_middle():
    for seed in range(20):
        image = np.full((120, 120, 3), 0.5, np.float32)
        cover = draw_blur_in_front(np.random.default_rng(seed), image, 1.0)
        assert 0 <= cover.min() <= cover.max() <= 1
        assert np.abs(image[cover < 1e-4] - 0.5).max(initial=0) < 1e-3
        assert cover.mean() < 0.5
