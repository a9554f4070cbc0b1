"""What drawing a face changes in a photo, and what it leaves alone."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import facewright.service.pipeline.overlay as overlay
from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.camera import photo_camera, rotation_matrix
from facewright.models.morphable_model import PART_CAVITY, PART_EYEBALL, PART_SKIN, MorphableModel
from facewright.service.pipeline.overlay import draw_overlay, warm_up

SIDE = 9  # vertices along a side of the board


def board(half: float = 50.0, part: int = PART_SKIN) -> Any:
    """A square board facing the camera, of a face's size; its landmarks are spread over it."""
    y, x = np.mgrid[half : -half : SIDE * 1j, -half : half : SIDE * 1j]
    corner = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + SIDE, corner + 1], -1),
            np.stack([corner + 1, corner + SIDE, corner + SIDE + 1], -1),
        ]
    )
    return SimpleNamespace(
        vertices=np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(np.float32),
        triangles=triangles.astype(np.int32),
        landmarks=np.arange(68, dtype=np.int32) % (SIDE * SIDE),
        parts=np.full(SIDE * SIDE, part, np.uint8),
    )


@dataclass
class Placed:
    """The part of a reconstruction that drawing reads: a model at a place in the photo."""

    vertices: NDArray[np.float32]
    landmark_indices: NDArray[np.int32]
    intrinsics: NDArray[np.float64]
    rotation_matrix: NDArray[np.float64]
    translation_mm: NDArray[np.float64]

    def posed_vertices(self) -> NDArray[np.float32]:
        posed = self.vertices @ self.rotation_matrix.T + self.translation_mm
        return posed.astype(np.float32)

    def projected(self) -> NDArray[np.float32]:
        x, y, z = self.posed_vertices().T
        seen = np.stack([x, -y, 1000 - z], -1) @ self.intrinsics.T
        return np.concatenate([seen[:, :2] / seen[:, 2:], seen[:, 2:]], 1).astype(np.float32)

    @property
    def landmarks_px(self) -> NDArray[np.float32]:
        return self.projected()[self.landmark_indices, :2]


def place(
    model: Any,
    x: float,
    y: float,
    px_per_mm: float = 1.0,
    angles: tuple[float, float, float] = (0, 0, 0),
    z: float = 0.0,
) -> Any:
    zoom = 1.015 / px_per_mm
    crop = np.array([[zoom, 0, 112 - zoom * x], [0, zoom, 112 - zoom * y]])
    return Placed(
        model.vertices,
        model.landmarks,
        photo_camera(crop)[0],
        rotation_matrix(np.array([angles], np.float64))[0],
        np.array([0, 0, z], np.float64),
    )


def photo(height: int = 160, width: int = 200) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_draws_inside_of_the_face_only() -> None:
    rgb, model = photo(), board()
    before = rgb.copy()
    drawn = draw_overlay(rgb, model, [place(model, 100, 80)])
    np.testing.assert_array_equal(rgb, before)
    changed = (drawn != rgb).any(-1)
    expected = np.zeros_like(changed)
    expected[30:130, 50:150] = True  # 100 mm of 1 px each
    assert not changed[~expected].any()
    assert changed[expected].mean() > 0.99


def test_brightness_and_opacity_of_a_surface_facing_the_camera() -> None:
    rgb, model = photo(), board()
    facing = np.array([0, 0, 1], np.float32)
    key, fill = facing @ overlay._KEY, facing @ overlay._FILL
    level = (
        overlay._AMBIENT + overlay._KEY_STRENGTH * key + overlay._FILL_STRENGTH * fill
    ) * overlay._CLAY
    for opacity in (0.0, 0.3, 1.0):
        drawn = draw_overlay(rgb, model, [place(model, 100, 80)], opacity=opacity)
        inner = np.s_[32:128, 52:148]
        expected = rgb[inner] * (1 - opacity) + 255 * level * opacity
        np.testing.assert_allclose(drawn[inner], expected, atol=1.01)


