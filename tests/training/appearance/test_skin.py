from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, uniform

from facewright.models.color import linear_from_srgb
from facewright.training.appearance.skin import draw_hair_colors
from facewright.training.appearance.surface import EYEBALL
from facewright.training.appearance.tone import DARKEST, LIGHTEST, typology_angle


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_appearance_is_in_range(sampler, seed: int):
    a = sampler.sample(np.random.default_rng(seed))
    n = len(sampler.surface.points)
    assert a.albedo_linear.shape == a.albedo_srgb.shape == (n, 3)
    assert a.albedo_linear.dtype == a.albedo_srgb.dtype == np.float32
    for values in (a.albedo_linear, a.albedo_srgb, a.gloss, a.brows, a.beard, a.hair):
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert values.max() <= 1
    assert 0 <= a.melanin <= 1.15
    assert a.masculine or a.beard.max() == 0


def test_same_seed_same_person(sampler):
    first, second, other = (sampler.sample(np.random.default_rng(s)) for s in (4, 4, 5))
    assert np.array_equal(first.albedo_srgb, second.albedo_srgb)
    assert not np.array_equal(first.albedo_srgb, other.albedo_srgb)


@pytest.fixture(scope="module")
def cheeks(sampler):
    """(N, 3) sRGB of the cheeks of many people, and their melanin."""
    chosen = sampler.regions.cheeks > 0.7
    people = [sampler.sample(np.random.default_rng(s)) for s in range(250)]
    return (
        np.stack([p.albedo_srgb[chosen].mean(0) for p in people]),
        np.array([p.melanin for p in people]),
    )


def test_skin_tones_cover_the_human_range_evenly(cheeks):
    colors, melanin = cheeks
    angles = typology_angle(linear_from_srgb(colors.astype(np.float32)))
    assert kstest(angles, uniform(DARKEST, LIGHTEST - DARKEST).cdf).statistic < 0.12
    assert kstest(melanin, uniform(0, 1.15).cdf).pvalue > 0.001
    # Skin is redder than green, greener than blue.
    assert (colors[:, 0] > colors[:, 1]).all()
    assert (colors[:, 1] > colors[:, 2] - 0.02).all()


def test_melanin_darkens(cheeks):
    colors, melanin = cheeks
    assert np.corrcoef(colors.mean(1), melanin)[0, 1] < -0.95


def test_skin_is_uneven_but_not_speckled(sampler):
    chosen = sampler.regions.cheeks > 0.5
    spread = [
        sampler.sample(np.random.default_rng(s)).albedo_srgb[chosen].std(0).mean()
        for s in range(30)
    ]
    assert 0.003 < np.median(spread) < 0.06


def test_features_stand_out_from_the_skin(sampler):
    r, eyeball = sampler.regions, sampler.surface.parts == EYEBALL
    pupil = eyeball & (sampler.surface.iris_radius < 1.0) & (r.z > 0)
    white = eyeball & (sampler.surface.iris_radius > 8) & (r.z > 0)
    for seed in range(10):
        color = sampler.sample(np.random.default_rng(seed)).albedo_linear
        assert color[pupil].max() < 0.05
        assert color[white].mean() > 0.15


@given(melanin=st.floats(0.43, 1.15), seed=st.integers(0, 10_000))
def test_dark_skin_has_dark_hair_until_it_grays(melanin: float, seed: int):
    hair = draw_hair_colors(np.random.default_rng(seed), melanin, age=0.0)
    assert hair.scalp.max() < 0.2
    assert hair.brows.max() < 0.2


def test_beards_and_hair_are_white_on_many_old_people_and_brows_on_fewer():
    drawn = [draw_hair_colors(np.random.default_rng(s), 0.6, age=0.95) for s in range(200)]
    white = {
        part: np.mean([getattr(hair, part).mean() > 0.2 for hair in drawn])
        for part in ("scalp", "brows", "beard")
    }
    assert 0.4 < white["scalp"] < 0.95
    assert white["brows"] < white["scalp"] <= white["beard"]
    young = [draw_hair_colors(np.random.default_rng(s), 0.6, age=0.0) for s in range(100)]
    assert max(hair.beard.max() for hair in young) < 0.2
