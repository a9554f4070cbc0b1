from __future__ import annotations

import numpy as np
import pytest

from facewright.training.appearance.visibility import (
    ambient_occlusion,
    light_frame,
    visible_fractions,
)


@pytest.fixture
def two_plates():
    """A large plate at z = 0 in a fine grid and a smaller one 40 mm above its middle."""

    def plate(half: float, z: float, n: int):
        axis = np.linspace(-half, half, n)
        x, y = np.meshgrid(axis, axis)
        points = np.stack([x.ravel(), y.ravel(), np.full(n * n, z)], 1)
        i = np.arange(n * n).reshape(n, n)
        a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
        return points, np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])

    low, low_triangles = plate(100, 0, 41)
    high, high_triangles = plate(30, 40, 5)
    points = np.concatenate([low, high]).astype(np.float32)
    triangles = np.concatenate([low_triangles, high_triangles + len(low)]).astype(np.int32)
    return points, triangles, len(low)


def test_shadow_falls_where_the_light_says(two_plates):
    points, triangles, n_low = two_plates
    direction = np.float32([1, 0, 1])  # light from the right: the shadow moves 40 mm to the left
    lit = visible_fractions(points, triangles, direction)[:n_low]
    x, y = points[:n_low, 0], points[:n_low, 1]
    core = (np.abs(x + 40) < 22) & (np.abs(y) < 22)
    clear = (np.abs(x + 40) > 38) | (np.abs(y) > 38)
    inner = (np.abs(x) < 95) & (np.abs(y) < 95)
    assert lit[core].max() == 0
    assert lit[clear & inner].min() == 1


def test_occlusion_is_strongest_below_the_cover(two_plates):
    points, triangles, n_low = two_plates
    normals = np.tile(np.float32([0, 0, 1]), (len(points), 1))
    sky = ambient_occlusion(points, normals, triangles)[:n_low]
    radius = np.hypot(points[:n_low, 0], points[:n_low, 1])
    # A square of half-width 30 at height 40 hides about a third of the cosine-weighted sky.
    assert 0.5 < sky[radius < 5].mean() < 0.8
    assert sky[radius > 100].mean() > 0.93


@pytest.mark.parametrize("direction", [[0, 0, 1], [0, 1, 0], [0.3, -0.5, 0.1], [0, -1, 0]])
def test_light_frame_is_a_rotation_that_looks_along_the_light(direction):
    frame = light_frame(np.float32(direction))
    assert np.allclose(frame @ frame.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(frame) == pytest.approx(1, abs=1e-6)
    assert np.allclose(frame[2], np.float32(direction) / np.linalg.norm(direction), atol=1e-6)
