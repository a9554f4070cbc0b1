"""The head's GLB file: sound for the Khronos validator, small, and true to its numbers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from facewright.models.assets import FACE_MODEL, HEAD_RIG, asset_path
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES, VISEMES
from facewright.models.head_rig import JOINTS, Detail, HeadRig
from facewright.models.morphable_model import MorphableModel
from facewright.service.formats.head import HeadMesh, HeadPose
from facewright.service.formats.head_glb import write_head_glb
from facewright.service.options import Targets
from facewright.service.pipeline.heads import GROUPS, Heads, HeadShape, plain_mesh

Validate = Callable[[Path], dict[str, Any]]
ALL_NAMES = [*ARKIT_BLENDSHAPES, *VISEMES]
TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
TURN = HeadPose(
    np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32), np.array([10, 20, -30], np.float32)
)


class Gltf:
    """A GLB file, taken apart by the specification and by nothing of the project."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[12:16], "little")
        self.json = json.loads(data[20 : 20 + length])
        self._buffer = data[28 + length :]

    def _view(self, index: int, offset: int, dtype: str, rows: int, width: int) -> np.ndarray:
        view = self.json["bufferViews"][index]
        start = view.get("byteOffset", 0) + offset
        stride = view.get("byteStride", width * np.dtype(dtype).itemsize)
        return np.ndarray(
            (rows, width),
            dtype,
            self._buffer,
            start,
            (stride, np.dtype(dtype).itemsize),
        )

    def array(self, index: int) -> np.ndarray:
        accessor = self.json["accessors"][index]
        dtype, width = TYPES[accessor["componentType"]], WIDTHS[accessor["type"]]
        values = np.zeros((accessor["count"], width), dtype)
        if "bufferView" in accessor:
            values[:] = self._view(
                accessor["bufferView"], accessor.get("byteOffset", 0), dtype, len(values), width
            )
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            at, new = sparse["indices"], sparse["values"]
            rows = self._view(
                at["bufferView"], at["byteOffset"], TYPES[at["componentType"]], sparse["count"], 1
            )
            values[rows[:, 0]] = self._view(
                new["bufferView"], new["byteOffset"], dtype, sparse["count"], width
            )
        return values

    def mesh(self, name: str) -> dict[str, Any]:
        (mesh,) = [mesh for mesh in self.json["meshes"] if mesh["name"] == name]
        return mesh

    def skinned(self, name: str, weights: dict[str, float]) -> np.ndarray:
        """(n, 3) m: a mesh's vertices with morph targets and joints, as a viewer places them."""
        mesh = self.mesh(name)
        primitive = mesh["primitives"][0]
        points = self.array(primitive["attributes"]["POSITION"]).astype(np.float64)
        for target, targeted in zip(
            primitive.get("targets", []), mesh.get("extras", {}).get("targetNames", []), strict=True
        ):
            points += weights.get(targeted, 0.0) * self.array(target["POSITION"])
        worlds: dict[int, np.ndarray] = {}

        def place(node: int, parent: np.ndarray) -> None:
            about = self.json["nodes"][node]
            local = np.eye(4)
            if "matrix" in about:
                local = np.array(about["matrix"]).reshape(4, 4).T
            local[:3, 3] += about.get("translation", [0, 0, 0])
            worlds[node] = parent @ local
            for child in about.get("children", []):
                place(child, worlds[node])

        for root in self.json["scenes"][0]["nodes"]:
            place(root, np.eye(4))
        skin = self.json["skins"][0]
        inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        joints = np.stack([worlds[j] @ m for j, m in zip(skin["joints"], inverse, strict=True)])
        indices = self.array(primitive["attributes"]["JOINTS_0"])
        shares = self.array(primitive["attributes"]["WEIGHTS_0"]) / 255
        blended = np.einsum("nj,njab->nab", shares, joints[indices])
        return np.einsum("nab,nb->na", blended[:, :3], np.c_[points, np.ones(len(points))])


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(asset_path(FACE_MODEL))


@pytest.fixture(scope="module")
def heads(model: MorphableModel) -> Heads:
    return Heads(model, HeadRig.load(asset_path(HEAD_RIG), model))


