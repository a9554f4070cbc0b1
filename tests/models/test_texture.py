"""Baking textures, against faces whose texture is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facewright.models.camera import CROP_SIZE, depth, pose_points, project
from facewright.models.landmarks import LANDMARK_COUNT
from facewright.models.morphable_model import PART_EYEBALL, PART_SKIN, MorphableModel
from facewright.models.rasterizer import interpolate, rasterize
from facewright.models.texture.agreement import agree
from facewright.models.texture.atlas import build_atlas
from facewright.models.texture.baking import TEXTURE_SIZES, BakedTexture, TextureBaker
from facewright.models.texture.grids import GRID, continue_smoothly
from facewright.models.texture.views import TextureView
from tests.face_models import face_model, grid_triangles
from tests.models.conftest import ellipsoid

SIZE = 256
GREEN = (0, 255, 0)
ALBEDO = (0.55, 0.42, 0.36)


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    """A face of skin only, with a vertex every 2.5 mm."""
    columns, rows = 57, 73
    count = columns * rows
    index = np.arange(count).reshape(rows, columns)
    u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(1, 0, rows))
    return face_model(
        ellipsoid(columns, rows),
        grid_triangles(rows, columns),
        np.zeros(LANDMARK_COUNT, np.int32),
        identity=np.zeros((80, count, 3)),
        expression=np.zeros((64, count, 3)),
        albedo=np.zeros((80, count, 3)),
        mirror=index[:, ::-1].reshape(-1),
        uv=np.stack([u, v], axis=-1).reshape(-1, 2),
    )


@pytest.fixture(scope="module")
def baker(face: MorphableModel) -> TextureBaker:
    return TextureBaker(face)


def albedo_of(face: MorphableModel) -> NDArray[np.float32]:
    return np.full((face.n_vertices, 3), ALBEDO, np.float32)


def places() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The u and v of a texture's texels."""
    centers = (np.arange(SIZE) + 0.5) / SIZE
    return np.meshgrid(centers, 1 - centers)


