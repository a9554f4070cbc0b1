"""The shipped head: its file, its face, its parts and what its blendshapes move."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from facewright.models.assets import FACE_MODEL, HEAD_RIG, asset_path
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.head_rig import (
    COLOR_ANCHORS,
    DETAILS,
    JOINTS,
    PARTS,
    ForeignHeadRig,
    HeadRig,
    HeadRigFileError,
)
from facewright.models.morphable_model import PART_SKIN, MorphableModel


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(asset_path(FACE_MODEL))


@pytest.fixture(scope="module")
def rig(model: MorphableModel) -> HeadRig:
    return HeadRig.load(asset_path(HEAD_RIG), model)


def posed(
    model: MorphableModel, rig: HeadRig, identity: np.ndarray, expression: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The face's vertices and the head's."""
    cage = model.cage(identity[None], expression[None])
    head = rig.cage(cage[0], identity.astype(np.float32), expression.astype(np.float32))
    return model.refine(cage)[0], rig.subdivision.refine(head[None])[0]


@pytest.fixture(scope="module")
def mean(model: MorphableModel, rig: HeadRig) -> np.ndarray:
    return posed(model, rig, np.zeros(80), np.zeros(64))[1]


@pytest.mark.parametrize("seed", range(3))
def test_the_heads_face_is_the_face_mesh(model: MorphableModel, rig: HeadRig, seed: int) -> None:
    rng = np.random.default_rng(seed)
    face, head = posed(model, rig, rng.normal(size=80), rng.normal(size=64))
    same = rig.face_vertices >= 0
    off = np.linalg.norm(head[same] - face[rig.face_vertices[same]], axis=1)
    assert off.max() < 0.001
    # All but the face's cut outline and the eyeballs' equators.
    assert len(np.unique(rig.face_vertices[same])) > 0.98 * len(face)


def test_the_file_is_small() -> None:
    assert asset_path(HEAD_RIG).stat().st_size < 12 * 2**20


def test_levels_share_their_points(rig: HeadRig, mean: np.ndarray) -> None:
    sizes = [rig.level(detail).n_vertices for detail in DETAILS]
    assert sizes == sorted(sizes)
    for detail in DETAILS:
        level = rig.level(detail)
        cage = np.zeros((1, len(rig.face_rows), 3), np.float32)
        cage[0] = np.random.default_rng(0).normal(size=cage[0].shape)
        points = level.subdivision.refine(cage)[0]
        assert np.array_equal(points, rig.subdivision.refine(cage)[0][: level.n_vertices])
    faces = [len(rig.face_triangles["low"]), len(rig.face_triangles["medium"])]
    assert 4000 < faces[0] < 6000
    assert 18000 < faces[1] < 23000


@pytest.mark.parametrize("detail", ["low", "medium"])
def test_a_coarser_face_keeps_the_surface(model: MorphableModel, rig: HeadRig, detail: str) -> None:
    """No holes, no triangle turned over, the same outline and nearly the same area."""
    triangles = rig.face_triangles[detail]  # type: ignore[index]
    points = model.mean_vertices.astype(np.float64)

    def directed(faces: np.ndarray) -> set[tuple[int, int]]:
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        return set(map(tuple, edges.tolist()))

    edges = directed(triangles)
    assert len(edges) == 3 * len(triangles)
    outline = {a for a, b in edges if (b, a) not in edges}
    fine = directed(model.triangles)
    fine_outline = {a for a, b in fine if (b, a) not in fine}
    assert outline <= fine_outline
    skin = (model.parts[triangles] == PART_SKIN).all(axis=1)
    full = (model.parts[model.triangles] == PART_SKIN).all(axis=1)

    def area(faces: np.ndarray) -> float:
        a, b, c = (points[faces[:, k]] for k in range(3))
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)

    assert area(triangles[skin]) == pytest.approx(area(model.triangles[full]), rel=0.03)


def test_every_part_is_there(rig: HeadRig, mean: np.ndarray) -> None:
    for detail in DETAILS:
        for part in PARTS:
            assert len(rig.level(detail).part(part)) > 80, (detail, part)
    height = {part: mean[rig.level("high").part(part), 1].mean() for part in PARTS}
    assert height["left_eye"] > height["upper_teeth"] > height["lower_teeth"]
    assert mean[rig.level("high").part("left_eye"), 0].min() > 0
    # From the base of the neck to the crown.
    assert 250 < np.ptp(mean[:, 1]) < 320


