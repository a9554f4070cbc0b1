from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.training.face_model.subdivision import (
    MINIMUM_CUT,
    SubdividedMesh,
    catmull_clark,
    clip,
    quad_edges,
    subdivide,
)

CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
CUBE_QUADS = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)
CUBE_MIRROR = np.array([4, 5, 6, 7, 0, 1, 2, 3])


def test_a_cube_becomes_what_the_rules_give_by_hand() -> None:
    matrix, quads, mirror = catmull_clark(CUBE_QUADS, 8, CUBE_MIRROR)
    points = matrix @ CUBE
    assert points.shape == (8 + 12 + 6, 3)
    assert quads.shape == (24, 4)
    # Vertex: (F + 2R + 0 P) / 3 with F = 1/3 and R = 2/3 of the corner; edge: (2 + 1) / 4.
    np.testing.assert_allclose(np.abs(points[:8]), 5 / 9, atol=1e-12)
    np.testing.assert_allclose(np.sort(np.abs(points[8:20]), axis=1), [[0, 0.75, 0.75]] * 12)
    np.testing.assert_allclose(np.sort(np.abs(points[20:]), axis=1), [[0, 0, 1]] * 6)
    np.testing.assert_allclose(points[mirror] * [-1, 1, 1], points, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_rows_sum_to_one_and_affine_maps_commute(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = subdivide(CUBE_QUADS, 8, CUBE_MIRROR, 2)
    np.testing.assert_allclose(np.asarray(mesh.matrix.sum(axis=1)).ravel(), 1)
    linear, shift = rng.normal(size=(3, 3)), rng.normal(size=3)
    np.testing.assert_allclose(
        mesh.matrix @ (CUBE @ linear + shift), (mesh.matrix @ CUBE) @ linear + shift, atol=1e-12
    )


def test_a_flat_grid_stays_itself(plane) -> None:
    vertices, quads, mirror = plane
    mesh = subdivide(quads, len(vertices), mirror, 2)
    points = mesh.matrix @ vertices
    assert np.abs(points[:, 2]).max() == 0
    # The boundary rule keeps straight borders straight, away from the corners.
    edges, quad_edge = quad_edges(mesh.faces)
    count = np.bincount(quad_edge.ravel())
    border = np.unique(edges[count == 1])
    bottom = border[points[border, 1] < 0.2]
    middle = bottom[np.abs(points[bottom, 0]) < 2]
    np.testing.assert_allclose(points[middle, 1], 0, atol=1e-12)
    np.testing.assert_array_equal(mesh.parents, np.repeat(np.arange(len(quads)), 16))


def test_orientation_survives(plane) -> None:
    vertices, quads, mirror = plane
    mesh = subdivide(quads, len(vertices), mirror, 2)
    a, b, d = (mesh.faces[:, k] for k in (0, 1, 3))
    points = mesh.matrix @ vertices
    assert (np.cross(points[b] - points[a], points[d] - points[a])[:, 2] > 0).all()


def clipped(plane, field_of) -> tuple[np.ndarray, SubdividedMesh]:
    vertices, quads, mirror = plane
    mesh = subdivide(quads, len(vertices), mirror, 2)
    result = clip(mesh, field_of(mesh.matrix @ vertices))
    return result.matrix @ vertices, result


def test_clipping_follows_the_level_set(plane) -> None:
    points, mesh = clipped(plane, lambda p: 2.0 - np.hypot(p[:, 0], p[:, 1] - 2.5))
    radius = np.hypot(points[:, 0], points[:, 1] - 2.5)
    step = 0.25
    assert radius.max() < 2.0 + MINIMUM_CUT * step * 1.5
    a, b, c = (points[mesh.faces[:, k]] for k in range(3))
    area = np.cross(b - a, c - a)[:, 2] / 2
    assert area.min() > 1e-4
    assert area.sum() == pytest.approx(np.pi * 4, rel=0.02)
    np.testing.assert_allclose(points[mesh.mirror] * [-1, 1, 1], points, atol=1e-12)
    np.testing.assert_array_equal(np.unique(mesh.faces), np.arange(len(points)))
    np.testing.assert_allclose(np.asarray(mesh.matrix.sum(axis=1)).ravel(), 1)


def test_nothing_is_cut_where_the_field_is_positive(plane) -> None:
    points, mesh = clipped(plane, lambda p: np.ones(len(p)))
    assert len(mesh.faces) == 2 * 16 * len(plane[1])
    assert len(points) == (6 * 4 + 1) * (5 * 4 + 1)


def test_a_mirror_map_that_breaks_quads_is_refused(plane) -> None:
    vertices, quads, mirror = plane
    wrong = mirror.copy()
    wrong[[0, 9]] = wrong[[9, 0]]
    with pytest.raises(ValueError, match="mirror"):
        catmull_clark(quads, len(vertices), wrong)
