"""What must hold of the face model in models/assets."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.camera import CROP_SIZE, depth, project
from facewright.models.landmarks import MIRROR_ORDER
from facewright.models.morphable_model import (
    PART_CAVITY,
    PART_EYEBALL,
    PART_SKIN,
    PART_TEETH,
    PART_TONGUE,
    MorphableModel,
)
from facewright.models.normals import vertex_normals
from facewright.models.rasterizer import rasterize


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(asset_path(FACE_MODEL))


def unit(model: MorphableModel, *names: str) -> np.ndarray:
    """The mean face with named blendshapes fully on: (V, 3)."""
    rows = [model.expression_units.index(name) for name in names]
    coefficients = model.expression_unit_coefficients[rows].sum(axis=0, keepdims=True)
    return model.shape(np.zeros((1, model.n_identity)), coefficients)[0]


def triangle_part(model: MorphableModel) -> np.ndarray:
    """(T,) part; a triangle on the edge of a pocket belongs to the pocket."""
    return model.parts[model.triangles].max(axis=1)


def quality(model: MorphableModel, shapes: np.ndarray) -> tuple[np.ndarray, float]:
    """Triangles turned against their own surroundings, per shape, and the smallest area (mm2)."""
    corners = model.triangles.T
    a, b, c = (shapes[:, corner].astype(np.float64) for corner in corners)
    normal = np.cross(b - a, c - a)
    normals = vertex_normals(shapes, model.triangles)
    around = sum(normals[:, corner] for corner in corners)
    inverted = (np.einsum("ntc,ntc->nt", normal, around) < 0).sum(axis=1)
    return inverted, float(np.sqrt(np.einsum("ntc,ntc->nt", normal, normal).min()) / 2)


def sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares center and radius."""
    system = np.c_[2 * points, np.ones(len(points))]
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))


def eyeballs(model: MorphableModel) -> list[tuple[np.ndarray, float]]:
    mean = model.mean_vertices.astype(np.float64)
    ball = model.parts == PART_EYEBALL
    return [sphere(mean[ball & (side * mean[:, 0] > 0)]) for side in (-1, 1)]


def seen_from_front(model: MorphableModel, vertices: np.ndarray, scale: int = 4) -> np.ndarray:
    """(H, W) triangle ids of a frontal picture, -1 where there is none."""
    points = vertices[None].astype(np.float64)
    pixels = np.concatenate([project(points) * scale, depth(points)[..., None]], axis=2)
    side = CROP_SIZE * scale
    return rasterize(pixels, model.triangles, side, side).triangle_ids[0]


def test_it_has_the_paper_s_dimensions_and_a_small_file(model: MorphableModel) -> None:
    assert (model.n_identity, model.n_expression, model.n_albedo) == (80, 64, 80)
    assert 35_000 <= model.n_vertices <= 43_000
    assert asset_path(FACE_MODEL).stat().st_size <= 15 * 2**20
    assert model.metadata["licence"] == "CC0-1.0 AND MIT"
    assert model.metadata["units"] == "mm"


def test_it_names_the_action_units(model: MorphableModel) -> None:
    arkit = [name for name in model.expression_units if "/" not in name]
    assert len(arkit) == 51
    assert {"jawOpen", "eyeBlinkLeft", "mouthSmileRight", "browInnerUp"} <= set(arkit)
    assert "tongueOut" not in arkit
    assert sum(name.startswith("mpfb/") for name in model.expression_units) == 34


def test_the_axes_are_the_subject_s(model: MorphableModel) -> None:
    mean = model.mean_vertices
    marks = mean[model.landmarks]
    assert np.abs(mean.mean(axis=0)).max() < 1e-3
    assert marks[42:48, 0].min() > 10  # image-right eye: the subject's left, +x
    assert marks[36:42, 0].max() < -10
    assert marks[8, 1] < marks[57, 1] < marks[33, 1] < marks[27, 1] < marks[19, 1]
    assert marks[30, 2] > np.delete(marks[:, 2], [29, 30]).max()


def test_the_mean_is_symmetric(model: MorphableModel) -> None:
    everyone = np.arange(model.n_vertices)
    np.testing.assert_array_equal(model.mirror[model.mirror], everyone)
    reflected = model.mean_vertices[model.mirror] * [-1, 1, 1]
    assert np.abs(reflected - model.mean_vertices).max() < 0.05
    assert np.abs(model.mean_albedo[model.mirror] - model.mean_albedo).max() < 0.01
    face = model.parts <= PART_EYEBALL  # teeth and tongue are mirrored within their own places
    assert np.abs(model.uv[model.mirror] * [-1, 1] + [1, 0] - model.uv)[face].max() < 1e-5


