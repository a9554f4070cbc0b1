from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from facewright.training.face_model.anthropometry import (
    DEPTH_LAYOUT,
    NORMS,
    POINTS,
    Measure,
    pooled_norm,
    population_norm,
)


def test_population_norms_by_hand() -> None:
    assert population_norm(("al", "al"), "caucasian") == pytest.approx((34.9 + 31.4) / 2)
    assert population_norm(("al", "al"), "african") == pytest.approx((43.2 + 40.7) / 2)
    # No men: the women's mean and that times 34.9 / 31.4.
    men = 35.5 * 34.9 / 31.4
    assert population_norm(("al", "al"), "asian") == pytest.approx((35.5 + men) / 2)
    assert population_norm(("sn", "prn"), "african") is None


def test_pooled_norms_by_hand() -> None:
    norm = pooled_norm(("ch", "ch"))
    # Shares 0.5 and 0.2 of the two populations that have it, renormalized.
    means = np.array([54.5, 50.2, 55.9, 52.0])
    weights = np.array([0.25, 0.25, 0.1, 0.1]) / 0.7
    mean = (weights * means).sum()
    within = (weights * np.array([3.0, 3.5, 3.3, 4.0]) ** 2).sum()
    between = (weights * (means - mean) ** 2).sum()
    assert norm.mean == pytest.approx(mean)
    assert norm.deviation == pytest.approx(np.sqrt(within + between))


def test_every_norm_names_known_points() -> None:
    assert {point for pair in NORMS for point in pair} <= set(POINTS)
    assert set(DEPTH_LAYOUT) <= set(POINTS)


def measured(**places: tuple[float, float, float]) -> tuple[Measure, np.ndarray]:
    """A measure over POINTS and measured points with some of them set (right side)."""
    right = np.zeros((len(POINTS), 3))
    for name, place in places.items():
        right[list(POINTS).index(name)] = place
    points = np.concatenate([right, right * [-1, 1, 1], [[-31, 0, 0], [32, 0, 0]]])
    return Measure(tuple(POINTS), sp.csr_matrix((0, 0))), points


def test_distances_between_points_and_across_the_face() -> None:
    measure, points = measured(n=(0, 10, 0), gn=(0, -90, 0), ch=(-26, -50, 3))
    assert measure.distance(points, ("n", "gn")) == pytest.approx(100)
    assert measure.distance(points, ("ch", "ch")) == pytest.approx(52)
    assert measure.pupil_distance(points) == pytest.approx(63)
    stacked = np.stack([points, 2 * points])
    np.testing.assert_allclose(measure.distance(stacked, ("n", "gn")), [100, 200])


def test_the_profile_is_relative_to_the_eye_corners_and_turned() -> None:
    measure, points = measured(en=(-16, 5, 4), ex=(-45, 5, -4), prn=(0, -25, 40))
    np.testing.assert_allclose(measure.profile(points, 0.0)["prn"], [-30, 40])
    quarter = measure.profile(points, np.pi / 2)["prn"]
    np.testing.assert_allclose(quarter, [-40, -30], atol=1e-9)
