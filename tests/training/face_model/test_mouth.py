from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from facewright.training.face_model.mouth import affine_weights, carry_by_jaw, jaw_motion


@given(st.integers(0, 10_000))
def test_points_follow_an_affine_motion_of_their_anchors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchors, points = rng.normal(0, 20, (30, 3)), rng.normal(0, 20, (7, 3))
    weights = affine_weights(points, anchors, rng.uniform(0.1, 1, 30))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-8)
    matrix, shift = rng.normal(size=(3, 3)), rng.normal(size=3)
    moved = weights @ (anchors @ matrix + shift)
    np.testing.assert_allclose(moved, points @ matrix + shift, atol=1e-6)


@given(st.integers(0, 10_000))
def test_the_jaw_carries_rigidly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    teeth = rng.normal(0, 15, (20, 3))
    turn = Rotation.from_rotvec(rng.normal(0, 0.2, 3))
    displacement = turn.apply(teeth) + rng.normal(0, 5, 3) - teeth
    # The same row of another face, elsewhere: the motion is about the middle of the teeth.
    cage = np.concatenate([teeth + [1.0, 2.0, 3.0], rng.normal(0, 15, (5, 3))])
    lower, jaw = np.arange(20), np.arange(25)
    carried = carry_by_jaw(cage, lower, jaw, *jaw_motion(teeth, displacement))
    np.testing.assert_allclose(carried[:20], displacement, atol=1e-8)
    after = cage + carried
    before_distances = np.linalg.norm(cage[:, None] - cage, axis=2)
    after_distances = np.linalg.norm(after[:, None] - after, axis=2)
    np.testing.assert_allclose(after_distances, before_distances, atol=1e-8)