def test_lights_are_unit_vectors() -> None:
    for light in (overlay._KEY, overlay._FILL):
        assert np.linalg.norm(light) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("part", [PART_CAVITY, PART_EYEBALL])
def test_eyes_and_mouth_stay_clearer_than_skin(part: int) -> None:
    rgb = np.zeros((160, 200, 3), np.uint8)
    skin, inside = (
        draw_overlay(rgb, model, [place(model, 100, 80)])[80, 100, 0]
        for model in (board(), board(part=part))
    )
    assert 0 < inside < skin / 2


def test_edges_are_antialiased() -> None:
    rgb, model = np.zeros((160, 200, 3), np.uint8), board()
    turned = place(model, 100.3, 80.2, angles=(0, 0, 0.3))
    drawn = draw_overlay(rgb, model, [turned], opacity=1.0)[..., 2].astype(float)
    full = drawn[80, 100]
    coverage = drawn / full
    # The sum of partial coverage is the area of the board.
    assert coverage.sum() == pytest.approx(100 * 100, rel=2e-3)
    edge = (coverage > 0.1) & (coverage < 0.9)
    assert 100 < edge.sum() < 800


def test_face_looks_the_same_wherever_the_photo_ends() -> None:
    model = board()
    small = np.full((160, 200, 3), 90, np.uint8)
    large = np.full((700, 900, 3), 90, np.uint8)
    angles = (0.2, 0.5, 0.1)
    alone = draw_overlay(small, model, [place(model, 100.25, 80.5, angles=angles)], landmarks=True)
    within = draw_overlay(
        large, model, [place(model, 500.25, 380.5, angles=angles)], landmarks=True
    )
    np.testing.assert_allclose(within[300:460, 400:600], alone, atol=1)


def test_face_across_the_border_is_cut_there() -> None:
    model = board()
    large, offset = np.full((300, 400, 3), 90, np.uint8), 100
    whole = draw_overlay(large, model, [place(model, 110, 95)])
    cut = draw_overlay(
        np.ascontiguousarray(large[offset:, offset:]),
        model,
        [place(model, 110 - offset, 95 - offset)],
    )
    assert (cut != 90).any()
    np.testing.assert_allclose(cut, whole[offset:, offset:], atol=1)


@pytest.mark.parametrize(("x", "y"), [(-300, 80), (100, 900), (1e6, 1e6)])
def test_face_outside_of_the_photo_changes_nothing(x: float, y: float) -> None:
    rgb, model = photo(), board()
    drawn = draw_overlay(rgb, model, [place(model, x, y)], landmarks=True)
    np.testing.assert_array_equal(drawn, rgb)


def test_face_behind_the_camera_or_not_finite_changes_nothing() -> None:
    rgb, model = photo(), board()
    behind = place(model, 100, 80, z=1500)
    broken = place(model, 100, 80)
    broken.vertices = np.full_like(model.vertices, np.nan)
    np.testing.assert_array_equal(draw_overlay(rgb, model, [behind, broken], landmarks=True), rgb)
    np.testing.assert_array_equal(draw_overlay(rgb, model, []), rgb)


def test_nearer_face_is_on_top_whatever_the_order() -> None:
    rgb, model = photo(), board()
    # The same face at four times the size stands at a quarter of the distance.
    near = place(model, 100, 80, px_per_mm=1.2, angles=(0, 0.8, 0))
    far = place(model, 100, 80, px_per_mm=0.6)
    one = draw_overlay(rgb, model, [near, far], opacity=1.0)
    other = draw_overlay(rgb, model, [far, near], opacity=1.0)
    alone = draw_overlay(rgb, model, [near], opacity=1.0)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one[60:100, 80:120], alone[60:100, 80:120])


