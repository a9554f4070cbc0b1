"""docs/bring-your-own.md, as a license holder would follow it, on synthetic files."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import httpx
import numpy as np
import pytest
from skimage import data as pictures

from facewright.models.morphable_model import MorphableModel
from tests.released_files import write_basel, write_checkpoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "bring-your-own.md"
PROGRAMS = {
    "facewright": "facewright.cli",
    "facewright-train": "facewright.training.cli",
}


class Served(NamedTuple):
    folder: Path
    client: httpx.Client
    errors: str


def five_commands() -> list[str]:
    block = re.search(r"## Five commands\n.*?```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    return block[1].strip().splitlines()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page's commands as they stand, but for the port; the server goes on."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "BFM").mkdir()
    write_basel(folder / "BFM", side=45)
    (folder / "BFM" / "BFM_model_front.mat").unlink()
    write_checkpoint(folder / "epoch_20.pth")
    cv2.imwrite(str(folder / "photo.jpg"), pictures.astronaut()[..., ::-1])
    programs = folder / "programs"
    programs.mkdir()
    for name, module in PROGRAMS.items():
        start = f"exec {sys.executable} -c 'from {module} import app; app()' \"$@\""
        (programs / name).write_text(f"#!/bin/sh\n{start}\n")
        (programs / name).chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    commands = [line.replace("8000", str(port)) for line in five_commands()]
    assert len(commands) == 5
    script = "\n".join(["set -e", *commands, "echo $! > pid"])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FACEWRIGHT_")} | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "FACEWRIGHT_PORT": str(port),
        "FACEWRIGHT_DRAIN_SECONDS": "0",
    }
    with (folder / "log").open("wb") as log:
        run = subprocess.Popen(
            ["sh", "-c", script],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            run.wait(400)
            text = (folder / "log").read_text()
            assert run.returncode == 0, text
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
                yield Served(folder, client, text)
        finally:
            if (folder / "pid").exists():
                _stop(int((folder / "pid").read_text()))
            elif run.poll() is None:
                run.kill()


def _stop(pid: int) -> None:
    os.kill(pid, 15)
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(pid, 9)


def post(served: Served, accept: str, **fields: str) -> httpx.Response:
    photo = (served.folder / "photo.jpg").read_bytes()
    response = served.client.post(
        "/v1/reconstruct", files={"image": photo}, data=fields, headers={"Accept": accept}
    )
    assert response.status_code == 200, response.text
    return response


def test_the_five_commands_give_a_mesh(served: Served) -> None:
    assert (served.folder / "face.glb").read_bytes()[:4] == b"glTF"
    assert "Traceback" not in served.errors


def test_the_answer_is_in_the_released_conventions(served: Served) -> None:
    """Landmarks of the answer's coefficients, derived once more, lie where the answer says."""
    answer = post(served, "application/json", include="confidences").json()
    face: dict[str, Any] = answer["faces"][0]
    given = face["coefficients"]
    assert len(given["light"]) == 27
    assert set(face["confidences"]) == {1.0}
    assert "blendshapes" not in face
    crop = np.array(face["crop_transform"])
    assert crop[0, 1] == crop[1, 0] == 0.0  # not turned
    model = MorphableModel.load(served.folder / "own" / "face_model.npz")
    shape = model.shape(np.array([given["identity"]]), np.array([given["expression"]]))[0]
    pitch, yaw, roll = given["rotation"]
    c, s = np.cos, np.sin
    about_x = np.array([[1, 0, 0], [0, c(pitch), -s(pitch)], [0, s(pitch), c(pitch)]])
    about_y = np.array([[c(yaw), 0, s(yaw)], [0, 1, 0], [-s(yaw), 0, c(yaw)]])
    about_z = np.array([[c(roll), -s(roll), 0], [s(roll), c(roll), 0], [0, 0, 1]])
    units = shape[model.landmarks] / 100
    placed = units @ (about_z @ about_y @ about_x).T + np.array(given["translation"])
    away = 10 - placed[:, 2]
    seen = np.stack([112 + 1015 * placed[:, 0] / away, 112 - 1015 * placed[:, 1] / away], axis=1)
    in_photo = np.linalg.solve(crop[:, :2], (seen - crop[:, 2]).T).T
    np.testing.assert_allclose(in_photo, face["landmarks"], atol=2e-3)


@pytest.mark.parametrize(
    ("accept", "fields", "start"),
    [
        ("model/gltf-binary", {"texture": "photo"}, b"glTF"),
        ("model/obj", {}, b"#"),
        ("model/ply", {}, b"ply"),
        ("model/stl", {}, b""),
        ("image/png", {"landmarks": "true"}, b"\x89PNG"),
        ("application/zip", {"texture": "photo"}, b"PK"),
    ],
)
def test_every_form_is_answered(
    served: Served, accept: str, fields: dict[str, str], start: bytes
) -> None:
    response = post(served, accept, **fields)
    assert response.content.startswith(start)
    assert len(response.content) > 1000


def test_what_the_basel_model_lacks_is_said(served: Served) -> None:
    photo = (served.folder / "photo.jpg").read_bytes()
    response = served.client.post(
        "/v1/reconstruct", files={"image": photo}, data={"mesh": "head"},
        headers={"Accept": "model/gltf-binary"},
    )  # fmt: skip
    assert response.status_code == 422
    assert "no head" in response.json()["detail"]


def test_an_album_is_the_plain_mean_and_says_so(served: Served) -> None:
    mirrored = cv2.imread(str(served.folder / "photo.jpg"))[:, ::-1]
    other = cv2.imencode(".jpg", mirrored)[1].tobytes()
    photos = [(served.folder / "photo.jpg").read_bytes(), other]
    response = served.client.post(
        "/v1/albums/reconstruct",
        files=[("images", photo) for photo in photos],
        data={"strategy": "confidence"},
    )
    assert response.status_code == 200, response.text
    album = response.json()
    assert album["strategy"] == "mean"
    assert album["judged_by"] == "shape"
    each = [photo["face"]["coefficients"]["identity"] for photo in album["photos"]]
    np.testing.assert_allclose(album["identity"]["coefficients"], np.mean(each, axis=0), atol=1e-5)
    mesh = served.client.post(
        "/v1/albums/reconstruct",
        files=[("images", photo) for photo in photos],
        data={"texture": "photo"},
        headers={"Accept": "model/gltf-binary"},
    )
    assert mesh.content[:4] == b"glTF"


def test_the_models_are_named(served: Served) -> None:
    models = served.client.get("/v1/models").json()
    assert models["weights"]["name"] == "epoch_20"
    assert models["weights"]["layout"] == "257"
    assert models["weights"]["confidences"] is False
    assert "Basel" in models["face_model"]["name"]
