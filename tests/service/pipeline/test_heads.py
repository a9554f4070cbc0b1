"""Whole heads of the shipped models: colors, textures, and heads of photos over HTTP."""

from __future__ import annotations

import io
import json
import zipfile
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import trimesh

from facewright.models.assets import FACE_MODEL, HEAD_RIG, asset_path
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES, VISEMES
from facewright.models.head_rig import HeadRig
from facewright.models.morphable_model import PART_SKIN, MorphableModel
from facewright.models.texture.views import TextureView
from facewright.service.pipeline.hairline import Scalp
from facewright.service.pipeline.head_texture import HeadTextures
from facewright.service.pipeline.heads import Heads

Validate = Callable[[Path], dict[str, Any]]
PORTRAITS = sorted(
    (Path(__file__).resolve().parents[3] / "docs" / "images" / "portraits").glob("*.png")
)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(asset_path(FACE_MODEL))


@pytest.fixture(scope="module")
def heads(model: MorphableModel) -> Heads:
    return Heads(model, HeadRig.load(asset_path(HEAD_RIG), model))


def texels(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(n, 3) floats at texture coordinates (n, 2)."""
    size = len(texture)
    columns = np.clip((uv[:, 0] * size).astype(int), 0, size - 1)
    rows = np.clip(((1 - uv[:, 1]) * size).astype(int), 0, size - 1)
    return texture[rows, columns].astype(float)


def test_colors_of_the_face_are_the_albedo(model: MorphableModel, heads: Heads) -> None:
    albedo = model.albedo(np.random.default_rng(1).normal(size=(1, 80)))[0]
    colors = heads.colors(albedo)
    rig = heads.rig
    bare = heads.on_skin & (heads.hair_heights(0) < -20)
    inside = bare & (rig.region("face") == 1) & (rig.face_vertices >= 0)
    assert inside.sum() > 10_000
    assert np.abs(colors[inside] - albedo[rig.face_vertices[inside]]).max() < 1e-6
    # Ears, neck and skull have the skin's color, without a step where the face ends.
    beyond = bare & (rig.face_vertices < 0) & (rig.occlusion > 0.95)
    skin = np.median(albedo[model.skin_region], axis=0)
    assert np.abs(np.median(colors[beyond], axis=0) - skin).max() < 0.1
    level = rig.level("high")
    edges = level.part("skin")[:, :2]
    outline = (rig.region("face")[edges] > 0).any(axis=1) & (rig.region("face")[edges] < 1).any(1)
    outline &= bare[edges].all(axis=1)
    steps = np.abs(colors[edges[outline, 0]] - colors[edges[outline, 1]]).max(axis=1)
    assert np.quantile(steps, 0.99) < 0.04


def test_eyes_have_a_pupil_an_iris_and_a_white(model: MorphableModel, heads: Heads) -> None:
    eye = heads.eye_colors(model.mean_albedo).mean(axis=1)
    assert eye[:6].max() < 0.1
    assert 0.1 < eye[17] < 0.4
    assert eye[40] > 0.55


def test_hair_of_the_albedo_has_the_color_of_brows_or_of_the_photo(
    model: MorphableModel, heads: Heads
) -> None:
    albedo = model.mean_albedo
    skin = np.median(albedo[model.skin_region], axis=0)
    crown = heads.on_skin & (heads.mean_points[:, 1] > 130)
    own = np.median(heads.colors(albedo)[crown], axis=0)
    assert (own < 0.75 * skin).all()
    # In a photo that is half as bright as the albedo.
    seen = Scalp(np.array([60, 40, 20], np.float32), (127.5 * skin).astype(np.float32))
    hair = np.median(heads.colors(albedo, seen)[crown], axis=0)
    assert hair == pytest.approx(np.array([120, 80, 40]) / 255, rel=0.1)
    bald = np.median(heads.colors(albedo, seen._replace(hair=None))[crown], axis=0)
    assert bald == pytest.approx(skin, rel=0.15)


DARK = Scalp(np.array([30, 20, 10], np.float32), np.array([205, 150, 120], np.float32))


@pytest.fixture(scope="module")
def red_lips(model: MorphableModel) -> TextureView:
    """A photo that is of one skin color but for the lips."""
    scale, size = 3.0, 700
    points = model.mean_vertices
    pixels = np.stack(
        [
            size / 2 + scale * points[:, 0] * 1000 / (1000 - points[:, 2]),
            size / 2 - scale * points[:, 1] * 1000 / (1000 - points[:, 2]),
            1000 - points[:, 2],
        ],
        axis=1,
    ).astype(np.float32)
    photo = np.full((size, size, 3), (205, 150, 120), np.uint8)
    mouth = pixels[model.landmarks[48:60], :2].astype(np.int32)
    cv2.fillPoly(photo, [mouth.reshape(-1, 1, 2)], (230, 20, 30))
    return TextureView(photo, points, pixels)


@pytest.fixture(scope="module")
def texture(model: MorphableModel, heads: Heads, red_lips: TextureView) -> np.ndarray:
    """A head's texture of that photo, with dark hair."""
    return HeadTextures(model, heads).bake([red_lips], model.mean_albedo, 512, DARK)


def test_hair_is_on_the_scalp_alone(
    model: MorphableModel, heads: Heads, red_lips: TextureView, texture: np.ndarray
) -> None:
    textures = HeadTextures(model, heads)
    bald = textures.bake([red_lips], model.mean_albedo, 512, DARK._replace(hair=None))
    uv, heights = heads.rig.uv, heads.hair_heights(0)

    def changed(by: np.ndarray) -> np.ndarray:
        return np.abs(texels(by, uv) - texels(bald, uv)).max(axis=1) > 5

    face = heads.rig.region("face") > 0
    assert changed(texture)[(heights > 12) & ~face].mean() > 0.95
    # Texels of half a millimeter reach a little beyond a vertex.
    assert changed(texture)[heads.on_skin & (heights < -20)].mean() < 0.01
    assert changed(texture)[heads.on_skin & (heads.rig.region("face") == 1)].mean() < 0.03
    # Without any above the forehead it is left at the sides and at the back.
    receded = textures.bake([red_lips], model.mean_albedo, 512, DARK._replace(receding=150.0))
    points = heads.mean_points
    assert (
        changed(receded)[heads.on_skin & (points[:, 1] > 110) & (points[:, 2] > -100)].mean() < 0.05
    )
    assert changed(receded)[(heights > 15) & (points[:, 1] < 60) & ~face].mean() > 0.9


def test_hair_of_the_photo_goes_on_beyond_it(model: MorphableModel, heads: Heads) -> None:
    """Of somebody with a fringe whose photo ends below the face's upper edge."""
    scale, points = 3.0, model.mean_vertices
    top, brows = points[:, 1].max() - 18, 66
    depth = 1000 - points[:, 2]
    columns = 350 + scale * points[:, 0] * 1000 / depth
    rows = scale * (top - points[:, 1]) * 1000 / depth
    photo = np.full((700, 700, 3), (205, 150, 120), np.uint8)
    photo[: int(scale * (top - brows))] = (30, 20, 10)
    view = TextureView(photo, points, np.stack([columns, rows, depth], 1).astype(np.float32))
    result = HeadTextures(model, heads).bake([view], model.mean_albedo, 512, DARK)
    front = heads.on_skin & (np.abs(heads.mean_points[:, 0]) < 30)
    front &= (heads.mean_points[:, 1] > brows + 8) & (heads.mean_points[:, 2] > -60)
    seen = texels(result, heads.rig.uv[front])
    assert (seen[:, 0] > 110).mean() < 0.03


def test_a_texture_is_the_photo_and_goes_on_beyond_it(texture: np.ndarray, heads: Heads) -> None:
    rig, skin = heads.rig, np.array([205, 150, 120])
    face = texels(texture, rig.uv[heads.on_skin & (rig.region("face") == 1)])
    assert np.median(np.abs(face - skin).max(axis=1)) < 4
    bare = heads.on_skin & (rig.face_vertices < 0) & (heads.hair_heights(0) < -20)
    bare &= rig.occlusion > 0.95
    assert np.abs(np.median(texels(texture, rig.uv[bare]), axis=0) - skin).max() < 12
    scalp = texels(texture, rig.uv[heads.on_skin & (rig.region("scalp") == 1)])
    assert np.median(scalp, axis=0).max() < 60


def test_teeth_tongue_and_eyes_are_not_painted_like_lips(texture: np.ndarray, heads: Heads) -> None:
    level, uv = heads.rig.level("high"), heads.rig.uv
    lips = heads.on_skin & (heads.rig.region("lips") > 0.9) & (heads.rig.region("face") == 1)
    red, green, _ = np.median(texels(texture, uv[lips]), axis=0)
    assert red > 3 * green
    for part in ("upper_teeth", "lower_teeth", "left_eye", "right_eye", "tongue"):
        seen = texels(texture, uv[np.unique(level.part(part))])
        assert (seen[:, 0] > 5 * seen[:, 1]).mean() < 0.02, part


def test_teeth_can_be_told_apart_and_the_mouth_is_dark(texture: np.ndarray, heads: Heads) -> None:
    rows, places = heads.tooth_places["upper_teeth"]
    uv = heads.rig.uv[rows]
    front = (np.abs(places.height - 4) < 1.5) & (places.light > 0.9)

    def brightness(along: float) -> float:
        near = front & (np.abs(places.along - along) < 1.0)
        return float(texels(texture, uv[near]).mean())

    # Middles of the first and second tooth, and where they meet.
    assert min(brightness(4.25), brightness(11.75)) > brightness(8.5) + 8
    skin = np.median(texels(texture, heads.rig.uv[heads.on_skin]), axis=0).mean()
    seen = texels(texture, uv[front]).mean()
    assert 0.7 * skin < seen < 1.3 * skin
    behind = texels(texture, uv[places.light < 0.4]).mean()
    assert behind < 0.5 * seen
    level = heads.rig.level("high")
    mouth = np.unique(level.part("mouth"))
    deep = mouth[(heads.mean_points[mouth, 1] < -20) & (heads.mean_points[mouth, 2] < -10)]
    assert texels(texture, heads.rig.uv[deep]).mean() < 0.35 * skin


def test_lashes_are_dark(texture: np.ndarray, heads: Heads) -> None:
    lashes = np.unique(heads.rig.level("high").part("lashes"))
    assert texels(texture, heads.rig.uv[lashes]).max() < 70


@pytest.fixture
def client(shipped_client: httpx.Client) -> httpx.Client:
    return shipped_client


def post(client: httpx.Client, photo: bytes, accept: str, query: str = "") -> httpx.Response:
    response = client.post(
        f"/v1/reconstruct{query}", files={"image": photo}, headers={"Accept": accept}
    )
    assert response.status_code == 200, response.text
    return response


def document(glb: bytes) -> dict[str, Any]:
    length = int.from_bytes(glb[12:16], "little")
    found: dict[str, Any] = json.loads(glb[20 : 20 + length])
    return found


def image(glb: bytes) -> np.ndarray:
    """The texture in a file: (N, N, 3)."""
    gltf = document(glb)
    view = gltf["bufferViews"][gltf["images"][0]["bufferView"]]
    start = 28 + int.from_bytes(glb[12:16], "little") + view["byteOffset"]
    data = np.frombuffer(glb[start : start + view["byteLength"]], np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize(
    "query",
    [
        "?mesh=head&texture=photo",
        "?mesh=head&detail=low&targets=arkit&pose=camera",
        "?mesh=head&targets=none&compression=none&expression=neutral",
        "?detail=low&texture=photo",
        "?detail=medium",
    ],
)
def test_files_of_a_photo_validate(
    client: httpx.Client,
    portrait_jpeg: bytes,
    query: str,
    tmp_path: Path,
    validate_gltf: Validate,
) -> None:
    file = tmp_path / "mesh.glb"
    file.write_bytes(post(client, portrait_jpeg, "model/gltf-binary", query).content)
    assert validate_gltf(file)["messages"] == []
    assert file.stat().st_size < 4_000_000


def test_the_file_opens_with_the_photos_expression(
    client: httpx.Client, portrait_jpeg: bytes
) -> None:
    query = "?mesh=head&include=mesh"
    (face,) = post(client, portrait_jpeg, "application/json", query).json()["faces"]
    shapes = face["blendshapes"]
    assert list(shapes["weights"]) == list(ARKIT_BLENDSHAPES)
    # She smiles.
    assert min(shapes["weights"]["mouthSmileLeft"], shapes["weights"]["mouthSmileRight"]) > 0.3
    assert shapes["residual_mm"] < 1.0
    # As a tracker would say it, she does so more.
    assert list(shapes["calibrated"]) == list(ARKIT_BLENDSHAPES)
    assert shapes["calibrated"]["mouthSmileLeft"] > shapes["weights"]["mouthSmileLeft"]
    gltf = document(b64decode(face["mesh"]["data"]))
    skin = gltf["meshes"][0]
    weights = dict(zip(skin["extras"]["targetNames"], skin["weights"], strict=True))
    assert weights == shapes["weights"] | dict.fromkeys(VISEMES, 0.0)
    triangles = sum(
        gltf["accessors"][mesh["primitives"][0]["indices"]]["count"] // 3 for mesh in gltf["meshes"]
    )
    assert face["mesh"]["triangles"] == triangles
    neutral = post(client, portrait_jpeg, "model/gltf-binary", "?mesh=head&expression=neutral")
    assert not any(document(neutral.content)["meshes"][0]["weights"])


def test_the_pose_is_a_matrix_in_meters(client: httpx.Client, portrait_jpeg: bytes) -> None:
    (face,) = post(client, portrait_jpeg, "application/json").json()["faces"]
    pose = face["pose"]
    matrix = np.array(pose["matrix"])
    assert matrix[:3, :3] == pytest.approx(np.array(pose["rotation_matrix"]), abs=1e-6)
    assert matrix[:3, 3] * 1000 == pytest.approx(
        np.array(pose["translation_mm"]) - [0, 0, 1000], abs=1e-3
    )
    assert matrix[3].tolist() == [0, 0, 0, 1]
    assert -2 < matrix[2, 3] < -0.3


def test_an_obj_file_of_a_head_smiles_too(client: httpx.Client, portrait_jpeg: bytes) -> None:
    text = post(client, portrait_jpeg, "model/obj", "?mesh=head&detail=low").content
    head = trimesh.load(io.BytesIO(text), file_type="obj", process=False)
    face = post(client, portrait_jpeg, "model/obj").content
    face = trimesh.load(io.BytesIO(face), file_type="obj", process=False)
    assert len(head.faces) > 7000
    assert 240 < head.extents[1] < 330
    # Where both have a vertex, it is the same point.
    model = MorphableModel.load(asset_path(FACE_MODEL))
    rig = HeadRig.load(asset_path(HEAD_RIG), model)
    same = rig.face_vertices[: len(head.vertices)]
    shared = np.flatnonzero((same >= 0) & (model.parts[np.maximum(same, 0)] == PART_SKIN))
    off = np.linalg.norm(head.vertices[shared] - face.vertices[same[shared]], axis=1)
    assert len(shared) > 1500
    assert off.max() < 0.1


def test_an_album_gives_a_head(
    client: httpx.Client,
    portrait_jpeg: bytes,
    heads: Heads,
    tmp_path: Path,
    validate_gltf: Validate,
) -> None:
    files = [("images", portrait_jpeg), ("images", portrait_jpeg)]
    response = client.post(
        "/v1/albums/reconstruct?mesh=head&texture=photo&texture_size=512",
        files=files,
        headers={"Accept": "model/gltf-binary"},
    )
    assert response.status_code == 200, response.text
    file = tmp_path / "head.glb"
    file.write_bytes(response.content)
    assert validate_gltf(file)["messages"] == []
    skin = document(response.content)["meshes"][0]
    assert len(skin["weights"]) == 67
    assert not any(skin["weights"])
    # Its hair is that of the photos.
    query = "?mesh=head&texture=photo&texture_size=512"
    one = image(post(client, portrait_jpeg, "model/gltf-binary", query).content)
    uv = heads.rig.uv[heads.on_skin & (heads.rig.region("scalp") == 1)]
    hair = [np.median(texels(texture, uv), axis=0) for texture in (image(response.content), one)]
    assert np.abs(hair[0] - hair[1]).max() < 12


@pytest.mark.parametrize("query", ["?mesh=bust", "?mesh=head&detail=finest", "?targets=some"])
def test_what_there_is_not_is_refused(
    client: httpx.Client, portrait_jpeg: bytes, query: str
) -> None:
    response = client.post(f"/v1/reconstruct{query}", files={"image": portrait_jpeg})
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_parameter"


def test_a_face_model_without_a_head_says_so(server: Any, portrait_jpeg: bytes) -> None:
    with server.client() as client:
        for query in ("?mesh=head", "?detail=low"):
            response = client.post(
                f"/v1/reconstruct{query}",
                files={"image": portrait_jpeg},
                headers={"Accept": "model/gltf-binary"},
            )
            assert response.status_code == 422, response.text
            assert "no head" in response.json()["detail"]


def test_a_ply_file_of_a_head_has_all_parts_and_colors(
    client: httpx.Client, portrait_jpeg: bytes
) -> None:
    query = "?mesh=head&detail=low&texture=photo&texture_size=256"
    data = post(client, portrait_jpeg, "model/ply", query).content
    head = trimesh.load(io.BytesIO(data), file_type="ply", process=False)
    assert len(head.faces) == 8400
    assert 240 < head.extents[1] < 330
    assert len(np.unique(head.visual.vertex_colors, axis=0)) > 500


def test_a_head_without_a_texture_has_the_photos_hair(
    client: httpx.Client, portrait_jpeg: bytes
) -> None:
    crowns = []
    for texture in ("albedo", "photo"):
        query = f"?mesh=head&detail=low&texture={texture}&texture_size=256"
        data = post(client, portrait_jpeg, "model/ply", query).content
        head = trimesh.load(io.BytesIO(data), file_type="ply", process=False)
        colors = np.asarray(head.visual.vertex_colors)[:, :3].astype(float)
        crown = head.vertices[:, 1] > head.vertices[:, 1].max() - 25
        skin = (np.abs(head.vertices[:, 0]) > 20) & (np.abs(head.vertices[:, 1]) < 20)
        skin &= head.vertices[:, 2] > -20
        crowns.append(np.median(colors[crown], axis=0) / np.median(colors[skin], axis=0))
    # For textures a network also tells which pixels of lighter hair are skin.
    assert crowns[0] == pytest.approx(crowns[1], rel=0.3)
    assert crowns[0].max() < 0.9  # she is blond


def test_an_archive_holds_the_head_with_its_material(
    client: httpx.Client, portrait_jpeg: bytes, tmp_path: Path
) -> None:
    query = "?mesh=head&detail=low&texture=photo&texture_size=256"
    data = post(client, portrait_jpeg, "application/zip", query).content
    zipfile.ZipFile(io.BytesIO(data)).extractall(tmp_path)
    head = trimesh.load(tmp_path / "face0.obj", process=False)
    assert len(head.faces) == 8400
    assert head.visual.material.image.size == (256, 256)
    assert ((head.visual.uv >= 0) & (head.visual.uv <= 1)).all()
