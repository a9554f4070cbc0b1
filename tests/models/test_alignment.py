from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from facewright.models.alignment import FixedAlignment, crop_transform, fit_weak_perspective

# Eyes, nose tip, mouth corners of some face, in mm.
TEMPLATE = np.array([[-31.0, 32, 20], [31, 32, 20], [0, -4, 60], [-25, -40, 30], [25, -40, 30]])

scales = st.floats(0.05, 20)
shifts = hnp.arrays(np.float64, (2,), elements=st.floats(-5000, 5000))
noises = hnp.arrays(np.float64, (5, 2), elements=st.floats(-4, 4))
# Neither profile nor a view from above: both axes of the image keep some of the face.
turns = hnp.arrays(np.float64, (3,), elements=st.floats(-0.9, 0.9))
angles = st.floats(-3.1, 3.1)


def weak_perspective(
    scale: float, turn: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    turned = Rotation.from_euler("xyz", turn).apply(TEMPLATE)
    return scale * turned[:, :2] * [1, -1] + shift


def clockwise(angle: float) -> NDArray[np.float64]:
    """Turns pixels, whose y axis points down."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def apply(transform: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ transform[:, :2].T + transform[:, 2]


def released_fit(
    points: NDArray[np.float64], template: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The 10 x 8 system as it is written down, row by row, with y up as in that code."""
    rows, values = [], []
    for (u, v), (x, y, z) in zip(points, template, strict=True):
        rows += [[x, y, z, 1, 0, 0, 0, 0], [0, 0, 0, 0, x, y, z, 1]]
        values += [u, -v]
    a = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    scale = (np.linalg.norm(a[0:3]) + np.linalg.norm(a[4:7])) / 2
    return float(scale), np.array([a[3], -a[7]])


@given(scales, turns, shifts)
def test_a_weak_perspective_view_is_recovered_exactly(
    scale: float, turn: np.ndarray, shift: np.ndarray
) -> None:
    found = fit_weak_perspective(weak_perspective(scale, turn, shift), TEMPLATE)
    assert found.scale == pytest.approx(scale, rel=1e-7)
    np.testing.assert_allclose(found.origin, shift, atol=1e-5)


@given(st.floats(-1.57, 1.57), st.floats(-0.5, 0.5), angles)
def test_the_roll_is_the_turn_about_the_line_of_sight(
    yaw: float, pitch: float, roll: float
) -> None:
    # An axis in the image plane, up to full profile: such a view has no roll of its own.
    bent = Rotation.from_rotvec([pitch, yaw, 0.0])
    turned = (Rotation.from_rotvec([0, 0, -roll]) * bent).apply(TEMPLATE)
    found = fit_weak_perspective(3.0 * turned[:, :2] * [1, -1], TEMPLATE)
    assert found.roll == pytest.approx(roll, abs=1e-7)


@pytest.mark.parametrize("yaw", [-90, -60, 0, 60, 90])
def test_the_roll_does_not_jump_with_a_detectors_error(yaw: float) -> None:
    rng = np.random.default_rng(0)
    seen = Rotation.from_euler("y", yaw, degrees=True).apply(TEMPLATE)[:, :2] * [1, -1]
    noise = 0.05 * 62 * rng.standard_normal((500, 5, 2))
    rolls = [fit_weak_perspective(seen + off, TEMPLATE).roll for off in noise]
    assert np.degrees(np.abs(rolls)).max() < 15
    assert np.degrees(np.std(rolls)) < 5


@given(noises, turns, angles, shifts, scales)
def test_a_turned_photo_shows_the_same_crop(
    noise: np.ndarray, turn: np.ndarray, angle: float, shift: np.ndarray, zoom: float
) -> None:
    points = weak_perspective(2.0, turn, np.array([300.0, 200.0])) + noise
    moved = zoom * points @ clockwise(angle).T + shift
    np.testing.assert_allclose(
        apply(crop_transform(moved, TEMPLATE), moved),
        apply(crop_transform(points, TEMPLATE), points),
        atol=1e-3,
    )


@given(turns, angles, scales)
def test_more_points_of_the_same_face_give_the_same_crop(
    turn: np.ndarray, angle: float, scale: float
) -> None:
    more = np.concatenate([TEMPLATE, np.random.default_rng(1).normal(0, 40, (63, 3))])
    turned = Rotation.from_euler("xyz", turn).apply(more)
    points = scale * (turned[:, :2] * [1, -1]) @ clockwise(angle).T + [50.0, 80.0]
    np.testing.assert_allclose(
        crop_transform(points, more), crop_transform(points[:5], TEMPLATE), rtol=1e-6, atol=1e-5
    )


@given(noises, turns)
def test_it_is_the_released_least_squares(noise: np.ndarray, turn: np.ndarray) -> None:
    points = weak_perspective(2.0, turn, np.array([300.0, 200.0])) + noise
    found = fit_weak_perspective(points, TEMPLATE)
    # The released code leaves the face as it is turned: it is asked about the upright one.
    upright = points @ clockwise(-found.roll).T
    expected_scale, expected_position = released_fit(upright, TEMPLATE)
    assert found.scale == pytest.approx(expected_scale, rel=1e-9)
    np.testing.assert_allclose(
        found.origin @ clockwise(-found.roll).T, expected_position, rtol=1e-9, atol=1e-9
    )


@given(noises, shifts, scales)
def test_moving_and_scaling_the_photo_moves_and_scales_the_fit(
    noise: np.ndarray, shift: np.ndarray, zoom: float
) -> None:
    points = weak_perspective(2.0, np.array([0.1, -0.3, 0.2]), np.zeros(2)) + noise
    found = fit_weak_perspective(points, TEMPLATE)
    moved_fit = fit_weak_perspective(zoom * points + shift, TEMPLATE)
    assert moved_fit.scale == pytest.approx(zoom * found.scale, rel=1e-6)
    assert moved_fit.roll == pytest.approx(found.roll, abs=1e-6)
    np.testing.assert_allclose(moved_fit.origin, zoom * found.origin + shift, atol=1e-4)
    # So the crop shows the same pixels.
    crop = crop_transform(points, TEMPLATE)
    moved = crop_transform(zoom * points + shift, TEMPLATE)
    after = apply(moved, zoom * points + shift)
    np.testing.assert_allclose(after, apply(crop, points), atol=1e-3)


@given(scales, turns, shifts)
def test_the_crop_has_the_origin_in_its_center_and_102_px_per_100_mm(
    scale: float, turn: np.ndarray, shift: np.ndarray
) -> None:
    transform = crop_transform(weak_perspective(scale, turn, shift), TEMPLATE)
    assert transform.shape == (2, 3)
    assert transform.dtype == np.float64
    # A similarity that does not mirror.
    assert transform[0, 0] == transform[1, 1]
    assert transform[0, 1] == -transform[1, 0]
    assert np.hypot(*transform[0, :2]) == pytest.approx(1.02 / scale, rel=1e-6)
    np.testing.assert_allclose(transform @ [*shift, 1], [112, 112], atol=1e-3)


def test_golden_frontal_view() -> None:
    points = TEMPLATE[:, :2] * [2, -2] + [640, 360]
    np.testing.assert_allclose(
        crop_transform(points, TEMPLATE),
        [[0.51, 0, 112 - 0.51 * 640], [0, 0.51, 112 - 0.51 * 360]],
        atol=1e-9,
    )


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.zeros((5, 2)), "coincide"),
        (np.full((5, 2), 250.0), "coincide"),
        (np.arange(5.0)[:, None] * [3.0, 1.0] + 7.0, "line"),
        (np.arange(5.0)[:, None] * [1.0, 0.0], "line"),
        (np.full((5, 2), np.nan), "finite"),
        (np.zeros((4, 2)), "expected"),
        (np.zeros((5, 3)), "expected"),
    ],
)
def test_points_that_say_nothing_are_refused(points: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        crop_transform(points, TEMPLATE)


def test_a_flat_template_is_refused() -> None:
    with pytest.raises(ValueError, match="plane"):
        crop_transform(TEMPLATE[:, :2], TEMPLATE * [1, 1, 0])


def released_crop(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """(5, 2): where five points of a photo lie in the crop of the released code.

    Equations of its own, one row for every coordinate; y counts upwards.
    """
    rows, right = [], []
    for (u, v), (x, y, z) in zip(points, template, strict=True):
        rows += [[x, y, z, 1, 0, 0, 0, 0], [0, 0, 0, 0, x, y, z, 1]]
        right += [u, -v]
    found = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    scale = (np.linalg.norm(found[:3]) + np.linalg.norm(found[4:7])) / 2
    center = np.array([found[3], -found[7]])
    return (points - center) * (102 / (100 * scale)) + 112


@pytest.mark.parametrize("turn", [-38, -10, 0, 25, 38])
def test_the_released_alignment_keeps_the_roll(turn: float) -> None:
    rng = np.random.default_rng(abs(int(turn)))
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (TEMPLATE[:, :2] * [1, -1]) @ rotation.T * 3.3 + (410, 300) + rng.normal(0, 3, (5, 2))
    transform = FixedAlignment(TEMPLATE).crop_transform(points)
    assert transform[0, 0] == transform[1, 1] > 0
    assert transform[0, 1] == transform[1, 0] == 0
    crop = points @ transform[:, :2].T + transform[:, 2]
    np.testing.assert_allclose(crop, released_crop(points, TEMPLATE), atol=1e-6)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_the_released_alignment_undoes_quarter_turns(quarters: int) -> None:
    points = TEMPLATE[:, :2] * [2, -2] + np.random.default_rng(0).normal(0, 2, (5, 2))
    upright = FixedAlignment(TEMPLATE).crop_transform(points)
    turned = points @ np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), quarters)
    transform = FixedAlignment(TEMPLATE).crop_transform(turned)
    np.testing.assert_allclose(
        turned @ transform[:, :2].T + transform[:, 2],
        points @ upright[:, :2].T + upright[:, 2],
        atol=1e-6,
    )


def test_a_fixed_alignment_goes_through_text() -> None:
    again = FixedAlignment.from_text(FixedAlignment(TEMPLATE).to_text())
    np.testing.assert_array_equal(again.template, TEMPLATE)
    flat = FixedAlignment(TEMPLATE * [1, 1, 0])
    for text in ("", "[]", "3", '{"template_mm": [[1, 2, 3]], "roll": "kept"}', flat.to_text()):
        with pytest.raises(ValueError, match="no alignment"):
            FixedAlignment.from_text(text)
