from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from facewright.models import camera, camera_torch

angles = hnp.arrays(np.float64, (3, 3), elements=st.floats(-7, 7))
points = hnp.arrays(np.float64, (2, 5, 3), elements=st.floats(-200, 200))
poses = hnp.arrays(np.float64, (2, 3), elements=st.floats(-1.5, 1.5))


@given(angles)
def test_rotation_is_that_of_scipys_fixed_axes(angles: np.ndarray) -> None:
    expected = Rotation.from_euler("xyz", angles).as_matrix()
    np.testing.assert_allclose(camera.rotation_matrix(angles), expected, atol=1e-14)


def test_positive_angles_look_up_turn_and_tilt_as_documented() -> None:
    forward, up, left = np.array([0, 0, 1.0]), np.array([0, 1.0, 0]), np.array([1.0, 0, 0])
    pitch, yaw, roll = camera.rotation_matrix(np.diag([0.1, 0.1, 0.1]))
    assert (pitch @ forward)[1] < 0  # pitch > 0 looks down
    assert (yaw @ forward)[0] > 0  # yaw > 0 turns to the image's right
    assert (roll @ left)[1] > 0  # roll > 0 lifts the image-right side
    np.testing.assert_allclose(roll @ up, [-math.sin(0.1), math.cos(0.1), 0], atol=1e-15)


@given(angles)
def test_angles_give_back_their_matrix(angles: np.ndarray) -> None:
    rotation = camera.rotation_matrix(angles)
    found = camera.angles_from_matrix(rotation)
    np.testing.assert_allclose(camera.rotation_matrix(found), rotation, atol=1e-12)
    assert np.abs(found[:, 1]).max() <= math.pi / 2 + 1e-12


