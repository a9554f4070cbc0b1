"""What a photo shows of lids, lips, teeth, and behind steps, on the shipped face."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.camera import CROP_SIZE, depth, pose_points, project
from facewright.models.morphable_model import (
    PART_EYEBALL,
    PART_SKIN,
    PART_TEETH,
    MorphableModel,
)
from facewright.models.rasterizer import interpolate, rasterize
from facewright.models.texture.baking import TextureBaker
from facewright.models.texture.rims import Rims, find_rims
from facewright.models.texture.views import TextureView
from facewright.models.texture.visibility import depth_buffer, safety

SIDE = 600
SKIN, WHITE = (140, 95, 70), (235, 235, 230)


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    return MorphableModel.load(asset_path(FACE_MODEL))


@pytest.fixture(scope="module")
def baker(face: MorphableModel) -> TextureBaker:
    return TextureBaker(face)


@pytest.fixture(scope="module")
def rims(face: MorphableModel) -> Rims:
    return find_rims(face)


def shoot(
    face: MorphableModel, vertices: NDArray[np.float32], colors: NDArray[np.float32]
) -> TextureView:
    """A frontal photo of a face with colors (V, 3), 0 to 255, of its vertices."""
    still = np.zeros((1, 3), np.float32)
    posed = pose_points(vertices[None], still, still)
    pixels = project(posed) * (SIDE / CROP_SIZE)
    points = np.concatenate([pixels, depth(posed)[..., None]], -1).astype(np.float32)
    fragments = rasterize(points, face.triangles, SIDE, SIDE)
    photo = interpolate(fragments, face.triangles, colors[None])[0]
    return TextureView(np.rint(photo).astype(np.uint8), posed[0], points[0])


def painted(face: MorphableModel, part: int, color: tuple[int, int, int]) -> NDArray[np.float32]:
    """(V, 3): one part in a color, and all else in the skin's."""
    return np.where((face.parts == part)[:, None], color, SKIN).astype(np.float32)


def at_vertices(
    face: MorphableModel, image: NDArray[np.uint8], vertices: NDArray[np.int32]
) -> NDArray[np.int_]:
    size = len(image)
    columns = np.clip((face.uv[vertices, 0] * size).astype(int), 0, size - 1)
    rows = np.clip(((1 - face.uv[vertices, 1]) * size).astype(int), 0, size - 1)
    return image[rows, columns].astype(int)


def test_rims_lead_from_the_skin_to_their_openings(face: MorphableModel, rims: Rims) -> None:
    assert set(rims.opening.tolist()) == {0, 1, 2}
    assert (face.parts[rims.vertices] == PART_SKIN).all()
    assert (np.diff(rims.distance) <= 0).all()
    assert rims.distance[-1] == 0
    x, y = face.mean_vertices[rims.vertices, :2].T
    assert (x[rims.opening == 0] < -10).all()
    assert (x[rims.opening == 1] > 10).all()
    assert y[rims.opening == 2].max() < y[rims.opening != 2].min()
    distance = np.full(face.n_vertices, np.inf, np.float32)
    distance[rims.vertices] = rims.distance
    ends = rims.outward == rims.vertices
    assert ends.mean() < 0.01
    assert (distance[rims.outward] > rims.distance)[~ends].all()


def test_a_face_without_parts_has_no_rims(face: MorphableModel) -> None:
    skin = dataclasses.replace(face, parts=np.zeros_like(face.parts))
    assert len(find_rims(skin).vertices) == 0


@pytest.mark.parametrize("shift", [(0.0, 1.5), (0.0, -1.5), (1.5, 0.0)])
def test_the_white_of_the_eye_is_not_painted_on_lids(
    face: MorphableModel, baker: TextureBaker, rims: Rims, shift: tuple[float, float]
) -> None:
    """The fit is off by as many pixels: half a millimeter."""
    view = shoot(face, face.mean_vertices, painted(face, PART_EYEBALL, WHITE))
    moved = view.points + np.array([*shift, 0], np.float32)
    off = dataclasses.replace(view, points=moved)
    albedo = painted(face, PART_EYEBALL, WHITE) / np.float32(255)
    texture = baker.bake([off], albedo, 1024).rgb_u8
    lids = rims.vertices[(rims.opening != 2) & (rims.distance > 0.2)]
    columns, rows = moved[lids, :2].astype(int).T
    halfway = (SKIN[2] + WHITE[2]) / 2
    white = (view.photo[rows, columns, 2] > halfway).sum()
    assert white > 400
    assert (at_vertices(face, texture, lids)[:, 2] > halfway).sum() < white / 3


