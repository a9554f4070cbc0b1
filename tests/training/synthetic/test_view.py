from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.models.camera import (
    CAMERA_DISTANCE,
    CROP_SIZE,
    FOCAL_LENGTH,
    angles_from_matrix,
    pose_points,
    project,
    rotation_matrix,
)
from facewright.models.landmarks import five_points
from facewright.training.synthetic.view import (
    View,
    draw_pose,
    draw_view,
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


def templates(toy_head) -> tuple[np.ndarray, np.ndarray]:
    return toy_head.model.five_points, toy_head.model.landmark_template


def crop_like_the_nominal_camera(roll: float = 0.0) -> np.ndarray:
    zoom, cosine, sine = FOCAL_LENGTH / 1000.0, np.cos(roll), np.sin(roll)
    return np.array(
        [[zoom * cosine, zoom * sine, CROP_SIZE / 2], [-zoom * sine, zoom * cosine, CROP_SIZE / 2]]
    )


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
    view = draw_view(rng, landmarks, templates(toy_head))
    seen = view.project(view.to_camera(landmarks))[:, :2]
    angles, translation = pose_coefficients(*nominal_pose(view, landmarks))
    posed = pose_points(landmarks[None].astype(float), angles[None], translation[None])
    error = np.linalg.norm(project(posed)[0] - seen, axis=1)
    assert np.median(error) < 2.5
    if np.linalg.norm(view.offset) > 900:
        assert np.median(error) < 1.3


@settings(max_examples=30, deadline=None)
@given(seed=seeds, roll=st.floats(-3.1, 3.1))
def test_a_crop_that_turns_the_photo_turns_the_nominal_pose(toy_head, seed: int, roll: float):
    rng = np.random.default_rng(seed)
    landmarks = toy_head.data.landmark_mean
    rotation, shift = draw_pose(rng), rng.normal(0, 20, 3)
    view = View(rotation, shift - [0, 0, CAMERA_DISTANCE], crop_like_the_nominal_camera(roll))
    found, translation = nominal_pose(view, landmarks)
    # Undoing a clockwise turn of the photo turns the head counter-clockwise before the camera.
    turn = rotation_matrix(np.array([[0, 0, roll]]))[0]
    assert np.allclose(found, turn @ rotation, atol=1e-6)
    assert np.allclose(translation, turn @ shift, atol=1e-3)


def test_crop_centers_the_face_at_its_scale(toy_head):
    """Without the detector's error the template would fill the crop as the alignment says."""
    landmarks = toy_head.data.landmark_mean
    scales, centers = [], []
    for seed in range(200):
        view = draw_view(np.random.default_rng(seed), landmarks, templates(toy_head))
        origin = view.project(view.offset[None].astype(np.float32))[0]
        # Close by, the nose is nearer than the origin and the crop's scale is that of the front.
        if np.linalg.norm(view.offset) > 1000:
            scales.append(np.hypot(*view.crop[0, :2]) * 1000 / np.linalg.norm(view.offset))
        centers.append(origin[:2])
    assert np.median(scales) == pytest.approx(1.02, abs=0.05)
    assert np.median(centers, axis=0) == pytest.approx([112, 112], abs=2.0)
    assert 1.0 < np.std(centers) < 8.0


def test_poses_have_the_spread_asked_for():
    rng = np.random.default_rng(0)
    angles = angles_from_matrix(np.stack([draw_pose(rng) for _ in range(2000)]))
    pitch, yaw, roll = np.degrees(angles).T
    assert 0.4 < (np.abs(yaw) < 20).mean() < 0.7
    assert 0.1 < (np.abs(yaw) > 50).mean() < 0.25
    assert np.abs(yaw).max() > 85
    assert 40 < np.abs(pitch).max() < 45.1
    assert 40 < np.abs(roll).max() < 60.1


def test_the_crop_takes_the_roll_out(toy_head):
    """What is left of the roll is small but not nothing."""
    landmarks = toy_head.data.landmark_mean
    left, taken = [], []
    for seed in range(150):
        view = draw_view(np.random.default_rng(seed), landmarks, templates(toy_head))
        angles, _ = pose_coefficients(*nominal_pose(view, landmarks))
        if abs(angles[1]) < 0.5:
            left.append(np.degrees(angles[2]))
            taken.append(view.turn)
    assert 0.5 < np.std(left) < 6
    assert np.std(taken) > 6


def test_five_points_are_eyes_nose_and_mouth(toy_head):
    model = toy_head.model
    assert np.allclose(
        five_points(model.mean_vertices[model.landmarks].astype(float)), model.five_points
    )


def test_rotation_matches_the_models_convention():
    angles = np.array([[0.2, -0.5, 0.1]])
    found, _ = pose_coefficients(rotation_matrix(angles)[0], np.zeros(3))
    assert found == pytest.approx(angles[0])
