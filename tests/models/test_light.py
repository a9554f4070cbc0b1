"""The light against SciPy's harmonics and against the numerically integrated irradiance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.special import lpmv

from facewright.models import light, light_torch

ORDERS = [(0, 0), (1, -1), (1, 0), (1, 1), (2, -2), (2, -1), (2, 0), (2, 1), (2, 2)]
CLAMPED_COSINE = (np.pi, 2 * np.pi / 3, np.pi / 4)
SCALE = (1.0, np.sqrt(3.0), np.sqrt(8.0))


def unit_vectors(count: int, seed: int = 0) -> NDArray[np.float64]:
    vectors = np.random.default_rng(seed).standard_normal((count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def real_harmonic(degree: int, order: int, n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Y_lm with Condon-Shortley phase, from associated Legendre functions (SciPy)."""
    azimuth, m = np.arctan2(n[..., 1], n[..., 0]), abs(order)
    ratio = np.prod([1.0 / k for k in range(degree - m + 1, degree + m + 1)])
    zonal = np.sqrt((2 * degree + 1) / (4 * np.pi) * ratio) * lpmv(m, degree, n[..., 2])
    if order == 0:
        return zonal
    return np.sqrt(2) * zonal * (np.cos if order > 0 else np.sin)(m * azimuth)


def quadrature(n: int = 48) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions (k, 3) and weights (k,) that integrate over the sphere."""
    z, weight = np.polynomial.legendre.leggauss(n)
    azimuth = (np.arange(2 * n) + 0.5) * np.pi / n
    z, azimuth = np.meshgrid(z, azimuth, indexing="ij")
    sine = np.sqrt(1 - z**2)
    directions = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), z], axis=-1)
    return directions.reshape(-1, 3), np.repeat(weight, 2 * n) * np.pi / n


def test_basis_is_the_scaled_real_harmonics() -> None:
    n = unit_vectors(200)
    expected = [
        SCALE[degree] * CLAMPED_COSINE[degree] * real_harmonic(degree, order, n)
        for degree, order in ORDERS
    ]
    np.testing.assert_allclose(light.sh_basis(n), np.stack(expected, axis=-1), atol=1e-12)


def test_bands_are_orthogonal_under_integration() -> None:
    directions, weights = quadrature()
    basis = light.sh_basis(directions)
    gram = basis.T @ (basis * weights[:, None])
    size = np.array([(SCALE[degree] * CLAMPED_COSINE[degree]) ** 2 for degree, _ in ORDERS])
    np.testing.assert_allclose(gram, np.diag(size), atol=1e-9)


def test_a_distant_light_gives_the_second_order_irradiance_of_a_lambertian_surface() -> None:
    """The clamped cosine's Legendre series 1/4 + x/2 + 5/16 P2(x), off by 3/32 at most."""
    normals, source = unit_vectors(500), unit_vectors(1, seed=3)[0]
    radiance = [
        real_harmonic(degree, order, source[None])[0] / SCALE[degree] for degree, order in ORDERS
    ]
    shaded = light.shade(
        np.ones((1, 500, 3)), normals[None], np.array(radiance, np.float64)[None, None]
    )[0, :, 0]
    cosine = normals @ source
    expected = 1 / 4 + cosine / 2 + 5 / 16 * (3 * cosine**2 - 1) / 2
    np.testing.assert_allclose(shaded, expected, atol=1e-12)
    assert np.abs(shaded - np.maximum(cosine, 0.0)).max() <= 3 / 32


def test_a_smooth_environment_is_shaded_as_its_integral() -> None:
    """Radiance of degree <= 2: the irradiance integral is reproduced, not approximated."""
    directions, weights = quadrature(200)
    coefficients = np.random.default_rng(4).standard_normal(9)
    radiance = sum(
        c * real_harmonic(degree, order, directions)
        for c, (degree, order) in zip(coefficients, ORDERS, strict=True)
    )
    gamma = [c / SCALE[degree] for c, (degree, _) in zip(coefficients, ORDERS, strict=True)]
    normals = unit_vectors(20, seed=5)
    shaded = light.shade(np.ones((1, 20, 3)), normals[None], np.array(gamma)[None, None])
    for normal, color in zip(normals, shaded[0], strict=True):
        integral = np.sum(weights * radiance * np.maximum(directions @ normal, 0.0))
        assert color[0] == pytest.approx(integral, abs=2e-3)


def test_each_color_channel_has_its_own_light() -> None:
    normals = unit_vectors(7)[None]
    albedo = np.random.default_rng(6).random((1, 7, 3))
    gammas = np.random.default_rng(7).standard_normal((1, 3, 9))
    colors = light.shade(albedo, normals, gammas)
    for channel in range(3):
        one = light.shade(albedo, normals, gammas[:, channel : channel + 1])
        np.testing.assert_allclose(colors[..., channel], one[..., channel], atol=1e-12)


@given(hnp.arrays(np.float64, (2, 1, 9), elements=st.floats(-3, 3)))
def test_torch_twin_agrees(gammas: np.ndarray) -> None:
    normals = np.stack([unit_vectors(30, 8), unit_vectors(30, 9)])
    albedo = np.random.default_rng(10).random((2, 30, 3))
    ours = light.shade(albedo, normals, gammas)
    twin = light_torch.shade(*map(torch.from_numpy, (albedo, normals, gammas)))
    np.testing.assert_allclose(twin, ours, atol=1e-12)


def test_gradients_by_finite_differences() -> None:
    rng = np.random.default_rng(11)
    arguments = [
        torch.tensor(a, requires_grad=True)
        for a in (rng.random((2, 3, 3)), rng.random((2, 3, 3)), rng.random((2, 3, 9)))
    ]
    assert torch.autograd.gradcheck(light_torch.shade, arguments)


def test_float32_stays_float32() -> None:
    normals = unit_vectors(4)[None].astype(np.float32)
    colors = light.shade(normals, normals, np.zeros((1, 1, 9), np.float32))
    assert colors.dtype == np.float32
