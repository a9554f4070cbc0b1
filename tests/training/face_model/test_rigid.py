from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from facewright.training.face_model.rigid import align, rigid_motions, vertex_areas


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_rigid_motions_undo_any_motion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(20, 3)) * [30, 40, 20]
    weights = rng.uniform(0.1, 1, 20)
    weights /= weights.sum()
    turns = Rotation.random(4, random_state=rng.integers(2**31)).as_matrix()
    moved = np.stack([target @ turn for turn in turns]) + rng.normal(size=(4, 1, 3)) * 50
    rotation, translation = rigid_motions(moved, target, weights)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-9)
    np.testing.assert_allclose(
        moved @ rotation + translation[:, None], np.stack([target] * 4), atol=1e-8
    )


def test_a_reflection_is_not_a_motion() -> None:
    rng = np.random.default_rng(1)
    target = rng.normal(size=(30, 3))
    weights = np.full(30, 1 / 30)
    rotation, _ = rigid_motions((target * [-1, 1, 1])[None], target, weights)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-9)


def test_alignment_removes_pose_and_keeps_size() -> None:
    rng = np.random.default_rng(2)
    half = rng.uniform(1, 40, (15, 3))
    face = np.concatenate([half, half * [-1, 1, 1]])
    mirror = np.concatenate([np.arange(15) + 15, np.arange(15)])
    sizes = np.array([0.9, 1.0, 1.1, 1.0])
    turns = Rotation.from_euler("xyz", rng.normal(0, 8, (4, 3)), degrees=True).as_matrix()
    shapes = np.stack(
        [s * face @ r + rng.normal(size=3) for s, r in zip(sizes, turns, strict=True)]
    )
    aligned = align(shapes, np.full(30, 1 / 30), mirror)
    spread = aligned - aligned.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(
        np.linalg.norm(spread, axis=(1, 2)) / np.linalg.norm(face - face.mean(axis=0)), sizes
    )
    np.testing.assert_allclose(spread[1], spread[3], atol=1e-9)
    middle = spread.mean(axis=0)
    np.testing.assert_allclose(middle[mirror] * [-1, 1, 1], middle, atol=1e-6)


def test_vertex_areas_add_up() -> None:
    points = np.array([[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]])
    areas = vertex_areas(points, np.array([[0, 1, 2], [0, 2, 3]]))
    np.testing.assert_allclose(areas, [4 / 3, 2 / 3, 4 / 3, 2 / 3])