def test_lids_that_are_seen_keep_their_color(
    face: MorphableModel, baker: TextureBaker, rims: Rims
) -> None:
    colors = painted(face, PART_EYEBALL, WHITE)
    lids = rims.vertices[(rims.opening != 2) & (rims.distance < 6.0)]
    colors[lids] = (20, 20, 25)  # a line of make-up
    texture = baker.bake([shoot(face, face.mean_vertices, colors)], colors / 255, 1024).rgb_u8
    middle = rims.vertices[(rims.opening != 2) & (rims.distance < 4.0)]
    assert np.median(at_vertices(face, texture, middle), axis=0).max() < 40


def test_teeth_are_colored_by_the_photo(face: MorphableModel, baker: TextureBaker) -> None:
    opened = face.expression_unit_coefficients[face.expression_units.index("jawOpen")]
    (vertices,) = face.shape(np.zeros((1, face.n_identity)), opened[None])
    green = painted(face, PART_TEETH, (60, 200, 60))
    gray = painted(face, PART_TEETH, (120, 120, 120)) / np.float32(255)
    view = shoot(face, vertices, green)
    texture = baker.bake([view], gray, 512).rgb_u8
    fragments = rasterize(view.points[None], face.triangles, SIDE, SIDE)
    seen = np.unique(face.triangles[np.unique(fragments.triangle_ids[fragments.triangle_ids >= 0])])
    teeth = seen[face.parts[seen] == PART_TEETH]
    assert len(teeth) > 50
    assert np.median(at_vertices(face, texture, teeth), axis=0) == pytest.approx(
        (60, 200, 60), abs=25
    )


def test_the_depth_buffer_is_the_rasterizer_s(face: MorphableModel) -> None:
    view = shoot(face, face.mean_vertices, painted(face, PART_EYEBALL, WHITE))
    places = np.ascontiguousarray(view.points * (0.4, 0.4, 1), np.float32)
    inside = (face.parts[face.triangles] == PART_EYEBALL).any(axis=1)
    triangles = np.array(face.triangles)
    found, within = depth_buffer(places, triangles, inside, (240, 240), 1.0)
    fragments = rasterize(places[None], face.triangles, 240, 240)
    expected, ids = fragments.depth[0], fragments.triangle_ids[0]
    both = np.isfinite(found) & np.isfinite(expected)
    assert both.mean() > 0.3
    assert (np.isfinite(found) == np.isfinite(expected)).mean() > 0.999
    assert np.quantile(np.abs(found[both] - expected[both]), 0.999) < 0.1
    assert inside[ids[both]].any()
    assert (within[both] == inside[ids[both]]).mean() > 0.999


def test_what_lies_nearer_than_the_camera_sees_is_left_out(face: MorphableModel) -> None:
    places = np.array([[0, 0, 0.5], [0, 8, 900], [8, 0, 900]], np.float32)
    triangle, inside = np.array([[0, 1, 2]], np.int32), np.ones(1, np.bool_)
    assert np.isinf(depth_buffer(places, triangle, inside, (8, 8), 1.0)[0]).all()
    places[0, 2] = 900
    assert np.isfinite(depth_buffer(places, triangle, inside, (8, 8), 1.0)[0]).any()


def test_a_step_cuts_back_what_is_behind_it_by_its_depth() -> None:
    def taken(step: float) -> NDArray[np.float32]:
        depth = np.full((41, 81), 1000, np.float32)
        depth[:, 40:] += step
        return safety(depth, np.zeros(depth.shape, np.bool_), 1.0)[20]

    small, middle, large = taken(6.0), taken(14.0), taken(40.0)
    np.testing.assert_array_equal(small, small[::-1])
    for row in (middle, large):
        np.testing.assert_array_equal(row[:40], small[:40])
    assert large[40:43].max() == 0
    assert (large[43:50] < 1).all()
    assert large[51] == 1
    assert (middle[42:46] > large[42:46]).all()
    assert middle[45] == 1