@given(
    hnp.arrays(np.float64, (4, 3), elements=st.floats(-1.5, 1.5)),
)
def test_angles_within_a_quarter_turn_come_back(angles: np.ndarray) -> None:
    found = camera.angles_from_matrix(camera.rotation_matrix(angles))
    np.testing.assert_allclose(found, angles, atol=1e-9)


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("off", [0.0, 1e-15, 1e-12, 1e-9, 1e-6, 1e-4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gimbal_lock_still_gives_back_the_matrix(side: float, off: float, dtype: type) -> None:
    rng = np.random.default_rng(0)
    given = np.stack(
        [
            rng.uniform(-3, 3, 50),
            np.full(50, side * (math.pi / 2 - off)),
            rng.uniform(-3, 3, 50),
        ],
        axis=-1,
    )
    rotation = camera.rotation_matrix(given).astype(dtype)
    found = camera.angles_from_matrix(rotation)
    tolerance = 1e-6 if dtype is np.float32 else 1e-14
    np.testing.assert_allclose(camera.rotation_matrix(found), rotation, atol=tolerance)


@given(points, poses, poses)
def test_pose_moves_each_point_by_the_formula(
    points: np.ndarray, angles: np.ndarray, translation: np.ndarray
) -> None:
    posed = camera.pose_points(points, angles, translation)
    for n in range(2):
        rotation = Rotation.from_euler("xyz", angles[n])
        for v in range(5):
            expected = rotation.apply(points[n, v]) + 100.0 * translation[n]
            np.testing.assert_allclose(posed[n, v], expected, atol=1e-10)


@given(points)
def test_projection_is_the_line_of_sight_through_the_image_plane(points: np.ndarray) -> None:
    pixels, depths = camera.project(points), camera.depth(points)
    for n in range(2):
        for v in range(5):
            # Pixel (u, v) at focal distance, carried on to the point's depth, is the point.
            u, w = (pixels[n, v] - 112.0) / 1015.0 * depths[n, v]
            np.testing.assert_allclose([u, -w, 1000.0 - depths[n, v]], points[n, v], atol=1e-9)


def test_golden_projection() -> None:
    posed = np.array([[[0, 0, 0], [50, 0, 0], [0, 50, 0], [10, -20, 500]]], np.float64)
    expected = [[112, 112], [162.75, 112], [112, 61.25], [132.3, 152.6]]
    np.testing.assert_allclose(camera.project(posed)[0], expected, atol=1e-12)


def test_gradient_of_projection_by_finite_differences() -> None:
    rng = np.random.default_rng(2)
    vertices = torch.tensor(rng.uniform(-80, 80, (1, 4, 3)), requires_grad=True)
    angles = torch.tensor(rng.uniform(-1, 1, (1, 3)), requires_grad=True)
    translation = torch.tensor(rng.uniform(-1, 1, (1, 3)), requires_grad=True)
    arguments = (vertices, angles, translation)
    weights = rng.standard_normal((1, 4, 2))

    def value(*numbers: np.ndarray) -> float:
        return float((camera.project(camera.pose_points(*numbers)) * weights).sum())

    pixels = camera_torch.project(camera_torch.pose_points(*arguments))
    (pixels * torch.from_numpy(weights)).sum().backward()
    step = 1e-5
    for which, argument in enumerate(arguments):
        assert argument.grad is not None
        for index in np.ndindex(*argument.shape):
            numbers = [a.detach().numpy().copy() for a in arguments]
            numbers[which][index] += step
            above = value(*numbers)
            numbers[which][index] -= 2 * step
            slope = (above - value(*numbers)) / (2 * step)
            assert argument.grad[index].item() == pytest.approx(slope, rel=1e-6, abs=1e-6)


@given(points, poses, poses)
def test_torch_twin_agrees(points: np.ndarray, angles: np.ndarray, shift: np.ndarray) -> None:
    posed = camera.pose_points(points, angles, shift)
    rotation = camera.rotation_matrix(angles)
    as_torch = camera_torch.pose_points(*map(torch.from_numpy, (points, angles, shift)))
    np.testing.assert_allclose(as_torch, posed, atol=1e-10)
    np.testing.assert_allclose(
        camera_torch.project(torch.from_numpy(posed)), camera.project(posed), atol=1e-9
    )
    np.testing.assert_allclose(
        camera_torch.depth(torch.from_numpy(posed)), camera.depth(posed), atol=0
    )
    np.testing.assert_allclose(
        camera_torch.angles_from_matrix(torch.from_numpy(rotation)), angles, atol=1e-9
    )


def test_gradients_of_angles_by_finite_differences() -> None:
    angles = torch.tensor([[0.3, -0.8, 1.1], [-1.2, 0.4, 0.2]], dtype=torch.float64)
    rotation = camera_torch.rotation_matrix(angles).requires_grad_()
    assert torch.autograd.gradcheck(camera_torch.angles_from_matrix, (rotation,))
    assert torch.autograd.gradcheck(camera_torch.rotation_matrix, (angles.requires_grad_(),))


@given(
    st.floats(0.05, 20),
    st.floats(-3, 3),
    hnp.arrays(np.float64, (2,), elements=st.floats(-3000, 3000)),
    hnp.arrays(np.float64, (1, 6, 3), elements=st.floats(-120, 120)),
)
def test_photo_intrinsics_see_the_point_where_the_crop_does(
    zoom: float, turn: float, shift: np.ndarray, posed: np.ndarray
) -> None:
    linear = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    transform = np.column_stack([linear, shift])
    homogeneous = camera.photo_intrinsics(transform) @ np.stack(
        [posed[0, :, 0], -posed[0, :, 1], camera.depth(posed)[0]]
    )
    photo = homogeneous[:2] / homogeneous[2]
    crop = linear @ photo + shift[:, None]
    np.testing.assert_allclose(crop.T, camera.project(posed)[0], atol=1e-7)


def test_intrinsics_of_the_crop_itself() -> None:
    intrinsics = camera.photo_intrinsics(np.eye(2, 3))
    np.testing.assert_allclose(intrinsics, [[1015, 0, 112], [0, 1015, 112], [0, 0, 1]])


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.full((2, 3), np.nan)])
def test_intrinsics_need_an_invertible_transform(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="inverted"):
        camera.photo_intrinsics(bad)


def test_float32_stays_float32() -> None:
    posed = camera.pose_points(
        np.zeros((1, 2, 3), np.float32), np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32)
    )
    assert posed.dtype == camera.project(posed).dtype == camera.depth(posed).dtype == np.float32
