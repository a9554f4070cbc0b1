"""Crops: the right place of the photo, exactly, and without aliasing."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.models.alignment import crop_transform
from facewright.models.resampling import cut_square
from facewright.service.networks.detection import DetectedFace
from facewright.service.pipeline.align import crop_face, face_crop_transform

TEMPLATE = np.array(
    [[-31, 33, 30], [31, 33, 30], [0, 0, 65], [-25, -38, 40], [25, -38, 40]], np.float64
)

Matrix = npt.NDArray[np.float64]


def apply(transform: Matrix, points: npt.ArrayLike) -> Matrix:
    return np.asarray(points) @ transform[:, :2].T + transform[:, 2]


def face_at(points: npt.ArrayLike) -> DetectedFace:
    return DetectedFace(
        box=np.zeros(4, np.float32), points=np.asarray(points, np.float32), score=0.9
    )


def upright_points(scale: float, center: tuple[float, float]) -> Matrix:
    return TEMPLATE[:, :2] * [scale, -scale] + center


def turned_clockwise(points: Matrix, turns: int, height: int, width: int) -> Matrix:
    for _ in range(turns):
        points = np.stack([height - points[:, 1], points[:, 0]], axis=1)
        height, width = width, height
    return points


def test_upright_face_is_only_scaled_and_shifted() -> None:
    points = upright_points(0.8, (300, 200))
    transform = face_crop_transform(face_at(points), TEMPLATE)
    np.testing.assert_allclose(transform, crop_transform(points, TEMPLATE), atol=1e-4)
    # 102 px per 100 mm, the template's origin in the center.
    np.testing.assert_allclose(
        apply(transform, points), upright_points(1.02, (112, 112)), atol=0.01
    )


@settings(max_examples=20)
@given(
    scale=st.floats(0.1, 10),
    x=st.floats(-100, 3000),
    y=st.floats(-100, 3000),
    roll=st.floats(-math.pi, math.pi),
)
def test_turned_face_gives_the_same_crop_points(
    scale: float, x: float, y: float, roll: float
) -> None:
    cosine, sine = math.cos(roll), math.sin(roll)
    upright = upright_points(scale, (0, 0))
    turned = upright @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)
    found = apply(face_crop_transform(face_at(turned), TEMPLATE), turned)
    np.testing.assert_allclose(found, upright_points(1.02, (112, 112)), atol=0.1)


@pytest.mark.parametrize("turns", range(4))
def test_turned_photo_gives_the_same_crop(turns: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    photo = np.kron(noise, np.ones((10, 10, 1), np.uint8))
    points = upright_points(1.3, (210, 140))
    expected = crop_face(photo, face_crop_transform(face_at(points), TEMPLATE))
    turned = np.ascontiguousarray(np.rot90(photo, -turns))
    transform = face_crop_transform(face_at(turned_clockwise(points, turns, 300, 400)), TEMPLATE)
    difference = np.abs(crop_face(turned, transform).astype(int) - expected)
    assert difference.mean() < 0.5


def test_five_points_on_a_line_are_no_face() -> None:
    with pytest.raises(ValueError, match="line"):
        face_crop_transform(face_at([[i, 10] for i in range(5)]), TEMPLATE)


QUARTER_TURNS = [
    np.array(turn, np.float64)
    for turn in ([[1, 0], [0, 1]], [[0, 1], [-1, 0]], [[-1, 0], [0, -1]], [[0, -1], [1, 0]])
]


@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(0.12, 3),
    turn=st.sampled_from(QUARTER_TURNS),
    x=st.floats(400, 600),
    y=st.floats(400, 600),
)
def test_a_gradient_is_sampled_where_the_transform_says(
    scale: float, turn: Matrix, x: float, y: float
) -> None:
    # The photo's value at a point is the point itself, so the crop shows its own inverse map.
    photo = np.zeros((1000, 1000, 3), np.float32)
    photo[..., 0] = np.arange(1000) + 0.5
    photo[..., 1] = (np.arange(1000) + 0.5)[:, None]
    linear = scale * turn
    transform = np.column_stack([linear, np.array([112, 112]) - linear @ (x, y)])
    crop = cut_square(photo, transform, 224)
    columns, rows = np.meshgrid(np.arange(224) + 0.5, np.arange(224) + 0.5)
    crop_points = np.stack([columns, rows], axis=-1)
    expected = (crop_points - transform[:, 2]) @ np.linalg.inv(linear).T
    reach = 2 + 2 / scale  # at the photo's border an average has less to average over
    inside = ((expected > reach) & (expected < 1000 - reach)).all(axis=-1)
    error_px = scale * (crop[..., :2] - expected)[inside]
    # An area average takes pixels for flat squares, which is off by a fraction of a pixel to
    # either side, but not on average.
    assert np.abs(error_px).max() < 0.1
    assert np.abs(error_px.mean(axis=0)).max() < 1e-2


def test_shrinking_averages_all_pixels() -> None:
    # Stripes of one pixel are gray from afar; sampling single pixels would show black or white.
    photo = np.zeros((1600, 1600, 3), np.uint8)
    photo[:, ::2] = 255
    scale = 0.16
    crop = crop_face(photo, np.array([[scale, 0, -16.3], [0, scale, -16.3]]))
    assert crop.std() < 8
    assert crop.mean() == pytest.approx(127.5, abs=1)


def test_one_pixel_keeps_its_weight_when_shrinking() -> None:
    photo = np.zeros((900, 900, 3), np.float32)
    photo[431, 517] = 1
    scale = 0.21
    crop = cut_square(photo, np.array([[scale, 0, 3.2], [0, scale, 5.7]]), 224)
    assert crop[..., 0].sum() == pytest.approx(scale**2, rel=0.02)
    rows, columns = np.nonzero(crop[..., 0])
    weights = crop[rows, columns, 0]
    center = np.average(np.stack([columns, rows], 1) + 0.5, axis=0, weights=weights)
    np.testing.assert_allclose(center, [517.5 * scale + 3.2, 431.5 * scale + 5.7], atol=0.3)


def test_the_identity_copies() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    crop = crop_face(photo, np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    np.testing.assert_array_equal(crop, photo)


def test_beyond_the_border_the_outermost_pixels_are_repeated() -> None:
    photo = np.full((300, 300, 3), 50, np.uint8)
    photo[:, 0] = [10, 20, 30]
    crop = crop_face(photo, np.array([[1.0, 0, 100], [0, 1.0, 0]]))
    assert (crop[:, :100] == [10, 20, 30]).all()
    assert (crop[:, 102:] == 50).all()


@pytest.mark.parametrize("scale", [1e-3, 0.3, 40.0])
@pytest.mark.parametrize("shift", [-1e5, 0.0, 1e5])
def test_a_crop_beside_the_photo_is_still_a_crop(scale: float, shift: float) -> None:
    photo = np.full((50, 60, 3), 9, np.uint8)
    crop = crop_face(photo, np.array([[scale, 0, shift], [0, scale, shift]]))
    assert crop.shape == (224, 224, 3)
    assert (crop == 9).all()


def test_the_photo_is_not_changed() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    photo.setflags(write=False)
    crop_face(photo, np.array([[0.5, 0, 0], [0, 0.5, 0]]))