def uneven(seed: int = 0) -> NDArray[np.uint8]:
    """A texture that is nowhere the same, in skin's range."""
    noise = np.random.default_rng(seed).normal(size=(SIZE, SIZE, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.clip(150 + 35 * smooth / smooth.std(), 60, 240).astype(np.uint8)


def shoot(
    face: MorphableModel,
    texture: NDArray[np.uint8],
    yaw: float = 0.0,
    pitch: float = 0.0,
    side: int = 500,
    exposure: float = 1.0,
    weight: float = 1.0,
) -> TextureView:
    """A photo of the face with a texture, before a green wall."""
    angles = np.radians([[pitch, yaw, 0.0]]).astype(np.float32)
    posed = pose_points(face.mean_vertices[None], angles, np.zeros((1, 3), np.float32))
    pixels = project(posed) * (side / CROP_SIZE)
    points = np.concatenate([pixels, depth(posed)[..., None]], -1).astype(np.float32)
    fragments = rasterize(points, face.triangles, side, side)
    uv = interpolate(fragments, face.triangles, face.uv[None])[0]
    photo = cv2.remap(
        texture,
        uv[..., 0] * len(texture) - 0.5,
        (1 - uv[..., 1]) * len(texture) - 0.5,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    photo = np.clip(np.rint(photo * exposure), 0, 255).astype(np.uint8)
    photo[fragments.triangle_ids[0] < 0] = GREEN
    return TextureView(photo, posed[0], points[0], weight)


def psnr(baked: NDArray[np.uint8], truth: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    difference = baked[where].astype(float) - truth[where]
    return float(10 * np.log10(255**2 / (difference**2).mean()))


def bake(
    baker: TextureBaker, face: MorphableModel, views: Sequence[TextureView], size: int = SIZE
) -> BakedTexture:
    return baker.bake(views, albedo_of(face), size)


def test_what_the_photo_shows_is_in_the_texture(baker: TextureBaker, face: MorphableModel) -> None:
    truth = uneven()
    baked = bake(baker, face, [shoot(face, truth)])
    seen = baked.coverage > 0.95
    assert seen.mean() > 0.5
    assert psnr(baked.rgb_u8, truth, seen) > 38


@pytest.mark.parametrize("yaw", [-40.0, 40.0])
def test_the_side_that_is_turned_away_is_not_covered(
    baker: TextureBaker, face: MorphableModel, yaw: float
) -> None:
    baked = bake(baker, face, [shoot(face, uneven(), yaw)])
    # Yaw turns to the subject's left, which is where u is large: the other half comes to view.
    u, _ = places()
    shown, hidden = (u < 0.5, u > 0.5) if yaw > 0 else (u > 0.5, u < 0.5)
    assert baked.coverage[shown].mean() > 1.3 * baked.coverage[hidden].mean()


def test_two_views_are_better_than_one(baker: TextureBaker, face: MorphableModel) -> None:
    truth = uneven()
    views = [shoot(face, truth, yaw) for yaw in (-35.0, 35.0)]
    everywhere = np.ones((SIZE, SIZE), np.bool_)
    single = [bake(baker, face, [view]) for view in views]
    both = bake(baker, face, views)
    assert both.coverage.mean() > 1.1 * max(one.coverage.mean() for one in single)
    best = max(psnr(one.rgb_u8, truth, everywhere) for one in single)
    assert psnr(both.rgb_u8, truth, everywhere) > best + 2
    assert psnr(both.rgb_u8, truth, both.coverage > 0.95) > 33


@settings(max_examples=12, deadline=None)
@given(
    yaw=st.floats(-70, 70),
    pitch=st.floats(-25, 25),
    color=st.tuples(st.integers(60, 230), st.integers(50, 200), st.integers(40, 180)),
)
def test_a_face_of_one_color_has_a_texture_of_that_color(
    baker: TextureBaker,
    face: MorphableModel,
    yaw: float,
    pitch: float,
    color: tuple[int, int, int],
) -> None:
    """No background at the outline, no seam to what is filled in, and nothing left out."""
    plain = np.full((SIZE, SIZE, 3), color, np.uint8)
    baked = bake(baker, face, [shoot(face, plain, yaw, pitch)])
    assert np.abs(baked.rgb_u8.astype(int) - color).max() <= 6


def test_what_is_not_seen_comes_from_the_other_half(
    baker: TextureBaker, face: MorphableModel
) -> None:
    truth = uneven()
    truth[:, SIZE // 2 :] = truth[:, : SIZE // 2][:, ::-1]
    baked = bake(baker, face, [shoot(face, truth, 45.0)])
    u, _ = places()
    filled = (u > 0.5) & (baked.coverage == 0) & (baked.coverage[:, ::-1] > 0.95)
    assert filled.mean() > 0.05
    assert psnr(baked.rgb_u8, truth, filled) > 28


def test_light_that_differs_between_the_halves_leaves_no_seam(
    baker: TextureBaker, face: MorphableModel
) -> None:
    u, _ = places()
    lit = (120 + 80 * u)[..., None] * (1.0, 0.8, 0.7)
    baked = bake(baker, face, [shoot(face, lit.astype(np.uint8), 45.0)]).rgb_u8.astype(int)
    steps = np.abs(np.diff(baked, axis=1)).max(axis=2)
    assert np.percentile(steps, 99.9) <= 3
    # Pixels at the edge of the nose hold some of the cheek behind it.
    assert steps.max() <= 15


def test_the_nose_is_not_painted_on_the_cheek_behind_it(
    baker: TextureBaker, face: MorphableModel
) -> None:
    u, v = places()
    nose = np.hypot((u - 0.5) / 0.14, (v - 0.45) / 0.22) < 1
    truth = np.full((SIZE, SIZE, 3), 128, np.uint8)
    truth[nose] = (255, 0, 0)
    view = shoot(face, truth, -55.0)
    inside = np.hypot((u - 0.5) / 0.11, (v - 0.45) / 0.19) < 1
    hidden = (u < 0.5) & (np.hypot((u - 0.5) / 0.18, (v - 0.45) / 0.26) > 1)
    baked = bake(baker, face, [view])
    redness = baked.rgb_u8[..., 0].astype(int) - baked.rgb_u8[..., 1]
    assert np.percentile(redness[inside & (baked.coverage > 0.9)], 5) > 200
    assert redness[hidden & (baked.coverage > 0)].max() < 20
    # The same photo with a depth that hides nothing does paint it there: the test can fail.
    flat = view.points.copy()
    flat[:, 2] = 1000.0
    careless = bake(baker, face, [dataclasses.replace(view, points=flat)])
    redness = careless.rgb_u8[..., 0].astype(int) - careless.rgb_u8[..., 1]
    assert redness[hidden & (careless.coverage > 0)].max() > 100


@pytest.mark.parametrize("weights", [[], [0.0], [0.0, 0.0]])
def test_without_a_view_the_texture_is_the_albedo(
    baker: TextureBaker, face: MorphableModel, weights: list[float]
) -> None:
    u, v = places()
    albedo = np.stack([face.uv[:, 0], face.uv[:, 1], 1 - face.uv[:, 0]], -1).astype(np.float32)
    views = [shoot(face, uneven(), weight=weight) for weight in weights]
    baked = baker.bake(views, albedo, SIZE)
    expected = 255 * np.stack([u, v, 1 - u], -1)
    assert np.abs(baked.rgb_u8 - expected).max() < 1.5
    assert not baked.coverage.any()


def test_a_face_outside_of_its_photo_gives_the_albedo(
    baker: TextureBaker, face: MorphableModel
) -> None:
    view = shoot(face, uneven())
    for moved in (view.points + (5000, 0, 0), view.points * (1, 1, -1)):
        baked = bake(baker, face, [dataclasses.replace(view, points=moved.astype(np.float32))])
        assert not baked.coverage.any()
        assert np.abs(baked.rgb_u8 - 255 * np.array(ALBEDO)).max() < 1


def test_a_face_half_outside_is_taken_as_far_as_it_goes(
    baker: TextureBaker, face: MorphableModel
) -> None:
    truth = uneven()
    view = shoot(face, truth)
    left = dataclasses.replace(view, photo=view.photo[:, :250].copy())
    baked = bake(baker, face, [left])
    u, _ = places()
    assert baked.coverage[u > 0.55].max() == 0
    seen = baked.coverage > 0.95
    assert seen[u < 0.45].mean() > 0.4
    assert psnr(baked.rgb_u8, truth, seen) > 38


def test_the_order_of_views_makes_no_difference(baker: TextureBaker, face: MorphableModel) -> None:
    truth = uneven()
    views = [
        shoot(face, truth, yaw, exposure=exposure, weight=weight)
        for yaw, exposure, weight in ((-30.0, 1.0, 1.0), (5.0, 0.8, 0.5), (35.0, 0.9, 2.0))
    ]
    first = bake(baker, face, views)
    for order in ((2, 1, 0), (1, 2, 0)):
        again = bake(baker, face, [views[i] for i in order])
        assert np.abs(first.rgb_u8.astype(int) - again.rgb_u8).max() <= 1
        np.testing.assert_allclose(first.coverage, again.coverage, atol=1e-6)


def test_views_of_different_exposure_join_without_a_step(
    baker: TextureBaker, face: MorphableModel
) -> None:
    plain = np.full((SIZE, SIZE, 3), (190, 150, 130), np.uint8)
    views = [shoot(face, plain, -35.0), shoot(face, plain, 35.0, exposure=0.6)]
    baked = bake(baker, face, views).rgb_u8.astype(int)
    assert np.ptp(baked.reshape(-1, 3), axis=0).max() <= 8
    # Between the two, not one of them.
    assert 0.6 * 190 + 10 < baked[..., 0].mean() < 190 - 10


def test_who_stands_alone_is_outvoted(baker: TextureBaker, face: MorphableModel) -> None:
    truth = uneven()
    views = [shoot(face, truth, yaw) for yaw in (-8.0, 0.0, 8.0)]
    u, v = places()
    cheek = (np.abs(u - 0.3) < 0.07) & (np.abs(v - 0.35) < 0.07)
    hand = truth.copy()
    hand[cheek] = (30, 60, 140)
    covered = shoot(face, hand, 0.0)
    clean = bake(baker, face, views)
    outvoted = bake(baker, face, [views[0], covered, views[2]])
    alone = bake(baker, face, [covered])
    assert psnr(alone.rgb_u8, truth, cheek) < 12
    assert psnr(outvoted.rgb_u8, truth, cheek) > 24
    assert psnr(clean.rgb_u8, truth, cheek) > 33


def test_weights_decide_between_views(baker: TextureBaker, face: MorphableModel) -> None:
    views = {
        name: shoot(face, np.full((SIZE, SIZE, 3), color, np.uint8))
        for name, color in (("red", (180, 120, 110)), ("blue", (150, 120, 140)))
    }

    def redness(red: float, blue: float) -> float:
        weighted = [
            dataclasses.replace(views["red"], weight=red),
            dataclasses.replace(views["blue"], weight=blue),
        ]
        return float(bake(baker, face, weighted).rgb_u8[..., 0].mean())

    assert redness(1.0, 0.0) == pytest.approx(180, abs=1)
    assert redness(0.0, 1.0) == pytest.approx(150, abs=1)
    assert 150 < redness(1.0, 4.0) < redness(1.0, 1.0) < redness(4.0, 1.0) < 180


@pytest.mark.parametrize("size", TEXTURE_SIZES)
def test_sizes(baker: TextureBaker, face: MorphableModel, size: int) -> None:
    truth = uneven()
    baked = bake(baker, face, [shoot(face, truth)], size)
    assert baked.rgb_u8.shape == (size, size, 3)
    assert baked.coverage.shape == (size, size)
    small = cv2.resize(baked.rgb_u8, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    assert psnr(small, truth, bake(baker, face, [shoot(face, truth)]).coverage > 0.95) > 35


@pytest.mark.parametrize("side", [60, 1800])
def test_photos_far_from_the_texture_in_size(
    baker: TextureBaker, face: MorphableModel, side: int
) -> None:
    """Few pixels are spread smoothly, and many are averaged instead of picked."""
    stripes = np.full((2048, 2048, 3), 60, np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 200
    view = shoot(face, stripes if side > 1000 else uneven(), side=side)
    baked = bake(baker, face, [view])
    seen = baked.coverage > 0.95
    if side > 1000:
        assert baked.rgb_u8[seen].astype(float).std() < 12
    else:
        assert psnr(baked.rgb_u8, uneven(), seen) > 22


def test_eyeballs_are_filled_from_eyeballs(face: MorphableModel) -> None:
    """What tints the skin beside them in the texture is not theirs."""
    u, v = face.uv.T
    eye = (u > 0.6) & (v < 0.3)
    parts = np.where(eye, PART_EYEBALL, PART_SKIN).astype(np.uint8)
    albedo = np.where(eye[:, None], 0.9, 0.5).repeat(3, axis=1).astype(np.float32)
    two = dataclasses.replace(face, parts=parts)
    u, v = places()
    truth = np.full((SIZE, SIZE, 3), (160, 90, 60), np.uint8)
    truth[(u > 0.6) & (v < 0.3)] = 220
    # The lower part of the photo is missing, but for the upper part of the eye.
    view = shoot(two, truth)
    cut = dataclasses.replace(view, photo=view.photo[:330].copy())
    baked = TextureBaker(two).bake([cut], albedo, SIZE)
    bottom = baked.rgb_u8[-20:]
    assert baked.coverage[-20:].max() == 0
    assert np.abs(bottom[:, 180:240].astype(int) - 220).max() < 12
    assert np.abs(bottom[:, 20:120].astype(int) - (160, 90, 60)).max() < 12


def test_beyond_the_islands_is_the_nearest_color(face: MorphableModel) -> None:
    middle = (0.25 + 0.5 * face.uv).astype(np.float32)
    island = dataclasses.replace(face, uv=middle)
    albedo = np.stack([face.uv[:, 0], face.uv[:, 1], 0 * face.uv[:, 0]], -1).astype(np.float32)
    baked = TextureBaker(island).bake([], albedo, 256).rgb_u8.astype(int)
    assert np.abs(baked[:64, 64:192] - baked[64, 64:192]).max() == 0
    assert np.abs(baked[100, :64] - baked[100, 64]).max() == 0
    assert np.abs(baked[:60, :60] - baked[64, 64]).max() == 0


def test_the_atlas_knows_the_mirror_position(face: MorphableModel) -> None:
    atlas = build_atlas(face, 256)
    expected = np.arange(256 * 256).reshape(256, 256)[:, ::-1].ravel()
    np.testing.assert_array_equal(atlas.mirror, expected[atlas.places @ [256, 1]])
    assert atlas.padding.shape == (2, 0)


def test_uv_without_area_is_refused(face: MorphableModel) -> None:
    nowhere = dataclasses.replace(face, uv=np.zeros_like(face.uv))
    with pytest.raises(ValueError, match="cover no texel"):
        TextureBaker(nowhere).bake([], albedo_of(face), 256)


@pytest.mark.parametrize("size", [0, 100, 128, 4096])
def test_other_sizes_are_refused(baker: TextureBaker, face: MorphableModel, size: int) -> None:
    with pytest.raises(ValueError, match="size"):
        bake(baker, face, [], size)


def test_views_of_another_mesh_are_refused(baker: TextureBaker, face: MorphableModel) -> None:
    view = shoot(face, uneven())
    other = dataclasses.replace(view, posed=view.posed[:-1], points=view.points[:-1])
    with pytest.raises(ValueError, match="points"):
        bake(baker, face, [other])
    with pytest.raises(ValueError, match="albedo"):
        baker.bake([view], albedo_of(face)[:-1], SIZE)


@pytest.mark.parametrize(
    "change",
    [
        {"photo": np.zeros((4, 4), np.uint8)},
        {"photo": np.zeros((4, 4, 3), np.float32)},
        {"photo": np.zeros((0, 4, 3), np.uint8)},
        {"posed": np.zeros((3, 2), np.float32)},
        {"points": np.zeros((2, 3), np.float32)},
        {"points": np.full((3, 3), np.nan, np.float32)},
        {"posed": np.full((3, 3), np.inf, np.float32)},
        {"weight": -1.0},
        {"weight": float("nan")},
    ],
)
def test_a_view_must_be_sound(change: dict[str, object]) -> None:
    good = TextureView(
        np.zeros((4, 4, 3), np.uint8), np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32)
    )
    with pytest.raises(ValueError):
        dataclasses.replace(good, **change)  # type: ignore[arg-type]


def test_agreement_keeps_to_the_type_that_kernels_are_compiled_for() -> None:
    rng = np.random.default_rng(0)
    colors = rng.normal(5, 0.1, (3, GRID, GRID, 3)).astype(np.float32)
    weights = rng.random((3, GRID, GRID), dtype=np.float32)
    trust, factors = agree(colors, weights, weights)
    assert trust.dtype == factors.dtype == np.float32
    assert trust.shape == (3, GRID, GRID)
    assert factors.shape == (3, GRID, GRID, 3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.9))
def test_a_field_goes_on_between_what_holds_it(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, (GRID, GRID, 2)).astype(np.float32)
    weights = (rng.random((GRID, GRID)) < share).astype(np.float32)
    field = continue_smoothly(values, weights)
    held = values[weights > 0]
    if len(held):
        assert (field >= held.min(axis=0) - 1e-4).all()
        assert (field <= held.max(axis=0) + 1e-4).all()
    constant = continue_smoothly(np.full_like(values, 0.3), weights)
    assert np.abs(constant - (0.3 if len(held) else 0.0)).max() < 1e-4


def test_a_field_without_anything_known_is_zero() -> None:
    nothing = np.zeros((GRID, GRID), np.float32)
    assert not continue_smoothly(np.ones((GRID, GRID, 3), np.float32), nothing).any()
