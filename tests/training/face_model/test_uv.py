from __future__ import annotations

import numpy as np
import pytest

from facewright.training.face_model.uv import boundary_loop, disc_map, mean_value_weights


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