def test_landmark_pairs_mirror_each_other(model: MorphableModel) -> None:
    np.testing.assert_array_equal(
        model.mirror[model.landmarks], model.landmarks[np.asarray(MIRROR_ORDER)]
    )
    assert len(np.unique(model.landmarks)) == 68
    assert (model.parts[model.landmarks] == PART_SKIN).all()


@pytest.mark.parametrize("basis", ["identity_basis", "expression_basis"])
def test_every_mode_is_symmetric_or_antisymmetric(model: MorphableModel, basis: str) -> None:
    dense = model.refine(getattr(model, basis))
    reflected = dense[:, model.mirror] * np.array([-1, 1, 1], np.float32)
    odd = np.abs(dense + reflected).max(axis=(1, 2))
    even = np.abs(dense - reflected).max(axis=(1, 2))
    assert np.minimum(odd, even).max() < 0.02


def test_every_part_is_made_of_manifold_surfaces(model: MorphableModel) -> None:
    triangles = model.triangles
    part = triangle_part(model)
    # Pieces, and boundaries, by part: two eyeballs, two rows of teeth, one tongue.
    for parts, pieces in (
        ((PART_SKIN, PART_CAVITY), 1),
        ((PART_EYEBALL,), 2),
        ((PART_TEETH,), 2),
        ((PART_TONGUE,), 1),
    ):
        chosen = triangles[np.isin(part, parts)]
        edges = np.concatenate([chosen[:, [0, 1]], chosen[:, [1, 2]], chosen[:, [2, 0]]])
        # Each directed edge once: manifold and consistently wound.
        assert len(np.unique(edges, axis=0)) == len(edges)
        used, index = np.unique(edges, return_inverse=True)
        index = index.reshape(-1, 2)
        graph = sp.coo_matrix((np.ones(len(index)), index.T), (len(used), len(used)))
        assert connected_components(graph, directed=False)[0] == pieces
        undirected, count = np.unique(np.sort(index, axis=1), axis=0, return_counts=True)
        rim = undirected[count == 1]
        loose = sp.coo_matrix((np.ones(len(rim)), rim.T), (len(used), len(used)))
        components, label = connected_components(loose, directed=False)
        assert len(np.unique(label[rim])) == pieces


def test_triangles_face_outwards(model: MorphableModel) -> None:
    mean = model.mean_vertices
    normals = vertex_normals(mean[None], model.triangles)[0]
    assert normals[model.landmarks[30], 2] > 0.8
    assert normals[model.landmarks[2], 0] < -0.5
    assert normals[model.landmarks[14], 0] > 0.5
    for center, _ in eyeballs(model):
        ball = (model.parts == PART_EYEBALL) & (np.sign(mean[:, 0]) == np.sign(center[0]))
        assert ((mean[ball] - center) * normals[ball]).sum(axis=1).min() > 0


def test_no_triangle_degenerates_or_turns_over_at_one_sigma(model: MorphableModel) -> None:
    neutral = np.zeros((8, model.n_expression))
    for sign in (-1, 1):
        for start in range(0, model.n_identity, 8):
            shapes = model.shape(sign * np.eye(model.n_identity)[start : start + 8], neutral)
            inverted, smallest = quality(model, shapes)
            assert inverted.max() == 0
            assert smallest > 1e-3


def test_hardly_any_triangle_turns_over_in_random_faces(model: MorphableModel) -> None:
    rng = np.random.default_rng(0)
    inverted = []
    for _ in range(6):
        identity = rng.normal(size=(8, model.n_identity))
        shapes = model.shape(identity, np.zeros((8, model.n_expression)))
        inverted += quality(model, shapes)[0].tolist()
    assert max(inverted) <= model.n_triangles / 5_000
    assert np.mean(np.array(inverted) > 0) < 0.2


def test_the_size_is_that_of_adults(model: MorphableModel) -> None:
    (right, right_radius), (left, left_radius) = eyeballs(model)
    assert 60 <= np.linalg.norm(left - right) <= 65
    assert right_radius == pytest.approx(12, abs=0.4)
    assert left_radius == pytest.approx(12, abs=0.4)
    marks = model.mean_vertices[model.landmarks].astype(np.float64)
    assert 49 <= np.linalg.norm(marks[48] - marks[54]) <= 55  # mouth width, ch-ch
    assert 105 <= np.linalg.norm(marks[27] - marks[8]) <= 119  # n-gn less some 6 mm
    assert 30 <= marks[30, 2] - marks[[48, 54], 2].mean() <= 38  # nose tip before mouth corners
    assert 13 <= marks[51, 2] - marks[[48, 54], 2].mean() <= 23  # lips curve around the teeth


