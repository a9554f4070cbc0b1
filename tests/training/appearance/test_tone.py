from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewright.training.appearance.tone import (
    DARKEST,
    LIGHTEST,
    angle_of,
    draw_skin_color,
    lab_from_linear,
    linear_from_lab,
    melanin_of,
    typology_angle,
)

angles = st.floats(DARKEST, LIGHTEST)


def test_lab_of_known_colors():
    # CIE values of the sRGB primaries and of a gray, D65 (linear light).
    assert lab_from_linear(np.ones(3)) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab_from_linear(np.array([1.0, 0, 0])) == pytest.approx([53.24, 80.09, 67.2], abs=0.05)
    assert lab_from_linear(np.full(3, 0.18))[0] == pytest.approx(49.5, abs=0.05)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_lab_and_back(color: list[float]):
    assert linear_from_lab(lab_from_linear(np.array(color))) == pytest.approx(color, abs=1e-6)


@given(angles, st.integers(0, 10_000))
def test_drawn_skin_has_the_angle_asked_for(angle: float, seed: int):
    color = draw_skin_color(np.random.default_rng(seed), angle)
    assert typology_angle(color) == pytest.approx(angle, abs=0.2)
    red, green, blue = color
    assert red > green > blue > 0


@given(angles)
def test_melanin_and_angle_are_two_scales_of_one_thing(angle: float):
    assert angle_of(melanin_of(angle)) == pytest.approx(angle)
    assert melanin_of(LIGHTEST) == 0 < melanin_of(DARKEST)
