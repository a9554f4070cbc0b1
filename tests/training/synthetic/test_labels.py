from __future__ import annotations

import numpy as np
import pytest

from facewright.models.light import shade
from facewright.training.synthetic.labels import fit_light, visible_landmarks


def test_light_is_recovered_from_its_own_shading():
    rng = np.random.default_rng(1)
    normals = rng.normal(size=(4000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    albedo = rng.uniform(0.3, 0.9, (4000, 3))
    light = np.array([1.0, -0.2, 0.3, 0.1, 0.05, 0, -0.1, 0.02, 0.04])
    colors = shade(albedo[None], normals[None], light[None, None])[0]
    found = fit_light(
        colors.astype(np.float32), albedo.astype(np.float32), normals.astype(np.float32)
    )
    assert found == pytest.approx(light, abs=0.01)


def test_light_of_few_normals_stays_small():
    normals = np.tile(np.float32([0, 0, 1]), (50, 1))
    found = fit_light(np.full((50, 3), 0.4, np.float32), np.full((50, 3), 0.5, np.float32), normals)
    assert np.abs(found).max() < 2
    shaded = shade(np.full((1, 1, 3), 0.5), normals[None, :1].astype(float), found[None, None])
    assert shaded == pytest.approx(0.4, abs=0.01)


def test_landmarks_behind_something_or_outside_are_not_visible():
    nearness = np.zeros((20, 20), np.float32)
    nearness[:, 10:] = 1.2
    points = np.float32([[5, 5, 1.0], [15, 5, 1.0], [15, 5, 1.2], [15, 5, 1.3], [25, 5, 1.3],
                         [5, -2, 1.0]])  # fmt: skip
    expected = [True, False, True, True, False, False]
    assert visible_landmarks(points, nearness, 0.01).tolist() == expected


def test_one_free_neighbor_is_enough_on_a_silhouette():
    nearness = np.zeros((20, 20), np.float32)
    nearness[:, 10:] = 1.2
    assert visible_landmarks(np.float32([[10.2, 5, 1.0]]), nearness, 0.01).all()