@pytest.fixture(scope="module")
def make(model: MorphableModel, heads: Heads) -> Callable[..., HeadMesh]:
    rng = np.random.default_rng(5)
    identity = rng.normal(0, 0.7, 80).astype(np.float32)
    albedo = model.albedo(rng.normal(size=(1, 80)))[0]
    resting = np.zeros(64, np.float32)
    cage = heads.rig.cage(model.cage(identity[None], resting[None])[0], identity, resting)
    texture = rng.integers(0, 256, (256, 256, 3), np.uint8)

    def head(
        detail: Detail = "low",
        targets: Targets = "all",
        textured: bool = False,
        weights: dict[str, float] | None = None,
        pose: HeadPose | None = None,
    ) -> HeadMesh:
        shape = HeadShape(cage, weights or {}, pose)
        return heads.mesh(shape, albedo, detail, targets, texture if textured else None)

    return head


@pytest.mark.parametrize(
    ("detail", "targets", "textured", "quantized"),
    [
        *product(["low"], ["none", "arkit", "all"], [True, False], [True, False]),
        # More triangles take the validator longer: every value of the others once or twice.
        ("medium", "none", False, False),
        ("medium", "arkit", True, True),
        ("medium", "all", True, False),
        ("high", "none", True, True),
        ("high", "arkit", False, False),
        ("high", "all", False, True),
    ],
)
def test_validator_has_nothing_to_say(
    tmp_path: Path,
    validate_gltf: Validate,
    make: Callable[..., HeadMesh],
    detail: Detail,
    targets: Targets,
    textured: bool,
    quantized: bool,
) -> None:
    pose = TURN if textured else None
    head = make(detail, targets, textured, {"jawOpen": 0.4}, pose)
    file = tmp_path / "head.glb"
    file.write_bytes(write_head_glb(head, {"license": "CC0-1.0"}, quantized=quantized))
    assert validate_gltf(file)["messages"] == []


@pytest.mark.parametrize("quantized", [True, False])
def test_a_viewer_sees_the_head(make: Callable[..., HeadMesh], quantized: bool) -> None:
    head = make(weights={"jawOpen": 0.25})
    file = Gltf(write_head_glb(head, {}, quantized=quantized))
    for group in head.groups:
        seen = file.skinned(group.name, {})
        assert np.abs(seen - head.vertices[group.vertices] / 1000).max() < 2e-5
        assert file.mesh(group.name).get("weights", [0.25])[0] in (0, 0.25)
    skin = file.mesh("Skin")
    weights = dict(zip(skin["extras"]["targetNames"], skin["weights"], strict=True))
    assert weights == {name: 0.25 if name == "jawOpen" else 0.0 for name in ALL_NAMES}


@pytest.mark.parametrize("quantized", [True, False])
def test_targets_move_what_the_rig_moves(
    make: Callable[..., HeadMesh], heads: Heads, quantized: bool
) -> None:
    head = make("medium")
    file = Gltf(write_head_glb(head, {}, quantized=quantized))
    field = heads.rig.targets[ARKIT_BLENDSHAPES.index("jawOpen")]
    moved = heads.rig.level("medium").subdivision.refine(field[None])[0] / 1000
    for group in head.groups:
        change = file.skinned(group.name, {"jawOpen": 1}) - file.skinned(group.name, {})
        assert np.abs(change - moved[group.vertices]).max() < 6e-5
    # A viseme is the sum of its blendshapes.
    rest = file.skinned("Skin", {})
    parts = file.skinned("Skin", VISEMES["viseme_O"]) - rest
    whole = file.skinned("Skin", {"viseme_O": 1}) - rest
    assert np.abs(parts - whole).max() < 2e-4
    assert np.abs(whole).max() > 5e-3
    assert not (file.skinned("Skin", {"viseme_sil": 1}) - rest).any()


