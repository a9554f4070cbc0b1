from __future__ import annotations

import numpy as np
import pytest

from facewright.training.face_model.uv import (
    boundary_loop,
    disc_map,
    face_coordinates,
    mean_value_weights,
)


def dome(n: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A bulging square patch of triangles, counter-clockwise from outside."""
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    points = np.stack([x, y, 1.5 - x**2 - 0.5 * y**2 + 0.3 * np.sin(5 * x)], axis=-1).reshape(-1, 3)
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return points, triangles


def signed_areas(uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (uv[triangles[:, k]] for k in range(3))
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2


def test_the_map_is_one_to_one_onto_the_disc_and_upright() -> None:
    points, triangles = dome()
    mapped = disc_map(points, triangles, np.ones(len(points)))
    areas = signed_areas(mapped, triangles)
    assert areas.min() > 0
    sides = 60
    polygon = sides / 2 * np.sin(2 * np.pi / sides)
    assert areas.sum() == pytest.approx(polygon, rel=0.02)
    assert np.corrcoef(mapped[:, 0], points[:, 0])[0, 1] > 0.9
    assert np.corrcoef(mapped[:, 1], points[:, 1])[0, 1] > 0.9


def test_soft_places_get_more_room() -> None:
    points, triangles = dome()
    near = np.linalg.norm(points[:, :2], axis=1) < 0.4
    plain = signed_areas(disc_map(points, triangles, np.ones(len(points))), triangles)
    soft = signed_areas(disc_map(points, triangles, np.where(near, 3.0, 1.0)), triangles)
    middle = near[triangles].all(axis=1)
    assert soft.min() > 0
    assert soft[middle].sum() > 1.5 * plain[middle].sum()


def test_a_flat_patch_is_reproduced_by_its_weights() -> None:
    points, triangles = dome()
    flat = points * [1, 1, 0]
    weights = mean_value_weights(flat, triangles)
    average = (weights @ flat) / np.asarray(weights.sum(axis=1))
    inside = np.abs(flat[:, :2]).max(axis=1) < 0.99
    np.testing.assert_allclose(average[inside], flat[inside], atol=1e-12)


def test_boundaries_are_checked() -> None:
    points, triangles = dome(6)
    loop = boundary_loop(triangles)
    assert len(loop) == len(set(loop.tolist())) == 20
    hole = triangles[~(triangles == 14).any(axis=1)]
    with pytest.raises(ValueError, match="boundary"):
        boundary_loop(hole)


def test_holes_and_pieces_of_a_face_are_mapped_one_to_one() -> None:
    """Two holes that touch in a vertex, one of them beside the rim, and a piece of its own."""
    points, triangles = dome(16)
    points = 60 * points
    index = np.arange(256).reshape(16, 16)
    cells = {(7, 7), (8, 8), (7, 2)}
    gone = [index[a, b] for a, b in cells]
    corner = {tuple(sorted((i, i + 1, i + 17))) for i in gone}
    corner |= {tuple(sorted((i, i + 17, i + 16))) for i in gone}
    keep = np.array([tuple(sorted(t)) not in corner for t in triangles.tolist()])
    assert keep.sum() == len(triangles) - 6
    whole = triangles[keep]
    piece = np.array([[256, 257, 258]])
    points = np.concatenate([points, [[0, 0, 95], [1, 0, 95], [0, 1, 95]], [[5, 5, 5]]])
    uv = face_coordinates(points, np.concatenate([whole, piece]))
    assert uv.dtype == np.float32
    assert uv.shape == (260, 2)
    assert uv.min() >= 0
    assert uv.max() <= 1
    assert signed_areas(uv.astype(np.float64), whole).min() > 0
    assert np.abs(uv[256:259] - 0.5).max() < 0.2


def test_a_closed_surface_has_no_coordinates() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    with pytest.raises(ValueError, match="no boundary"):
        face_coordinates(points, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]))
