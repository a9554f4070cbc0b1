from __future__ import annotations

import numpy as np
import pytest

from facewright.training.face_model.components import mirror_field, symmetric_components

N, V = 40, 9
MIRROR = np.array([1, 0, 3, 2, 5, 4, 6, 7, 8])


def fields(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    loud = rng.normal(size=(N, 5)) @ rng.normal(size=(5, V * 3)) * 3
    return (loud + 0.1 * rng.normal(size=(N, V * 3))).reshape(N, V, 3)


@pytest.mark.parametrize("flip", [True, False])
def test_components_match_a_plain_pca_of_the_doubled_sample(flip: bool) -> None:
    sample, weights = fields(), np.linspace(1, 2, V)
    weights = (weights + weights[MIRROR]) / 2
    found = symmetric_components(sample, weights, MIRROR, 12, flip)
    doubled = np.concatenate([sample, mirror_field(sample, MIRROR, flip)])
    root = np.repeat(np.sqrt(weights), 3)
    _, singular, _ = np.linalg.svd(doubled.reshape(2 * N, -1) * root, full_matrices=False)
    energy = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(found.energy, energy[:12], rtol=1e-9)
    norms = np.sqrt(((found.basis.reshape(12, -1) * root) ** 2).sum(axis=1))
    np.testing.assert_allclose(norms, singular[:12] / np.sqrt(2 * N), rtol=1e-9)


@pytest.mark.parametrize("flip", [True, False])
def test_each_component_is_its_own_mirror_image_up_to_sign(flip: bool) -> None:
    found = symmetric_components(fields(1), np.ones(V), MIRROR, 10, flip)
    reflected = mirror_field(found.basis, MIRROR, flip)
    np.testing.assert_allclose(reflected, found.mirror_signs[:, None, None] * found.basis)
    assert {1, -1} == set(found.mirror_signs)


def test_coefficients_have_unit_variance_and_rebuild_the_sample() -> None:
    sample = fields(2)
    found = symmetric_components(sample, np.ones(V), MIRROR, V * 3, flip=True)
    kept = found.energy > 1e-12
    np.testing.assert_allclose((found.coefficients[:, kept] ** 2).mean(axis=0), 1)
    rebuilt = np.tensordot(found.coefficients[:, kept], found.basis[kept], 1)
    np.testing.assert_allclose(rebuilt, sample, atol=1e-9)
    mirrored = found.coefficients[:, kept] * found.mirror_signs[kept]
    np.testing.assert_allclose(
        np.tensordot(mirrored, found.basis[kept], 1), mirror_field(sample, MIRROR, True), atol=1e-9
    )


def test_signs_do_not_depend_on_the_sample_s_order_or_sign() -> None:
    sample = fields(3)
    one = symmetric_components(sample, np.ones(V), MIRROR, 8, flip=True)
    other = symmetric_components(-sample[::-1], np.ones(V), MIRROR, 8, flip=True)
    np.testing.assert_allclose(one.basis, other.basis, atol=1e-8)