def test_names_and_parts(make: Callable[..., HeadMesh]) -> None:
    file = Gltf(write_head_glb(make(), {}))
    assert [mesh["name"] for mesh in file.json["meshes"]] == [name for name, _, _ in GROUPS]
    names = {m["name"]: m["extras"]["targetNames"] for m in file.json["meshes"]}
    assert names["Skin"] == ALL_NAMES
    assert names["EyeballLeft"] == [
        "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    ]  # fmt: skip
    assert {"jawOpen", "jawLeft", "viseme_aa"} <= set(names["Teeth"])
    assert "mouthSmileLeft" not in names["Teeth"]
    assert {"tongueOut", "jawOpen", "viseme_TH"} <= set(names["Tongue"])
    arkit = Gltf(write_head_glb(make(targets="arkit"), {}))
    assert arkit.mesh("Skin")["extras"]["targetNames"] == list(ARKIT_BLENDSHAPES)
    assert (
        "targets"
        not in Gltf(write_head_glb(make(targets="none"), {})).mesh("Skin")["primitives"][0]
    )


def test_joints(make: Callable[..., HeadMesh]) -> None:
    head = make()
    file = Gltf(write_head_glb(head, {}))
    nodes = file.json["nodes"]
    joints = [nodes[index]["name"] for index in file.json["skins"][0]["joints"]]
    assert joints == list(JOINTS)
    named = {node["name"]: node for node in nodes}
    children = [nodes[index]["name"] for index in named["Head"]["children"]]
    assert children == ["LeftEye", "RightEye"]
    ball = head.vertices[head.groups[1].vertices] / 1000
    eye = sum(np.array(named[name]["translation"]) for name in ("Neck", "Head", "LeftEye"))
    assert np.abs(ball.mean(axis=0) - eye).max() < 1e-3


def test_a_pose_turns_and_moves_the_head(make: Callable[..., HeadMesh]) -> None:
    still, turned = make(), make(pose=TURN)
    file = Gltf(write_head_glb(turned, {}))
    wanted = plain_mesh(turned).vertices / 1000
    expected = (still.vertices @ TURN.rotation.T + TURN.translation) / 1000
    assert np.abs(wanted - expected).max() < 1e-6
    for group in turned.groups:
        assert np.abs(file.skinned(group.name, {}) - wanted[group.vertices]).max() < 2e-5


def test_normals_have_no_seam(make: Callable[..., HeadMesh]) -> None:
    head = make("medium", "none")
    _, inverse, counts = np.unique(head.vertices, axis=0, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(counts[inverse.ravel()] > 1)
    assert len(shared) > 40
    order = np.argsort(inverse.ravel()[shared], kind="stable")
    pairs = head.normals[shared[order]].reshape(-1, 2, 3)
    assert np.array_equal(pairs[:, 0], pairs[:, 1])


def test_a_medium_head_with_all_targets_fits_into_4_mb(make: Callable[..., HeadMesh]) -> None:
    # A texture of noise would be no measure: what it takes beside the picture.
    data = write_head_glb(make("medium", "all", textured=True), {})
    file = Gltf(data)
    view = file.json["bufferViews"][file.json["images"][0]["bufferView"]]
    assert len(data) - view["byteLength"] < 3_300_000


def test_trimesh_loads_the_plain_form(make: Callable[..., HeadMesh]) -> None:
    head = make("medium")
    data = write_head_glb(head, {}, quantized=False)
    scene = trimesh.load(io.BytesIO(data), file_type="glb", process=False)
    assert set(scene.geometry) == {name for name, _, _ in GROUPS}
    assert sum(len(mesh.faces) for mesh in scene.geometry.values()) == len(head.triangles)
    assert 0.25 < scene.extents[1] < 0.33


def test_a_head_too_far_away_is_refused(make: Callable[..., HeadMesh]) -> None:
    head = make(targets="none")
    far = HeadMesh(**{**vars(head), "vertices": head.vertices + 300})
    with pytest.raises(ValueError, match="far"):
        write_head_glb(far, {})
    write_head_glb(far, {}, quantized=False)


def test_what_is_not_finite_is_refused(make: Callable[..., HeadMesh]) -> None:
    head = make(targets="none")
    with pytest.raises(ValueError, match="finite"):
        HeadMesh(**{**vars(head), "vertices": head.vertices * np.nan})