def test_landmarks_are_drawn_where_they_are_seen_only() -> None:
    rgb = np.full((160, 200, 3), 90, np.uint8)
    model = board()
    shown = place(model, 100, 80)
    plain = draw_overlay(rgb, model, [shown])
    dotted = draw_overlay(rgb, model, [shown], landmarks=True)
    centers = np.floor(shown.landmarks_px).astype(int)
    inner = ((centers > (1, 1)) & (centers < (198, 158))).all(1)
    yellow = dotted[centers[inner, 1], centers[inner, 0]].astype(int)
    assert (yellow[:, 0] - yellow[:, 2] > 60).all()
    assert (dotted != plain).any(-1).mean() < 0.05

    # A second board 30 mm behind the first, which has the landmarks, is hidden by it.
    hidden = SimpleNamespace(
        vertices=np.concatenate([model.vertices, model.vertices * 0.9 - [0, 0, 30]]).astype("f4"),
        triangles=np.concatenate([model.triangles, model.triangles + SIDE * SIDE]),
        landmarks=model.landmarks + SIDE * SIDE,
        parts=np.concatenate([model.parts, model.parts]),
    )
    face: Any = hidden
    there = place(face, 100, 80)
    np.testing.assert_array_equal(
        draw_overlay(rgb, face, [there], landmarks=True), draw_overlay(rgb, face, [there])
    )


def test_shipped_face_shows_all_landmarks_from_the_front_and_half_from_the_side() -> None:
    try:
        model: Any = MorphableModel.load(asset_path(FACE_MODEL))
    except FileNotFoundError:
        pytest.skip("needs the shipped face model")
    mean = SimpleNamespace(vertices=model.mean_vertices, landmarks=model.landmarks)

    def dots(yaw: float) -> int:
        rgb = np.full((700, 700, 3), 90, np.uint8)
        face = place(mean, 350, 350, px_per_mm=2.5, angles=(0, yaw, 0))
        dotted = draw_overlay(rgb, model, [face], landmarks=True)
        centers = np.floor(face.landmarks_px).astype(int)
        seen = dotted[centers[:, 1], centers[:, 0]].astype(int)
        return int((seen[:, 0] - seen[:, 2] > 60).sum())

    assert dots(0.0) >= 66
    assert 25 <= dots(1.3) <= 50


def test_dots_grow_with_the_face() -> None:
    model = board()

    def dotted_area(px_per_mm: float) -> int:
        rgb = np.full((1000, 1000, 3), 90, np.uint8)
        shown = [place(model, 500, 500, px_per_mm=px_per_mm)]
        with_dots = draw_overlay(rgb, model, shown, landmarks=True)
        return int((with_dots != draw_overlay(rgb, model, shown)).any(-1).sum())

    assert dotted_area(8) > 3 * dotted_area(4) > 0


def test_a_huge_face_is_drawn_with_bounded_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = overlay.rasterize

    def recorded(points: Any, triangles: Any, height: int, width: int, **options: Any) -> Any:
        sizes.append(height * width)
        return real(points, triangles, height, width, **options)

    monkeypatch.setattr(overlay, "rasterize", recorded)
    model = board()
    rgb = np.full((3000, 4000, 3), 90, np.uint8)
    drawn = draw_overlay(rgb, model, [place(model, 2000, 1500, px_per_mm=25)])
    assert sizes[0] < 1.6e6
    changed = (drawn != 90).any(-1)
    assert changed[255:2745, 755:3245].all()
    assert not changed[:245].any()
    draw_overlay(rgb, model, [place(model, 2000, 1500)])
    assert sizes[1] <= 202 * 202


def test_kernels_are_warm_after_warm_up() -> None:
    warm_up()
    kernel: Any = overlay._blend
    before = len(kernel.signatures)
    assert before
    rgb, model = photo(), board()
    rgb.flags.writeable = False
    draw_overlay(np.asfortranarray(rgb), model, [place(model, 100, 80)], opacity=1)
    draw_overlay(rgb[:, ::-1], model, [place(model, 100, 80, px_per_mm=9)])
    assert len(kernel.signatures) == before


def test_refuses_other_arrays_and_opacities() -> None:
    model = board()
    wrong: Any
    for wrong in (photo()[..., 0], photo().astype(np.float32), np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(ValueError):
            draw_overlay(wrong, model, [])
    for opacity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError):
            draw_overlay(photo(), model, [], opacity=opacity)
