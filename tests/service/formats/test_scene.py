"""All faces of a photo in one GLB scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from tests.service.formats.test_head_glb import Gltf

PORTRAITS = sorted((Path(__file__).parents[3] / "docs/images/portraits").glob("*.png"))
Validate = Callable[[Path], dict[str, Any]]


@pytest.fixture
def client(shipped_client: httpx.Client) -> httpx.Client:
    return shipped_client


@pytest.fixture(scope="module")
def photo() -> bytes:
    """Three portraits side by side, the second half as large."""
    faces = [cv2.resize(cv2.imread(str(path)), (320, 320)) for path in PORTRAITS]
    small = np.full((320, 160, 3), 128, np.uint8)
    small[100:260] = cv2.resize(faces[1], (160, 160), interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".png", np.hstack([faces[0], small, faces[2]]))[1]
    return data.tobytes()


def ask(client: httpx.Client, photo: bytes, accept: str, query: str) -> httpx.Response:
    answer = client.post(
        f"/v1/reconstruct?{query}", files={"image": photo}, headers={"Accept": accept}
    )
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("mesh", ["face", "head"])
@pytest.mark.parametrize("texture", ["albedo", "photo"])
def test_a_scene_validates_and_has_a_node_per_face(
    client: httpx.Client,
    photo: bytes,
    mesh: str,
    texture: str,
    validate_gltf: Validate,
    tmp_path: Path,
) -> None:
    query = f"pose=camera&mesh={mesh}&detail=low&texture={texture}&texture_size=256"
    data = ask(client, photo, "model/gltf-binary", query).content
    (tmp_path / "scene.glb").write_bytes(data)
    issues = validate_gltf(tmp_path / "scene.glb")
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
    names = [node["name"] for node in Gltf(data).json["nodes"]]
    assert {"Face0", "Face1", "Face2"} <= set(names)
    assert len(names) == len(set(names))


def test_faces_stand_where_the_photo_shows_them(client: httpx.Client, photo: bytes) -> None:
    """Their vertices, seen by the scene's camera, against landmarks of their own cameras."""
    query = "pose=camera&mesh=face&detail=low"
    file = Gltf(ask(client, photo, "model/gltf-binary", query).content)
    about = file.json["asset"]["extras"]
    width, height = about["photo_px"]
    assert (width, height) == (800, 320)
    faces = ask(client, photo, "application/json", query).json()["faces"]
    nodes = {node["name"]: node for node in file.json["nodes"]}
    distances = []
    for index, face in enumerate(faces):
        matrix = np.reshape(nodes[f"Face{index}"]["matrix"], (4, 4)).T
        mesh = file.json["meshes"][nodes[f"Face{index}_face"]["mesh"]]
        points = file.array(mesh["primitives"][0]["attributes"]["POSITION"]).astype(np.float64)
        placed = points @ matrix[:3, :3].T + matrix[:3, 3]
        seen = _project(placed, np.diag([about["focal_px"]] * 2 + [1]), (width / 2, height / 2))
        own = points @ np.array(face["pose"]["rotation_matrix"]).T
        own += np.array(face["pose"]["translation_mm"]) / 1000
        intrinsics = np.array(face["intrinsics"])
        expected = _project(own, intrinsics, intrinsics[:2, 2])
        size = np.ptp(expected, axis=0).max()
        assert np.linalg.norm(seen - expected, axis=1).mean() < 0.04 * size
        distances.append(1 - matrix[2, 3])
    assert distances[2] > 1.7 * distances[0]
    assert 0.8 < distances[1] / distances[0] < 1.3


def _project(
    points: np.ndarray, intrinsics: np.ndarray, middle: np.ndarray | tuple[float, float]
) -> np.ndarray:
    """Pixels (n, 2) of points (n, 3) m before a camera at (0, 0, 1) m."""
    return intrinsics[0, 0] * points[:, :2] * (1, -1) / (1 - points[:, 2:]) + middle
