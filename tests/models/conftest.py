"""A small face-like morphable model, made by formulas: half an ellipsoid with bumps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from facewright.models.landmarks import LANDMARK_COUNT, MIRROR_ORDER
from facewright.models.morphable_model import MorphableModel
from facewright.models.subdivision import Subdivision
from tests.face_models import face_model, grid_triangles

COLUMNS, ROWS = 13, 11
"""Vertices of the cage's grid; an odd number of columns has a middle one."""


def _doubling(n: int) -> NDArray[np.float64]:
    """(2n - 1, n): linear interpolation of a row of n values at twice the density."""
    matrix = np.zeros((2 * n - 1, n))
    for i in range(n):
        matrix[2 * i, i] = 1.0
        if i + 1 < n:
            matrix[2 * i + 1, [i, i + 1]] = 0.5
    return matrix


def ellipsoid(columns: int, rows: int) -> NDArray[np.float64]:
    """(rows * columns, 3) mm on a face-sized ellipsoid with a nose."""
    x, y = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(1, -1, rows))
    z = 60 * np.sqrt(np.maximum(1.3 - 0.6 * x**2 - 0.5 * y**2, 0))
    z += 25 * np.exp(-((x / 0.15) ** 2) - ((y + 0.1) / 0.25) ** 2)
    points = np.stack([70 * x, 90 * y, z], axis=-1).reshape(-1, 3)
    return points - points.mean(axis=0)


def build_model(seed: int = 0, n_identity: int = 80, n_expression: int = 64) -> MorphableModel:
    rng = np.random.default_rng(seed)
    cage = ellipsoid(COLUMNS, ROWS)
    columns, rows = 2 * COLUMNS - 1, 2 * ROWS - 1
    subdivision = np.kron(_doubling(ROWS), _doubling(COLUMNS))
    n_vertices = rows * columns
    index = np.arange(n_vertices).reshape(rows, columns)
    mirror = index[:, ::-1].reshape(-1).astype(np.int32)

    def modes(count: int, points: int, sigma: float) -> NDArray[np.float32]:
        decay = sigma / np.arange(1, count + 1) ** 0.7
        return (rng.standard_normal((count, points, 3)) * decay[:, None, None]).astype(np.float32)

    landmarks = np.zeros(LANDMARK_COUNT, np.int64)
    for i in range(LANDMARK_COUNT):
        partner = MIRROR_ORDER[i]
        if partner >= i:
            row, column = rng.integers(rows), columns // 2
            if partner > i:
                column = rng.integers(columns // 2)
            landmarks[i], landmarks[partner] = index[row, column], index[row, -1 - column]
    # The five alignment points lie where a face has them.
    for indices, row, column in (
        ((36, 37, 38, 39, 40, 41), 7, 7),
        ((45, 44, 43, 42, 47, 46), 7, columns - 8),
        ((30,), 11, columns // 2),
        ((48,), 15, 8),
        ((54,), 15, columns - 9),
    ):
        landmarks[list(indices)] = index[row, column]

    u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(1, 0, rows))
    return face_model(
        cage,
        grid_triangles(rows, columns),
        landmarks,
        identity=modes(n_identity, len(cage), 2.0),
        expression=modes(n_expression, len(cage), 1.5),
        subdivision=Subdivision.from_rows(sparse.csr_matrix(subdivision.astype(np.float32))),
        mean_albedo=rng.uniform(0.3, 0.7, (n_vertices, 3)),
        albedo=modes(80, n_vertices, 0.05),
        skin_region=rng.random(n_vertices) > 0.5,
        mirror=mirror,
        uv=np.stack([u, v], axis=-1).reshape(-1, 2),
        parts=rng.integers(0, 3, n_vertices).astype(np.uint8),
        expression_units=("jawOpen", "mpfb/smile"),
        expression_unit_coefficients=rng.standard_normal((2, n_expression)),
    )


@pytest.fixture(scope="session")
def model() -> MorphableModel:
    return build_model()
