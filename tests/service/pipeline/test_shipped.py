"""The server as it comes: shipped face model and weights, on a real photo and on portraits."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import trimesh

from facewright.models.assets import FACE_MODEL, WEIGHTS, asset_path, sha256
from facewright.models.landmarks import LEFT_EYE, RIGHT_EYE
from tests.service.pipeline.test_heads import post

PORTRAITS = sorted(
    (Path(__file__).resolve().parents[3] / "docs" / "images" / "portraits").glob("*.png")
)


@pytest.fixture
def client(shipped_client: httpx.Client) -> httpx.Client:
    return shipped_client


def test_the_record_describes_the_shipped_files() -> None:
    network = asset_path(WEIGHTS)
    record = json.loads(network.with_suffix(".json").read_text())
    assert record["sha256"] == sha256(network)
    assert record["face_model"]["sha256"] == sha256(asset_path(FACE_MODEL))
    assert record["sha256"] in network.with_suffix(".md").read_text()


def test_the_default_may_be_used_commercially(client: httpx.Client) -> None:
    weights = client.get("/v1/models").json()["weights"]
    assert weights["sha256"] == sha256(asset_path(WEIGHTS))
    assert weights["license"] == "MIT"


def test_landmarks_lie_on_the_astronaut(client: httpx.Client, portrait_jpeg: bytes) -> None:
    (face,) = post(client, portrait_jpeg, "application/json").json()["faces"]
    landmarks = np.array(face["landmarks"])
    # Found by eye in the picture; the eyes are 44 px apart.
    for name, where, found in (
        ("image-left eye", (202, 101), landmarks[LEFT_EYE].mean(0)),
        ("image-right eye", (246, 103), landmarks[RIGHT_EYE].mean(0)),
        ("nose tip", (224, 126), landmarks[30]),
        ("mouth", (223, 143), landmarks[48:60].mean(0)),
        ("chin", (222, 177), landmarks[8]),
    ):
        assert np.linalg.norm(found - where) < 8, (name, found)
    assert all(abs(degrees) < 15 for degrees in face["pose"]["angles"].values())


def test_the_mesh_is_a_smile_in_the_right_frame(
    client: httpx.Client, portrait_jpeg: bytes, tmp_path: Path
) -> None:
    text = post(client, portrait_jpeg, "model/obj").content
    mesh = trimesh.load(io.BytesIO(text), file_type="obj", process=False)
    width, height, length = mesh.extents
    assert 110 < width < 180
    assert 130 < height < 240
    assert 60 < length < 160
    # The nose, foremost, is in the middle: +Z forward, and nothing is mirrored to the side.
    assert abs(mesh.vertices[mesh.vertices[:, 2].argmax(), 0]) < 15
    neutral = post(client, portrait_jpeg, "model/obj", "?expression=neutral").content
    still = trimesh.load(io.BytesIO(neutral), file_type="obj", process=False)
    model = np.load(asset_path(FACE_MODEL))
    corners = model["landmarks"][[48, 54]]
    # She smiles, so her mouth is wider than it is at rest.
    smile = np.ptp(mesh.vertices[corners, 0]) - np.ptp(still.vertices[corners, 0])
    assert smile > 1.0


@pytest.mark.parametrize("texture", ["albedo", "photo"])
def test_the_glb_of_a_photo_validates(
    client: httpx.Client,
    portrait_jpeg: bytes,
    texture: str,
    tmp_path: Path,
    validate_gltf: Callable[[Path], dict[str, Any]],
) -> None:
    file = tmp_path / "face.glb"
    query = f"?texture={texture}"
    file.write_bytes(post(client, portrait_jpeg, "model/gltf-binary", query).content)
    assert validate_gltf(file)["messages"] == []


@pytest.mark.parametrize("portrait", PORTRAITS, ids=lambda path: path.stem)
def test_a_textured_mesh_looks_like_its_photo(client: httpx.Client, portrait: Path) -> None:
    """Every vertex that faces the camera has the color of its place in the photo."""
    query = "?include=mesh&texture=photo&pose=camera"
    (face,) = post(client, portrait.read_bytes(), "application/json", query).json()["faces"]
    file = io.BytesIO(b64decode(face["mesh"]["data"]))
    mesh, _ = trimesh.load(file, file_type="glb", process=False).geometry.values()
    model = np.load(asset_path(FACE_MODEL))
    image = mesh.visual.material.baseColorTexture
    colors = trimesh.visual.color.uv_to_color(mesh.visual.uv, image)[:, :3].astype(int)
    p = 1000 * np.asarray(mesh.vertices)
    rays = np.stack([p[:, 0], -p[:, 1], 1000 - p[:, 2]], 1) @ np.array(face["intrinsics"]).T
    x, y = (rays[:, :2] / rays[:, 2:]).T.astype(int)
    photo = cv2.imread(str(portrait))[..., ::-1].astype(int)
    frank = model["skin_region"] & (np.asarray(mesh.vertex_normals)[:, 2] > 0.8)
    difference = np.abs(colors[frank] - photo[y[frank], x[frank]]).max(axis=1)
    assert frank.sum() > 1500
    assert np.median(difference) < 8
    assert np.percentile(difference, 90) < 25


def test_the_overlay_changes_the_face_only(client: httpx.Client, portrait_jpeg: bytes) -> None:
    def pixels(data: bytes) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)

    drawn = pixels(post(client, portrait_jpeg, "image/png").content)
    changed = np.abs(drawn - pixels(portrait_jpeg)).max(axis=2) > 0
    rows, columns = np.nonzero(changed)
    assert changed[90:165, 195:250].mean() > 0.9
    assert 30 < rows.min() < rows.max() < 200
    assert 165 < columns.min() < columns.max() < 290


@pytest.mark.parametrize("portrait", PORTRAITS, ids=lambda path: path.stem)
def test_synthetic_portraits_are_found_and_answered(client: httpx.Client, portrait: Path) -> None:
    (face,) = post(client, portrait.read_bytes(), "application/json").json()["faces"]
    landmarks = np.array(face["landmarks"])
    assert np.all((landmarks > -20) & (landmarks < 260))
    assert np.abs(face["coefficients"]["identity"]).max() < 6


@pytest.mark.parametrize("portrait", PORTRAITS, ids=lambda path: path.stem)
def test_one_photo_turned_and_encoded_anew_is_one_person(
    client: httpx.Client, portrait: Path
) -> None:
    upright = cv2.imread(str(portrait))
    photos = [
        cv2.imencode(".jpg", np.rot90(upright, turns), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        for turns, quality in ((0, 95), (1, 85), (2, 75), (3, 65))
    ]
    files = [("images", photo.tobytes()) for photo in photos]
    response = client.post("/v1/albums/reconstruct", files=files)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert len(answer["photos"]) == len(photos)
    for photo in answer["photos"]:
        assert photo["status"] == "used", photo
        assert not photo["likeness"]["stranger"], photo
