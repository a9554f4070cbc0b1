from __future__ import annotations

import numpy as np
import pytest

from facewright.training.appearance.noise import random_field


@pytest.fixture(scope="module")
def grid() -> np.ndarray:
    axis = np.linspace(-100, 100, 41, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)


def test_is_standard_normal_over_space(grid):
    values = random_field(np.random.default_rng(0), grid, 6.0)
    assert abs(values.mean()) < 0.05
    # Trilinear interpolation between samples lowers the variance.
    assert 0.6 < values.std() < 1.05


def test_neighbors_agree_and_strangers_do_not(grid):
    near, far = [], []
    for seed in range(40):
        points = grid[np.random.default_rng(seed).integers(len(grid), size=400)]
        step = np.float32([1, 0, 0])
        both = np.concatenate([points, points + 0.15 * 20 * step, points + 3 * 20 * step])
        a, b, c = random_field(np.random.default_rng(seed), both, 20.0).reshape(3, -1)
        near.append(np.corrcoef(a, b)[0, 1])
        far.append(np.corrcoef(a, c)[0, 1])
    assert np.mean(near) > 0.9
    assert abs(np.mean(far)) < 0.1


def test_stretch_makes_streaks_along_an_axis(grid):
    move = 4.0
    along, across = [], []
    for seed in range(20):
        shifted = [grid[:3000] + np.float32(d) for d in ([0, 0, 0], [move, 0, 0], [0, move, 0])]
        field = random_field(
            np.random.default_rng(seed), np.concatenate(shifted), 4.0, (5.0, 1.0, 1.0)
        )
        a, b, c = field.reshape(3, -1)
        along.append(np.corrcoef(a, b)[0, 1])
        across.append(np.corrcoef(a, c)[0, 1])
    assert np.mean(along) > 0.9 > 0.5 > np.mean(across)
