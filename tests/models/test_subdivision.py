"""The sparse product that carries a cage to the mesh, against the dense one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from facewright.models.subdivision import Subdivision


def random_matrix(seed: int, rows: int, columns: int) -> sparse.csr_array:
    """Rows of one to four weights that sum to 1."""
    random = np.random.default_rng(seed)
    dense = np.zeros((rows, columns), np.float32)
    for row in dense:
        some = random.choice(columns, random.integers(1, min(columns, 4) + 1), replace=False)
        weights = random.uniform(0.1, 1.0, len(some))
        row[some] = weights / weights.sum()
    return sparse.csr_array(dense)


@pytest.fixture
def subdivision() -> Subdivision:
    return Subdivision.from_rows(random_matrix(0, 9, 5))


@given(
    seed=st.integers(0, 2**32 - 1),
    faces=st.integers(0, 3),
    rows=st.integers(1, 20),
    columns=st.integers(1, 12),
)
def test_it_is_the_dense_product(seed: int, faces: int, rows: int, columns: int) -> None:
    matrix = random_matrix(seed, rows, columns)
    cages = np.random.default_rng(seed).normal(size=(faces, columns, 3)).astype(np.float32)
    meshes = Subdivision.from_rows(matrix).refine(cages)
    assert meshes.dtype == np.float32
    assert meshes.shape == (faces, rows, 3)
    np.testing.assert_allclose(meshes, matrix.toarray().astype(np.float64) @ cages, atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1), chosen=st.lists(st.integers(0, 8), max_size=12))
def test_taken_rows_make_the_same_vertices(seed: int, chosen: list[int]) -> None:
    whole = Subdivision.from_rows(random_matrix(seed, 9, 5))
    cages = np.random.default_rng(seed).normal(size=(2, 5, 3)).astype(np.float32)
    rows = np.array(chosen, np.int32)
    np.testing.assert_array_equal(whole.take(rows).refine(cages), whole.refine(cages)[:, rows])


def test_wide_indices_and_strided_cages_are_taken(subdivision: Subdivision) -> None:
    matrix = random_matrix(0, 9, 5)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    cages = np.random.default_rng(1).normal(size=(3, 5, 2)).astype(np.float32).transpose(2, 1, 0)
    np.testing.assert_array_equal(
        Subdivision.from_rows(matrix).refine(cages), subdivision.refine(cages.copy())
    )


def test_its_arrays_are_frozen_and_the_callers_are_not() -> None:
    mine = random_matrix(0, 9, 5)
    subdivision = Subdivision.from_rows(mine)
    with pytest.raises(ValueError, match="read-only"):
        subdivision.data[0] = 0
    assert mine.data.flags.writeable


@pytest.mark.parametrize("shape", [(5, 3), (1, 4, 3), (1, 5, 2)])
def test_other_cages_are_refused(subdivision: Subdivision, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cages"):
        subdivision.refine(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("name", "convert", "reason"),
    [
        ("data", lambda a: a.astype(np.float64), "float32"),
        ("data", lambda a: a[:-1], "arrays of shape"),
        ("data", lambda a: a[None], "data must be"),
        ("data", lambda a: a * np.float32(1.01), "sum to 1"),
        ("data", lambda a: np.full_like(a, np.nan), "finite"),
        ("indices", lambda a: a.astype(np.int64), "int32"),
        ("indices", lambda a: np.full_like(a, -1), "indices"),
        ("indices", lambda a: np.full_like(a, 5), "indices"),
        ("indptr", lambda a: a[:-1], "arrays of shape"),
        ("indptr", lambda a: a[::-1], "indptr"),
        ("indptr", lambda a: a + np.int32(1), "indptr"),
        ("indptr", lambda a: np.concatenate([a[:1], a[2:3], a[1:2], a[3:]]), "indptr"),
        ("shape", lambda s: (s[0], 0), "indices"),
    ],
)
def test_unsound_matrices_are_refused(
    subdivision: Subdivision, name: str, convert: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(subdivision, **{name: convert(getattr(subdivision, name))})


def test_an_empty_row_is_refused() -> None:
    matrix = sparse.csr_array(np.array([[1.0], [0.0]], np.float32))
    with pytest.raises(ValueError, match="sum to 1"):
        Subdivision.from_rows(matrix)
