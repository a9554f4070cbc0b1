from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.models.camera import (
    CAMERA_DISTANCE,
    CROP_SIZE,
    FOCAL_LENGTH,
    pose_points,
    project,
    rotation_matrix,
)
from facewright.training.synthetic.view import (
    View,
    draw_pose,
    draw_view,
    five_points,
    nominal_pose,
    pose_coefficients,
    towards,
)

seeds = st.integers(0, 2**32 - 1)


@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6))
def test_towards_turns_the_optical_axis_the_short_way(x: float, y: float):
    direction = np.array([x, y, -1.0])
    turn = towards(direction)
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.allclose(turn @ [0, 0, -1], direction / np.linalg.norm(direction))
    angle = np.arccos((np.trace(turn) - 1) / 2)
    assert angle == pytest.approx(np.arctan(np.hypot(x, y)), abs=1e-6)


def crop_like_the_nominal_camera() -> np.ndarray:
    zoom = FOCAL_LENGTH / 1000.0
    return np.array([[zoom, 0, CROP_SIZE / 2], [0, zoom, CROP_SIZE / 2]])


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_the_nominal_camera_keeps_its_own_pose(toy_head, seed: int):
    """A photo that was taken by the nominal camera has the pose it was taken with."""
    rng = np.random.default_rng(seed)
    landmarks = toy_head.data.landmark_mean
    rotation, shift = draw_pose(rng), rng.normal(0, 20, 3)
    view = View(rotation, shift - [0, 0, CAMERA_DISTANCE], crop_like_the_nominal_camera())
    found, translation = nominal_pose(view, landmarks)
    assert np.allclose(found, rotation, atol=1e-6)
    assert np.allclose(translation, shift, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_nominal_pose_projects_where_the_photo_shows_the_face(toy_head, seed: int):
    rng = np.random.default_rng(seed)
    landmarks = toy_head.data.landmark_mean
    view = draw_view(rng, landmarks, toy_head.model.five_points)
    seen = view.project(view.to_camera(landmarks))[:, :2]
    angles, translation = pose_coefficients(*nominal_pose(view, landmarks))
    posed = pose_points(landmarks[None].astype(float), angles[None], translation[None])
    error = np.linalg.norm(project(posed)[0] - seen, axis=1)
    assert np.median(error) < 2.5
    if np.linalg.norm(view.offset) > 900:
        assert np.median(error) < 1.3


def test_crop_centres_the_face_at_its_scale(toy_head):
    """Without the detector's error the template would fill the crop as the alignment says."""
    landmarks = toy_head.data.landmark_mean
    scales, centres = [], []
    for seed in range(200):
        view = draw_view(np.random.default_rng(seed), landmarks, toy_head.model.five_points)
        origin = view.project(view.offset[None].astype(np.float32))[0]
        # Close by, the nose is nearer than the origin and the crop's scale is that of the front.
        if np.linalg.norm(view.offset) > 1000:
            scales.append(view.crop[0, 0] * 1000 / np.linalg.norm(view.offset))
        centres.append(origin[:2])
    assert np.median(scales) == pytest.approx(1.02, abs=0.05)
    assert np.median(centres, axis=0) == pytest.approx([112, 112], abs=2.0)
    assert 1.0 < np.std(centres) < 8.0


def test_poses_have_the_spread_asked_for():
    rng = np.random.default_rng(0)
    forward = np.stack([draw_pose(rng) @ [0, 0, 1] for _ in range(2000)])
    yaw = np.degrees(np.arctan2(forward[:, 0], forward[:, 2]))
    assert 0.55 < (np.abs(yaw) < 20).mean() < 0.75
    assert 0.06 < (np.abs(yaw) > 55).mean() < 0.16
    assert np.abs(yaw).max() > 85


def test_five_points_are_eyes_nose_and_mouth(toy_head):
    model = toy_head.model
    assert np.allclose(
        five_points(model.mean_vertices[model.landmarks].astype(float)), model.five_points
    )


def test_rotation_matches_the_models_convention():
    angles = np.array([[0.2, -0.5, 0.1]])
    found, _ = pose_coefficients(rotation_matrix(angles)[0], np.zeros(3))
    assert found == pytest.approx(angles[0])