def test_lashes_stand_on_the_lids_and_go_down_with_them(
    rig: HeadRig, mean: np.ndarray, model: MorphableModel
) -> None:
    level = rig.level("high")
    lashes, skin = np.unique(level.part("lashes")), np.unique(level.part("skin"))
    left = lashes[mean[lashes, 0] > 0]
    assert len(left) == len(lashes) / 2
    away = cKDTree(mean[skin]).query(mean[left])[0]
    assert (away < 0.5).mean() > 0.3
    assert 3 < away.max() < 9
    upper = left[: len(left) * 46 // 72]
    assert mean[upper, 1].mean() > mean[left, 1].mean()
    blink = rig.targets[ARKIT_BLENDSHAPES.index("eyeBlinkLeft")]
    shut = mean + rig.subdivision.refine(blink[None])[0]
    assert (mean - shut)[upper, 1].min() > 0.2
    assert (mean - shut)[upper, 1].max() > 10
    # They keep their length, and stay before the eyeball.
    hairs = upper.reshape(-1, 5)
    long = [np.linalg.norm(p[hairs[:, 4]] - p[hairs[:, 0]], axis=1) for p in (mean, shut)]
    assert np.abs(long[1] / long[0] - 1).max() < 0.35
    joints = rig.joints(rig.cage(model.mean_shape, np.zeros(80, "f4"), np.zeros(64, "f4")))
    for points in (mean, shut):
        offset = points[upper] - joints[JOINTS.index("LeftEye")]
        assert np.linalg.norm(offset, axis=1).min() > 12.0


def test_the_tongue_comes_out_over_the_lip(rig: HeadRig, mean: np.ndarray) -> None:
    jaw = rig.targets[ARKIT_BLENDSHAPES.index("jawOpen")]
    field = 0.4 * jaw + rig.targets[ARKIT_BLENDSHAPES.index("tongueOut")]
    out = mean + rig.subdivision.refine(field[None].astype(np.float32))[0]
    level = rig.level("high")
    skin, tongue = np.unique(level.part("skin")), np.unique(level.part("tongue"))
    lip = skin[(rig.region("lips")[skin] > 0.5) & (np.abs(mean[skin, 0]) < 2)]
    lower = lip[rig.subdivision.refine(jaw[None])[0][lip, 1] < -5]
    edge = lower[out[lower, 1].argmax()]
    over = tongue[(np.abs(out[tongue] - out[edge])[:, [0, 2]] < 2).all(axis=1)]
    assert len(over) > 10
    assert out[over, 1].max() > out[edge, 1] + 3
    assert out[tongue, 2].max() > out[lower, 2].max() + 4


def test_eyeballs_are_whole_spheres(rig: HeadRig, mean: np.ndarray, model: MorphableModel) -> None:
    joints = rig.joints(rig.cage(model.mean_shape, np.zeros(80, "f4"), np.zeros(64, "f4")))
    for part, joint in (("left_eye", "LeftEye"), ("right_eye", "RightEye")):
        ball = mean[np.unique(rig.level("high").part(part))]
        offset = ball - joints[JOINTS.index(joint)]
        radius = np.linalg.norm(offset, axis=1)
        assert radius.min() > 11
        assert radius.max() < 14.5
        assert offset[:, 2].min() < -10
        assert offset[:, 2].max() > 10


def test_joints_lie_one_above_the_other(rig: HeadRig, model: MorphableModel) -> None:
    joints = rig.joints(rig.cage(model.mean_shape, np.zeros(80, "f4"), np.zeros(64, "f4")))
    neck, head, left, right = joints
    assert neck[1] < head[1] - 60
    assert head[1] < left[1]
    assert head[2] < left[2] - 50
    assert left == pytest.approx(right * [-1, 1, 1], abs=0.01)
    assert rig.joint_weights.sum(axis=1) == pytest.approx(np.ones(4), abs=1e-4)


def test_shares_and_regions(rig: HeadRig, mean: np.ndarray) -> None:
    assert rig.head_share[mean[:, 1] > 20].min() > 0.99
    assert rig.head_share[mean[:, 1].argmin()] < 0.02
    assert rig.region("scalp")[mean[:, 1].argmax()] == 1.0
    assert rig.region("scalp")[mean[:, 2].argmax()] == 0.0
    high = mean[:, 1] > -20
    assert rig.region("ears")[(np.abs(mean[:, 0]) * high).argmax()] > 0.5
    anchors = np.tile(np.array([[0.7, 0.5, 0.4]], np.float32), (COLOR_ANCHORS, 1))
    skin = np.unique(rig.level("high").part("skin"))
    beyond = skin[rig.face_vertices[skin] < 0]
    assert np.abs(rig.continued(anchors)[beyond] - anchors[0]).max() < 0.02


def test_outline_colors_keep_their_places(rig: HeadRig) -> None:
    colors = np.stack([rig.band_places, rig.band_places, rig.band_places], axis=1)
    found = rig.outline_colors(colors)[:, 0]
    assert found[1:-1] == pytest.approx(np.arange(1, COLOR_ANCHORS - 1), abs=0.4)


def moved(rig: HeadRig, name: str) -> np.ndarray:
    """(V, 3) mm."""
    return rig.subdivision.refine(rig.targets[ARKIT_BLENDSHAPES.index(name)][None])[0]


def test_the_jaw_carries_the_lower_teeth_and_the_tongue(rig: HeadRig) -> None:
    opened = moved(rig, "jawOpen")
    level = rig.level("high")
    for part in ("lower_teeth", "tongue"):
        assert opened[level.part(part), 1].max() < -5
    assert not opened[level.part("upper_teeth")].any()


def test_eyes_turn_about_their_centers_and_stay_round(
    rig: HeadRig, mean: np.ndarray, model: MorphableModel
) -> None:
    joints = rig.joints(rig.cage(model.mean_shape, np.zeros(80, "f4"), np.zeros(64, "f4")))
    ball = np.unique(rig.level("high").part("left_eye"))
    for name, axis, sign in (("eyeLookUpLeft", 1, 1), ("eyeLookOutLeft", 0, 1)):
        offset = mean[ball] - joints[JOINTS.index("LeftEye")]
        after = offset + moved(rig, name)[ball]
        assert np.linalg.norm(after, axis=1) == pytest.approx(
            np.linalg.norm(offset, axis=1), abs=0.1
        )
        front = offset[:, 2].argmax()
        assert sign * (after - offset)[front, axis] > 2
    right = np.unique(rig.level("high").part("right_eye"))
    assert not moved(rig, "eyeLookUpLeft")[right].any()


def test_lids_meet_before_the_eye(rig: HeadRig, mean: np.ndarray) -> None:
    """Seen from the front, nothing of the left eyeball shows when it is shut."""
    from facewright.models.rasterizer import rasterize

    level = rig.level("high")

    def shown(points: np.ndarray) -> int:
        depth = 1000 - points[:, 2]
        pixels = np.stack(
            [4000 * points[:, 0] / depth + 50, 300 - 4000 * points[:, 1] / depth, depth], axis=1
        )
        ids = rasterize(pixels[None].astype(np.float32), level.triangles, 300, 300).triangle_ids
        first = level.part_ends[PARTS.index("left_eye") - 1]
        return int(((ids >= first) & (ids < level.part_ends[PARTS.index("left_eye")])).sum())

    assert shown(mean) > 1000
    assert shown(mean + moved(rig, "eyeBlinkLeft")) == 0


def test_left_and_right_mirror_each_other(rig: HeadRig) -> None:
    for name in ("mouthSmile", "eyeBlink", "browDown", "noseSneer"):
        left, right = (moved(rig, f"{name}{side}") for side in ("Left", "Right"))
        assert np.linalg.norm(left, axis=1).max() == pytest.approx(
            np.linalg.norm(right, axis=1).max(), rel=0.02
        )


def test_the_tongue_comes_out(rig: HeadRig) -> None:
    tongue = np.unique(rig.level("high").part("tongue"))
    assert moved(rig, "tongueOut")[tongue, 2].max() > 15


def test_another_face_model_is_refused(model: MorphableModel) -> None:
    other = dataclasses.replace(model, sha256="0" * 64)
    with pytest.raises(ForeignHeadRig):
        HeadRig.load(asset_path(HEAD_RIG), other)


def test_damaged_files_are_refused(model: MorphableModel, tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(asset_path(HEAD_RIG).read_bytes()[:100_000])
    with pytest.raises(HeadRigFileError):
        HeadRig.load(path, model)
    with zipfile.ZipFile(asset_path(HEAD_RIG)) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if name != "uv.npy":
                new.writestr(name, old.read(name))
    with pytest.raises(HeadRigFileError, match="entries"):
        HeadRig.load(path, model)
