from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from facewright.training.skin import skin_attention, skin_probability
from facewright.training.skin.mixtures import NOT_SKIN, PRIOR_OF_SKIN, SKIN, Mixture


def scalar_density(mixture: Mixture, ycbcr: list[float]) -> float:
    total = 0.0
    for weight, mean, determinant, inverse in zip(*mixture, strict=True):
        d = [ycbcr[i] - mean[i] for i in range(3)]
        form = sum(d[i] * inverse[i][j] * d[j] for i in range(3) for j in range(3))
        norm = (2 * math.pi) ** 1.5 * math.sqrt(determinant)
        total += weight * math.exp(-form / 2) / norm
    return total


def scalar_probability(r: int, g: int, b: int) -> float:
    """By the luma coefficients of BT.601 instead of its ready matrix, one pixel at a time."""
    luma = (0.299 * r + 0.587 * g + 0.114 * b) / 255
    ycbcr = [
        16 + 219 * luma,
        128 + 224 * (b / 255 - luma) / 1.772,
        128 + 224 * (r / 255 - luma) / 1.402,
    ]
    skin = PRIOR_OF_SKIN * scalar_density(SKIN, ycbcr)
    other = (1 - PRIOR_OF_SKIN) * scalar_density(NOT_SKIN, ycbcr)
    return skin / (skin + other)


@pytest.mark.parametrize("mixture", [SKIN, NOT_SKIN])
def test_the_parameters_belong_together(mixture: Mixture) -> None:
    assert sum(mixture.weights) == pytest.approx(1, abs=1e-6)
    for determinant, inverse in zip(mixture.determinants, mixture.inverse_covariances, strict=True):
        np.testing.assert_array_equal(inverse, np.transpose(inverse))
        assert determinant * np.linalg.det(inverse) == pytest.approx(1, rel=1e-4)


@given(arrays.arrays(np.uint8, (5, 3)))
def test_equals_the_scalar_derivation(colors: np.ndarray) -> None:
    expected = [scalar_probability(*map(int, color)) for color in colors]
    np.testing.assert_allclose(skin_probability(colors), expected, atol=1e-4)


def test_every_color_has_a_probability() -> None:
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1)
    probability = skin_probability(cube)
    assert probability.shape == cube.shape[:3]
    assert probability.dtype == np.float32
    assert np.isfinite(probability).all()
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_skin_colors_are_skin_and_others_are_not() -> None:
    skin = np.array([[224, 172, 145], [198, 134, 102], [141, 85, 60], [255, 219, 190]], np.uint8)
    other = np.array([[60, 120, 200], [50, 140, 60], [128, 128, 128], [0, 0, 0]], np.uint8)
    assert (skin_probability(skin) > 0.8).all()
    assert (skin_probability(other) < 0.3).all()


def test_blocks_do_not_show() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 80, 90, 3), dtype=np.uint8)
    whole = skin_probability(picture)
    np.testing.assert_array_equal(whole[1], skin_probability(picture[1]))
    np.testing.assert_allclose(whole[2, 7], skin_probability(picture[2, 7]), rtol=1e-4, atol=1e-7)
    # A view that is not contiguous, and no pixels at all.
    np.testing.assert_allclose(
        skin_probability(picture[0, ::2, ::-3]), whole[0, ::2, ::-3], rtol=1e-4, atol=1e-7
    )
    assert skin_probability(picture[:0]).shape == (0, 80, 90)


@pytest.mark.parametrize("array", [np.zeros((4, 3), np.float32), np.zeros((3, 4), np.uint8)])
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        skin_probability(array)


@given(st.floats(0, 1, width=32))
def test_attention_is_equation_2(p: float) -> None:
    attention = skin_attention(np.array([p], np.float32))
    assert attention.dtype == np.float32
    assert attention[0] == (1 if p > 0.5 else np.float32(p))
