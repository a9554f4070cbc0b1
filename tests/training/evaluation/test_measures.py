import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from facewright.training.evaluation.measures import (
    align_similarity,
    area_under_curve,
    box_size,
    landmark_distance,
    mode_correlations,
    point_to_plane,
    rotation_degrees,
)


def test_a_similarity_is_undone():
    rng = np.random.default_rng(0)
    fixed = rng.normal(size=(5, 40, 3)) * 50
    turns = Rotation.random(5, random_state=1).as_matrix()
    moving = rng.uniform(0.5, 2, (5, 1, 1)) * fixed @ turns + rng.normal(size=(5, 1, 3)) * 30
    np.testing.assert_allclose(align_similarity(moving, fixed), fixed, atol=1e-9)


def test_alignment_is_the_least_squares_optimum():
    rng = np.random.default_rng(2)
    moving, fixed = rng.normal(size=(2, 30, 3))

    def cost(x):
        turned = np.exp(x[6]) * moving @ Rotation.from_rotvec(x[:3]).as_matrix().T + x[3:6]
        return ((turned - fixed) ** 2).sum()

    starts = [np.r_[r, 0, 0, 0, -1] for r in Rotation.random(12, random_state=3).as_rotvec()]
    best = min(minimize(cost, start).fun for start in starts)
    aligned = align_similarity(moving[None], fixed[None])[0]
    assert ((aligned - fixed) ** 2).sum() == pytest.approx(best, rel=1e-6)


def test_a_mirror_image_is_not_turned_inside_out():
    rng = np.random.default_rng(4)
    fixed = rng.normal(size=(1, 30, 3))
    aligned = align_similarity(fixed * [-1, 1, 1], fixed)
    assert abs(aligned - fixed).max() > 0.1


def test_point_to_plane_by_hand():
    true = np.zeros((1, 2, 3))
    normals = np.array([[[0, 0, 1.0], [0, 0.6, 0.8]]])
    predicted = np.array([[[5, 5, -2.0], [9, 1, 1]]])
    assert point_to_plane(predicted, true, normals)[0] == pytest.approx((2 + 1.4) / 2)


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 30.0, 179.0])
def test_rotation_degrees(degrees):
    turn = Rotation.from_rotvec([[0.6, -0.8, 0]] * np.radians([[degrees]])).as_matrix()
    base = Rotation.random(1, random_state=0).as_matrix()
    assert rotation_degrees(turn @ base, base)[0] == pytest.approx(degrees, abs=1e-6)


def test_landmark_measures_by_hand():
    true = np.array([[[0.0, 0], [4, 9]]])
    assert box_size(true)[0] == 6
    assert landmark_distance(true + [3, 4], true)[0] == 5


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=20),
    st.lists(st.integers(0, 6), min_size=1, max_size=20),
)
def test_area_under_curve_against_every_pair(positive, negative):
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    expected = wins / (len(positive) * len(negative))
    assert area_under_curve(np.array(positive), np.array(negative)) == pytest.approx(expected)


def test_area_needs_both_kinds():
    with pytest.raises(ValueError, match="both"):
        area_under_curve(np.zeros(0), np.ones(3))


def test_correlations_against_numpy():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 50, 3))
    b[:, 1] += 2 * a[:, 1]
    a[:, 2] = 7
    got = mode_correlations(a, b)
    for k in (0, 1):
        assert got[k] == pytest.approx(np.corrcoef(a[:, k], b[:, k])[0, 1])
    assert got[2] == 0