def test_unit_coefficients_spread_as_published(model: MorphableModel) -> None:
    rng = np.random.default_rng(1)
    modes = model.refine(model.identity_basis)[:, model.landmarks]
    mean = model.mean_vertices[model.landmarks]
    marks = mean + np.tensordot(rng.normal(size=(2000, 80)), modes, 1)

    def spread(a: int, b: int) -> float:
        return float(np.linalg.norm(marks[:, a] - marks[:, b], axis=1).std())

    # Farkas' norms, pooled over sexes and populations: ch-ch 4.0, ex-ex 5.0, n-sn 3.9 mm.
    assert 3.2 <= spread(48, 54) <= 4.8
    assert 4.0 <= spread(36, 45) <= 6.0
    assert 2.5 <= spread(27, 33) <= 4.7
    energy = (model.identity_basis.astype(np.float64) ** 2).sum(axis=(1, 2))
    assert energy[0] > 5 * energy[20] > 5 * energy[60]


def test_an_open_mouth_shows_its_inside_and_no_hole(model: MorphableModel) -> None:
    face = unit(model, "jawOpen")
    seen = seen_from_front(model, face)
    lips = project(face[None, model.landmarks[60:68]].astype(np.float64))[0] * 4
    mouth = np.zeros(seen.shape, np.uint8)
    cv2.fillPoly(mouth, [np.round(lips).astype(np.int32)], 1)
    opening = seen[mouth > 0]
    assert len(opening) > 5_000
    assert (opening >= 0).all()
    shares = [np.mean(triangle_part(model)[opening] == part) for part in range(5)]
    assert shares[PART_CAVITY] > 0.2
    assert shares[PART_TEETH] > 0.02
    assert shares[PART_TONGUE] > 0.05
    cavity = model.mean_albedo[(model.parts == PART_CAVITY) & (model.mean_vertices[:, 1] < 0)]
    assert cavity.mean() < 0.3


def test_eyes_show_between_the_lids_and_hide_behind_them(model: MorphableModel) -> None:
    part = triangle_part(model)
    for face, wanted in (
        (model.mean_vertices, True),
        (unit(model, "eyeBlinkLeft", "eyeBlinkRight"), False),
    ):
        seen = seen_from_front(model, face)
        visible = (part[seen[seen >= 0]] == PART_EYEBALL).sum()
        assert visible > 4_000 if wanted else visible < 40


def test_named_units_do_what_they_say(model: MorphableModel) -> None:
    mean, marks = model.mean_vertices, model.landmarks
    assert (unit(model, "jawOpen") - mean)[marks[8], 1] < -15
    smile = (unit(model, "mouthSmileLeft") - mean)[marks]
    assert smile[54, 1] > 5 > 2 > abs(smile[48, 1])
    blink = (unit(model, "eyeBlinkRight") - mean)[marks]
    assert blink[[37, 38], 1].max() < -4
    assert np.abs(blink[43:45]).max() < 0.5


def test_texture_coordinates_do_not_overlap(model: MorphableModel) -> None:
    a, b, c = (model.uv[model.triangles[:, k]].astype(np.float64) for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area > 0).all()
    # One-to-one: triangles fill what they span, no more.
    assert area.sum() / 2 == pytest.approx(
        np.pi * (0.495**2 + 3 * 0.075**2 + 2 * 0.04**2), rel=0.02
    )


def test_the_skin_region_is_plain_skin(model: MorphableModel) -> None:
    assert (model.parts[model.skin_region] == PART_SKIN).all()
    assert not model.skin_region[model.landmarks[17:27]].any()  # brows
    assert not model.skin_region[model.landmarks[36:]].any()  # eyes and lips
    assert model.skin_region[model.landmarks[28:31]].all()
    np.testing.assert_array_equal(model.skin_region[model.mirror], model.skin_region)
    assert 0.15 < model.skin_region[model.parts == PART_SKIN].mean() < 0.6


def test_random_albedos_are_colors_of_skin(model: MorphableModel) -> None:
    rng = np.random.default_rng(2)
    albedos = model.albedo(rng.normal(size=(20, model.n_albedo)))
    tone = albedos[:, model.skin_region].mean(axis=1)
    assert (tone[:, 0] > tone[:, 1]).all()
    assert (tone[:, 1] > tone[:, 2]).mean() > 0.9
    assert tone[:, 0].std() > 0.04
