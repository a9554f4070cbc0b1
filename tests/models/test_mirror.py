from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from facewright.models import camera, light
from facewright.models.layout import LAYOUT_239
from facewright.models.mirror import (
    FLIP_ANGLES,
    FLIP_LIGHT,
    FLIP_X,
    mirror_coefficients,
    mirror_landmarks,
    mirror_matrices,
)
from facewright.models.morphable_model import MorphableModel


@pytest.fixture(scope="module")
def closed(model: MorphableModel) -> MorphableModel:
    """The model with bases that span their mirror images, mixed so that no mode is pure."""
    rng = np.random.default_rng(0)
    columns, rows = 13, 11
    cage_mirror = np.arange(columns * rows).reshape(rows, columns)[:, ::-1].reshape(-1)

    def close(basis: np.ndarray, mirror: np.ndarray, signs: np.ndarray) -> np.ndarray:
        half = basis[: len(basis) // 2]
        both = np.concatenate([half, half[:, mirror] * signs])
        mixing = np.linalg.qr(rng.standard_normal((len(both), len(both))))[0]
        return np.einsum("jk,kvc->jvc", mixing, both).astype(np.float32)

    return dataclasses.replace(
        model,
        identity_basis=close(model.identity_basis, cage_mirror, FLIP_X),
        expression_basis=close(model.expression_basis, cage_mirror, FLIP_X),
        albedo_basis=close(model.albedo_basis, model.mirror, np.ones(3)),
        mean_albedo=(model.mean_albedo + model.mean_albedo[model.mirror]) / 2,
    )


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, 239)).astype(np.float32) * 0.5


def test_mirrored_coefficients_give_the_mirrored_face(
    closed: MorphableModel, vectors: np.ndarray
) -> None:
    face = LAYOUT_239.split(vectors)
    mirrored = mirror_coefficients(face, mirror_matrices(closed))
    shape = closed.shape(face.identity, face.expression)
    np.testing.assert_allclose(
        closed.shape(mirrored.identity, mirrored.expression),
        shape[:, closed.mirror] * FLIP_X,
        atol=2e-3,
    )
    np.testing.assert_allclose(
        closed.albedo(mirrored.albedo), closed.albedo(face.albedo)[:, closed.mirror], atol=1e-4
    )


def test_mirroring_twice_gives_the_face_back(closed: MorphableModel) -> None:
    for matrix in mirror_matrices(closed):
        assert matrix.dtype == np.float32
        np.testing.assert_allclose(matrix @ matrix, np.eye(len(matrix)), atol=1e-3)


def test_mirrored_projection_is_the_flipped_crop(
    closed: MorphableModel, vectors: np.ndarray
) -> None:
    face = LAYOUT_239.split(vectors)
    mirrored = mirror_coefficients(face, mirror_matrices(closed))

    def landmarks(c: object) -> np.ndarray:
        shape = closed.shape(c.identity, c.expression)  # type: ignore[attr-defined]
        pose = c.rotation, c.translation  # type: ignore[attr-defined]
        return camera.project(camera.pose_points(shape, *pose))[:, closed.landmarks]

    np.testing.assert_allclose(landmarks(mirrored), mirror_landmarks(landmarks(face)), atol=5e-3)


def test_mirrored_rotation_is_the_conjugate() -> None:
    angles = np.random.default_rng(2).uniform(-3, 3, (50, 3))
    flip = np.diag(FLIP_X)
    np.testing.assert_allclose(
        camera.rotation_matrix(angles * FLIP_ANGLES),
        flip @ camera.rotation_matrix(angles) @ flip,
        atol=1e-12,
    )


def test_mirrored_light_shines_alike_on_mirrored_normals() -> None:
    rng = np.random.default_rng(3)
    normals, gammas = rng.standard_normal((1, 40, 3)), rng.standard_normal((1, 1, 9))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    ones = np.ones((1, 40, 3))
    np.testing.assert_allclose(
        light.shade(ones, normals * FLIP_X, gammas * FLIP_LIGHT),
        light.shade(ones, normals, gammas),
        atol=1e-12,
    )


def test_bases_that_do_not_mirror_get_the_best_approximation(model: MorphableModel) -> None:
    """No other coefficients come closer, by the area-weighted distance."""
    matrix = mirror_matrices(model).identity.astype(np.float64)
    basis = model.refine(model.identity_basis).astype(np.float64)
    corners = model.mean_vertices.astype(np.float64)[model.triangles]
    weights = np.zeros(model.n_vertices)
    for triangle, (p, q, r) in zip(model.triangles, corners, strict=True):
        weights[triangle] += np.linalg.norm(np.cross(q - p, r - p))
    weights += weights[model.mirror]

    def distance(row: np.ndarray, k: int) -> float:
        target = basis[k][model.mirror] * FLIP_X
        difference = np.einsum("j,jvc->vc", row, basis) - target
        return float((weights * (difference**2).sum(axis=1)).sum())

    rng = np.random.default_rng(4)
    for k in (0, 17, 60):
        best = distance(matrix[k], k)
        for _ in range(20):
            assert distance(matrix[k] + 0.01 * rng.standard_normal(80), k) > best


def test_mirrored_landmarks_swap_sides() -> None:
    points = np.random.default_rng(5).uniform(0, 224, (2, 68, 2))
    mirrored = mirror_landmarks(points)
    np.testing.assert_allclose(mirrored[:, 36], points[:, 45] * [-1, 1] + [224, 0])
    np.testing.assert_allclose(mirror_landmarks(mirrored), points, atol=1e-12)
