from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import kstest, uniform

from facewright.training.face_model.heads import TRAITS
from facewright.training.synthetic.hair import draw_style
from facewright.training.synthetic.looks import LookSampler
from facewright.training.synthetic.traits import (
    TraitModel,
    Traits,
)


@pytest.fixture(scope="module")
def known():
    """Coefficients that hide the traits of known people in a random linear code, and the table."""
    rng = np.random.default_rng(0)
    table = rng.uniform(0, 1, (600, len(TRAITS)))
    centered = (table - table.mean(0)) / table.std(0)
    code = np.linalg.qr(rng.standard_normal((20, len(TRAITS))))[0]
    samples = centered @ code.T + 0.05 * rng.standard_normal((600, 20))
    return samples.astype(np.float32), table


def test_traits_are_read_from_the_coefficients(known):
    samples, table = known
    model = TraitModel(samples, table)
    found = np.stack([model.expected(s) for s in samples])
    assert ((table - found).std(0) < 0.3 * table.std(0)).all()
    assert np.corrcoef(found[:, 0], table[:, 0])[0, 1] > 0.95
    rng = np.random.default_rng(1)
    drawn = [model.draw(rng, s) for s in samples]
    agree = [d.masculine == (t > 0.5) for d, t in zip(drawn, table[:, 0], strict=True)]
    assert np.mean(agree) > 0.85
    african = table[:, 4] / table[:, 3:6].sum(1)
    assert np.corrcoef([d.melanin for d in drawn], african)[0, 1] > 0.35


def test_tones_are_even_whatever_the_people(known):
    samples, table = known
    model = TraitModel(samples, table)
    rng = np.random.default_rng(2)
    for people in (samples, samples[table[:, 0] > 0.5]):
        tones = [model.draw(rng, s).melanin for s in people]
        assert kstest(tones, uniform(0, 1.15).cdf).statistic < 0.12


def test_looks_agree_with_the_traits(head):
    sampler = LookSampler(head.surface)

    def look(seed: int, **kwargs):
        values = {"male": 1.0, "age": 0.3, "child": 0.0, "melanin": 0.2, "dark_hair": False}
        return sampler.of(np.random.default_rng(seed), Traits(**{**values, **kwargs}))

    men = [look(s) for s in range(40)]
    women = [look(s, male=0.0) for s in range(40)]
    boys = [look(s, child=0.4, age=0.0) for s in range(10)]
    assert any(m.beard_length_mm > 0 for m in men)
    assert all(w.beard_length_mm == 0 for w in [*women, *boys])
    assert any(m.beard_length_mm > 15 for m in (look(s) for s in range(40, 200)))
    dark = np.mean([look(s, melanin=1.0).albedo_linear.mean() for s in range(8)])
    assert dark < 0.5 * np.mean([m.albedo_linear.mean() for m in men])
    old = np.mean([look(s, age=0.95).hair.mean() for s in range(30)])
    assert old > 1.2 * np.mean([look(s, age=0.0).hair.mean() for s in range(30)])
    styles = {
        name: Counter(draw_style(np.random.default_rng(s), p).name for s, p in enumerate(people))
        for name, people in (("men", men), ("women", women))
    }
    assert styles["women"]["long"] + styles["women"]["bob"] > 14
    assert styles["men"]["long"] + styles["men"]["bob"] < 12


def test_same_state_same_look(head):
    sampler, traits = LookSampler(head.surface), Traits(0.9, 0.5, 0.0, 0.4, True)
    first, second = (sampler.of(np.random.default_rng(4), traits) for _ in range(2))
    assert np.array_equal(first.albedo_srgb, second.albedo_srgb)
    assert first.beard_length_mm == second.beard_length_mm
