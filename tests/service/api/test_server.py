"""The real server, over the wire, on a real photograph."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

import facewright.service.pipeline.photo_types  # noqa: F401  Pillow writes HEIC files with it
from facewright.models.camera import pose_points, project, rotation_matrix
from facewright.service.api.problems import Problem
from facewright.service.results.schemas import ModelsResult, ReconstructResult
from tests.service.running import metric, until

PATH = "/v1/reconstruct"
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def post(client: httpx.Client, photo: bytes, query: str = "", **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(PATH + query, files={"image": ("name.jpg", photo)}, headers=names)


def assert_problem(response: httpx.Response, status: int, code: str) -> Problem:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code) == (status, code)
    assert problem.request_id == response.headers["x-request-id"]
    assert problem.instance == response.request.url.path
    assert problem.type == f"urn:facewright:problem:{code}"
    assert problem.detail
    return problem


# --- answers ----------------------------------------------------------------------------------


def test_json_describes_the_face(client: httpx.Client, portrait_jpeg: bytes) -> None:
    response = post(client, portrait_jpeg)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["facewright-faces"] == "1"
    assert re.search(r"decode;dur=[\d.]+, detect;dur=", response.headers["server-timing"])
    result = ReconstructResult.model_validate_json(response.content)
    assert (result.photo.width, result.photo.height) == (512, 512)
    (face,) = result.faces
    # The astronaut's face, found by eye in the picture.
    assert 150 < face.box.x0 < 200 < 250 < face.box.x1 < 300
    assert 40 < face.box.y0 < 100 < 150 < face.box.y1 < 220
    assert face.score > 0.5
    assert face.mesh is None
    assert result.overlay is None
    confidences = face.confidence
    assert 0 < confidences.min < confidences.mean < confidences.max < 1
    nose = face.landmarks[30]
    assert face.box.x0 < nose[0] < face.box.x1
    assert face.box.y0 < nose[1] < face.box.y1


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_client_can_draw_the_mesh_on_its_photo_from_the_answer(
    client: httpx.Client, portrait_jpeg: bytes, assets: Any, turns: int
) -> None:
    """Mesh, pose and intrinsics of the answer, put together as its schema says."""
    upright = cv2.imdecode(np.frombuffer(portrait_jpeg, np.uint8), cv2.IMREAD_COLOR)
    photo = cv2.imencode(".png", np.rot90(upright, turns))[1].tobytes()
    answer = post(client, photo, "?include=mesh&mesh_format=obj").json()["faces"][0]
    assert answer["mesh"]["media_type"] == "model/obj"
    vertices = _obj_vertices(b64decode(answer["mesh"]["data"]))
    assert len(vertices) == answer["mesh"]["vertices"]
    rotation = np.array(answer["pose"]["rotation_matrix"])
    p = vertices @ rotation.T + answer["pose"]["translation_mm"]
    rays = np.stack([p[:, 0], -p[:, 1], 1000 - p[:, 2]], 1)
    intrinsics = np.array(answer["intrinsics"])
    assert intrinsics[0, 0] == intrinsics[1, 1] > 0
    assert np.count_nonzero(intrinsics) == 5
    homogeneous = rays @ intrinsics.T
    pixels = homogeneous[:, :2] / homogeneous[:, 2:]
    landmarks = np.array(answer["landmarks"])
    assert np.abs(pixels[assets.model.landmarks] - landmarks).max() < 0.01
    # By eye: the middle of the upright face is near (224, 118), wherever the photo was turned.
    middle = np.array([224.0, 118.0]) - 256
    for _ in range(turns):
        middle = np.array([middle[1], -middle[0]])
    assert np.linalg.norm(landmarks.mean(0) - 256 - middle) < 25
    # The crop transform leads to the 224 crop, whose camera and pose are the paper's.
    transform = np.array(answer["crop_transform"])
    in_crop = landmarks @ transform[:, :2].T + transform[:, 2]
    pose = {name: np.array([answer["coefficients"][name]]) for name in ("rotation", "translation")}
    posed = pose_points(vertices[None], pose["rotation"], pose["translation"])
    assert np.abs(in_crop - project(posed)[0][assets.model.landmarks]).max() < 0.01
    angles = np.radians([answer["pose"]["angles"][name] for name in ("pitch", "yaw", "roll")])
    assert np.allclose(rotation_matrix(angles[None])[0], rotation, atol=1e-5)
    a, b = transform[0, :2]
    in_crop_angles = angles + [0, 0, np.arctan2(b, a)]
    turned = np.remainder(in_crop_angles - pose["rotation"][0] + np.pi, 2 * np.pi) - np.pi
    assert np.abs(turned).max() < 1e-5


def _obj_vertices(text: bytes) -> np.ndarray:
    lines = [line.split()[1:4] for line in text.decode().splitlines() if line.startswith("v ")]
    return np.array(lines, float)


@pytest.mark.parametrize(
    ("accept", "start"),
    [
        ("model/gltf-binary", b"glTF"),
        ("model/obj", b"#"),
        ("image/jpeg", b"\xff\xd8"),
        ("image/png", b"\x89PNG"),
        ("application/zip", b"PK"),
        ("text/html;q=0.9, image/*;q=0.5, model/*;q=0.7", b"glTF"),
    ],
)
def test_accept_chooses_the_form(
    client: httpx.Client, group_jpeg: bytes, accept: str, start: bytes
) -> None:
    response = post(client, group_jpeg, accept=accept)
    assert response.status_code == 200
    assert response.content.startswith(start)
    assert response.headers["facewright-faces"] == "3"
    assert response.headers["vary"] == "Accept"
    if accept.startswith("image/"):
        assert response.headers["content-type"] == accept
        pixels = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR)
        assert pixels.shape == (512, 1024, 3)


def test_accept_may_come_in_several_lines(client: httpx.Client, portrait_jpeg: bytes) -> None:
    headers = [("accept", "text/html"), ("accept", "model/obj")]
    response = client.post(PATH, files={"image": portrait_jpeg}, headers=headers)
    assert response.headers["content-type"] == "model/obj"


def test_the_overlay_is_drawn_on_the_face_and_nowhere_else(
    client: httpx.Client, portrait_jpeg: bytes
) -> None:
    def pixels(data: bytes) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)

    drawn = pixels(post(client, portrait_jpeg, accept="image/png").content)
    change = np.abs(drawn - pixels(portrait_jpeg)).max(-1)
    assert (change[80:160, 195:255] > 8).mean() > 0.8
    assert change[300:].max() == 0
    dotted = pixels(post(client, portrait_jpeg, "?landmarks=true", accept="image/png").content)
    assert np.abs(dotted - drawn).max() > 30


def test_zip_holds_every_file(client: httpx.Client, group_jpeg: bytes) -> None:
    response = post(client, group_jpeg, "?texture=albedo", accept="application/zip")
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    meshes = {f"face{i}.{form}" for i in range(3) for form in ("glb", "obj")}
    assert set(archive.namelist()) == {"result.json", "overlay.jpg", *meshes}
    assert len(json.loads(archive.read("result.json"))["faces"]) == 3
    alone = post(client, group_jpeg, "?texture=albedo", accept="model/gltf-binary").content
    assert archive.read("face0.glb") == alone


def test_faces_come_largest_first(client: httpx.Client, group_jpeg: bytes) -> None:
    faces = post(client, group_jpeg).json()["faces"]
    widths = [face["box"]["x1"] - face["box"]["x0"] for face in faces]
    assert len(faces) == 3
    assert widths[0] > 1.5 * widths[1]
    largest = post(client, group_jpeg, "?faces=largest").json()["faces"]
    assert len(largest) == 1
    assert largest[0]["box"] == faces[0]["box"]


def test_include_adds_only_what_is_asked_for(client: httpx.Client, portrait_jpeg: bytes) -> None:
    answer = post(client, portrait_jpeg, "?include=mesh,overlay,confidences").json()
    face = answer["faces"][0]
    assert b64decode(face["mesh"]["data"]).startswith(b"glTF")
    assert face["mesh"]["media_type"] == "model/gltf-binary"
    assert b64decode(answer["overlay"]["data"]).startswith(b"\xff\xd8")
    assert len(face["confidences"]) == 80
    assert np.mean(face["confidences"]) == pytest.approx(face["confidence"]["mean"], abs=1e-6)
    repeated = post(client, portrait_jpeg, "?include=mesh&include=confidences").json()
    assert "overlay" not in repeated
    assert repeated["faces"][0]["mesh"] == face["mesh"]
    assert post(client, portrait_jpeg, "?include=").status_code == 200


def _glb_parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[12:16], "little")
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def _texture(data: bytes) -> np.ndarray:
    """The image inside a GLB file: (N, N, 3) RGB."""
    document, payload = _glb_parts(data)
    view = document["bufferViews"][document["images"][0]["bufferView"]]
    file = payload[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_a_mesh_has_a_texture_unless_it_is_not_asked_for(
    client: httpx.Client, portrait_jpeg: bytes
) -> None:
    textured = post(client, portrait_jpeg, accept="model/gltf-binary").content
    assert "images" in _glb_parts(textured)[0]
    assert textured == post(client, portrait_jpeg, "?texture=photo", accept="model/*").content
    plain = post(client, portrait_jpeg, "?texture=albedo", accept="model/gltf-binary").content
    assert "images" not in _glb_parts(plain)[0]
    assert post(client, portrait_jpeg).json()["texture"] == "photo"


def test_the_texture_is_the_photo_where_it_shows_the_face(
    client: httpx.Client, portrait_jpeg: bytes, assets: Any
) -> None:
    answer = post(client, portrait_jpeg, "?include=mesh&texture=photo").json()
    assert answer["texture"] == "photo"
    face = answer["faces"][0]
    pixels = _texture(b64decode(face["mesh"]["data"]))
    assert pixels.shape == (1024, 1024, 3)
    photo = cv2.imdecode(np.frombuffer(portrait_jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    # Around the nose the face is in full view.
    for index in (28, 29, 33, 31, 35):
        u, v = assets.model.uv[assets.model.landmarks[index]]
        x, y = face["landmarks"][index]
        baked = pixels[int((1 - v) * 1024) - 2 :, int(u * 1024) - 2 :][:4, :4].mean((0, 1))
        shown = photo[int(y) - 1 :, int(x) - 1 :][:3, :3].mean((0, 1))
        assert np.abs(baked - shown).max() < 25


@pytest.mark.parametrize("size", [256, 512, 1024, 2048])
def test_the_texture_has_the_size_asked_for(
    client: httpx.Client, portrait_jpeg: bytes, size: int
) -> None:
    query = f"?texture=photo&texture_size={size}"
    response = post(client, portrait_jpeg, query, accept="model/gltf-binary")
    assert _texture(response.content).shape == (size, size, 3)
    assert re.search(r"texture;dur=[\d.]+", response.headers["server-timing"])


def test_an_obj_file_on_its_own_has_the_colors_of_the_photo(
    client: httpx.Client, portrait_jpeg: bytes
) -> None:
    plain, colored = (
        post(client, portrait_jpeg, f"?texture={texture}", accept="model/obj").text
        for texture in ("albedo", "photo")
    )
    assert "mtllib" not in colored
    one, other = (
        np.array([line.split()[1:] for line in text.splitlines() if line.startswith("v ")], float)
        for text in (plain, colored)
    )
    np.testing.assert_array_equal(one[:, :3], other[:, :3])
    assert np.abs(one[:, 3:] - other[:, 3:]).max() > 0.1


def test_zip_holds_material_and_texture(client: httpx.Client, group_jpeg: bytes) -> None:
    response = post(client, group_jpeg, "?texture_size=256", accept="application/zip")
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    kinds = ("glb", "obj", "mtl", "png")
    expected = {f"face{i}.{kind}" for i in range(3) for kind in kinds}
    assert set(archive.namelist()) == {"result.json", "overlay.jpg", *expected}
    assert b"\nmtllib face1.mtl\nusemtl skin\n" in archive.read("face1.obj")
    assert b"\nmap_Kd face1.png\n" in archive.read("face1.mtl")
    png = cv2.imdecode(np.frombuffer(archive.read("face1.png"), np.uint8), cv2.IMREAD_COLOR)
    jpeg = _texture(archive.read("face1.glb"))
    assert png.shape == jpeg.shape == (256, 256, 3)
    assert np.abs(png[..., ::-1].astype(int) - jpeg).mean() < 3
    others = cv2.imdecode(np.frombuffer(archive.read("face0.png"), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(png.astype(int) - others).mean() > 0.5


def test_a_bare_body_gives_the_same_answer(client: httpx.Client, portrait_jpeg: bytes) -> None:
    bare = client.post(PATH, content=portrait_jpeg, headers={"content-type": "image/jpeg"})
    assert bare.json() == post(client, portrait_jpeg).json()


def test_models_tells_what_is_loaded(client: httpx.Client, assets: Any) -> None:
    described = ModelsResult.model_validate_json(client.get("/v1/models").content)
    assert described.face_model.sha256 == assets.model.sha256 == described.weights.face_model
    assert described.face_model.vertices == assets.model.n_vertices
    assert described.face_model.license == "CC0-1.0"
    assert described.weights.name == "brightness"
    assert described.weights.providers == ["CPUExecutionProvider"]
    assert described.detector.name == "blazeface"
    assert described.detector.license == "Apache-2.0 (BlazeFace, FaceMesh), MIT (CenterFace)"


def test_parallel_requests_share_batches_and_do_not_mix(
    client: httpx.Client, server: Any, portrait_jpeg: bytes, group_jpeg: bytes
) -> None:
    expected = [post(client, photo).json() for photo in (portrait_jpeg, group_jpeg)]
    batches, items = (
        metric(client, f'facewright_batch_size_{part}{{stage="regress"}}')
        for part in ("count", "sum")
    )

    def one(index: int) -> bool:
        with server.client() as own:
            photo = (portrait_jpeg, group_jpeg)[index % 2]
            answer = post(own, photo).json()
        return _close(answer, expected[index % 2])

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(one, range(24)))
    items = metric(client, 'facewright_batch_size_sum{stage="regress"}') - items
    batches = metric(client, 'facewright_batch_size_count{stage="regress"}') - batches
    assert items == 12 * 1 + 12 * 3
    assert batches < items


def _close(a: Any, b: Any) -> bool:
    """Equal but for the last digits, which may depend on the batch."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_close, a, b))
    return bool(np.isclose(a, b, rtol=1e-4, atol=1e-2)) if isinstance(a, float) else a == b


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [3, 100, 5000])
def test_400_for_a_truncated_photo(client: httpx.Client, portrait_jpeg: bytes, cut: int) -> None:
    assert_problem(post(client, portrait_jpeg[:cut]), 400, "undecodable_photo")


def test_400_for_an_empty_photo(client: httpx.Client) -> None:
    assert_problem(post(client, b""), 400, "undecodable_photo")


def test_400_for_a_photo_too_small_for_a_face(client: httpx.Client) -> None:
    photo = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    assert_problem(post(client, photo), 400, "bad_photo")


def test_400_for_a_broken_form(client: httpx.Client) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = client.post(PATH, content=b"not a form", headers=headers)
    assert_problem(response, 400, "malformed_request")


def test_404_and_405(client: httpx.Client) -> None:
    assert_problem(client.get("/v1/nothing"), 404, "not_found")
    response = client.get(PATH)
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_406_comes_before_the_upload(client: httpx.Client, portrait_jpeg: bytes) -> None:
    problem = assert_problem(post(client, portrait_jpeg, accept="text/html"), 406, "not_acceptable")
    assert "model/gltf-binary" in problem.detail


def test_415_for_other_bodies_and_other_images(client: httpx.Client) -> None:
    response = client.post(PATH, content=b"x", headers={"Content-Encoding": "gzip"})
    assert "gzip" in assert_problem(response, 415, "unsupported_media_type").detail
    problem = assert_problem(post(client, b"GIF89a" + bytes(100)), 415, "unsupported_photo_type")
    assert "GIF" in problem.detail


def test_422_for_a_photo_without_a_face(client: httpx.Client, faceless_jpeg: bytes) -> None:
    assert_problem(post(client, faceless_jpeg), 422, "no_face_found")


def test_options_may_stand_in_query_form_or_json(client: httpx.Client, group_jpeg: bytes) -> None:
    asked = {"faces": "largest", "include": "confidences"}
    in_json = {"image": b64encode(group_jpeg).decode(), **asked}
    answers = [
        client.post(PATH, params=asked, files={"image": group_jpeg}),
        client.post(PATH, data=asked, files={"image": group_jpeg}),
        client.post(PATH, params={"faces": "largest"}, data={"include": "confidences"},
                    files={"image": group_jpeg}),
        client.post(PATH, json=in_json),
        client.post(PATH, json={**in_json, "include": ["confidences"]}),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json() == answers[0].json()
    assert len(answers[0].json()["faces"][0]["confidences"]) == 80


def test_photos_of_a_phone_are_taken(client: httpx.Client, portrait_jpeg: bytes) -> None:
    for form in ("HEIF", "AVIF"):
        file = io.BytesIO()
        Image.open(io.BytesIO(portrait_jpeg)).save(file, form, quality=90)
        answer = client.post(
            PATH, content=file.getvalue(), headers={"Content-Type": f"image/{form.lower()}"}
        )
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["faces"]) == 1


@pytest.mark.parametrize(("form", "magic"), [("ply", b"ply\n"), ("stl", b"facewright")])
def test_meshes_for_printers_and_scanners(
    client: httpx.Client, portrait_jpeg: bytes, form: str, magic: bytes
) -> None:
    answer = post(client, portrait_jpeg, "?pose=camera", accept=f"model/{form}")
    assert answer.headers["content-type"] == f"model/{form}"
    assert f'filename="face.{form}"' in answer.headers["content-disposition"]
    assert answer.content.startswith(magic)
    assert (b"comment axes: +X to the right of the photo" in answer.content) == (form == "ply")
    answer = post(client, portrait_jpeg, f"?include=mesh&mesh_format={form}&pose=camera")
    mesh = answer.json()["faces"][0]["mesh"]
    assert mesh["media_type"] == f"model/{form}"
    assert b64decode(mesh["data"]).startswith(magic)


def test_422_for_a_part_of_another_name(client: httpx.Client, portrait_jpeg: bytes) -> None:
    response = client.post(PATH, files={"photo": portrait_jpeg})
    assert "'photo'" in assert_problem(response, 422, "invalid_parameter").detail


def test_413_for_bytes_and_pixels(serve_here: Start, portrait_jpeg: bytes) -> None:
    with serve_here(max_upload_bytes=200_000, max_pixels=200_000) as server:
        with server.client() as client:
            assert_problem(post(client, bytes(200_001)), 413, "photo_too_large")
            assert_problem(post(client, portrait_jpeg), 413, "photo_too_large")
            response = client.post(
                PATH,
                content=(bytes(10_000) for _ in range(1000)),
                headers={"content-type": "image/jpeg"},
            )
            assert_problem(response, 413, "photo_too_large")
        _refuses_a_gigabyte_early(server)


def _refuses_a_gigabyte_early(server: Any) -> None:
    """The answer is there although the client has sent a thousandth and never stops."""
    head = b"POST /v1/reconstruct HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
    with server.connect() as connection:
        connection.sendall(head + b"Content-Length: 1000000000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    with server.connect() as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.setblocking(False)
        sent = 0
        for _ in range(1000):
            try:
                connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                sent += 65536
            except BlockingIOError:
                pass
            try:
                assert connection.recv(100).startswith(b"HTTP/1.1 413")
                break
            except BlockingIOError:
                time.sleep(0.001)
        else:
            pytest.fail("no answer")
        assert sent < 20_000_000


def test_429_for_too_many_uploads_and_408_for_who_never_finishes(
    serve_here: Start, portrait_jpeg: bytes
) -> None:
    half_a_photo = (
        b"POST /v1/reconstruct HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
        b"Content-Length: 100\r\n\r\nhalf"
    )
    with (
        serve_here(concurrency=1, max_waiting=0, max_uploads=2, upload_timeout=3) as server,
        server.client() as client,
        server.connect() as slow,
        server.connect() as slower,
    ):
        slow.sendall(half_a_photo)
        until(lambda: metric(client, "facewright_uploads_in_flight") == 1)
        assert post(client, portrait_jpeg).status_code == 200  # nobody holds the only thread
        slower.sendall(half_a_photo)
        until(lambda: metric(client, "facewright_uploads_in_flight") == 2)
        response = post(client, portrait_jpeg)
        assert_problem(response, 429, "queue_full")
        assert int(response.headers["retry-after"]) >= 1
        answer = b""
        while b"upload_timeout" not in answer:
            received = slow.recv(4096)
            assert received
            answer += received
        assert answer.startswith(b"HTTP/1.1 408")
        assert post(client, portrait_jpeg).status_code == 200


def test_504_when_time_has_passed(serve_here: Start, portrait_jpeg: bytes) -> None:
    with serve_here(request_timeout=0.005) as server, server.client() as client:
        assert_problem(post(client, portrait_jpeg), 504, "deadline_passed")
        until(lambda: metric(client, "facewright_photos_in_flight") == 0)


def test_an_unusable_model_ends_the_server_with_one_line(
    start_server: Start, tmp_path: Any
) -> None:
    file = tmp_path / "unusable"
    file.write_bytes(b"no model")
    with start_server(wait_ready=False, weights=file) as server:
        assert server.process.wait(60) == 3
        entries = [json.loads(line) for line in server.log().splitlines()]
        (entry,) = [entry for entry in entries if entry["level"] == "error"]
        assert entry["message"] == "the models cannot be loaded"
        assert str(file) in entry["reason"]
        assert "traceback" not in entry


def test_the_address_is_told_once_the_models_are_loaded(server: Any) -> None:
    messages = [json.loads(line)["message"] for line in server.log().splitlines()]
    told = [message for message in messages if server.url in message]
    assert told == [f"ready: {server.url}"]
    assert messages.index(told[0]) > messages.index("Application startup complete.")


@pytest.mark.slow
def test_on_a_terminal_the_log_is_for_people(assets: Any) -> None:
    master, terminal = pty.openpty()
    environment = {**os.environ, **assets.environment, "FACEWRIGHT_DRAIN_SECONDS": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "facewright", "serve", "--port", "0"],
        env=environment,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    seen = b""
    try:
        while b"ready: " not in seen:
            seen += os.read(master, 4096)
        assert re.search(rb"\d\d:\d\d:\d\d info +ready: http://127\.0\.0\.1:[1-9]\d+\r\n", seen)
        assert b"running on" not in seen
    finally:
        process.terminate()
        process.wait(30)
        os.close(master)


def test_sigterm_drains_then_finishes_work_in_hand(
    start_server: Start, portrait_jpeg: bytes
) -> None:
    with start_server(drain_seconds=1.5) as server, server.client() as client:
        head = (
            "POST /v1/reconstruct?faces=largest HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg"
            f"\r\nContent-Length: {len(portrait_jpeg)}\r\n\r\n"
        )
        with server.connect() as slow:
            slow.sendall(head.encode() + portrait_jpeg[:1000])
            server.process.send_signal(signal.SIGTERM)
            until(lambda: client.get("/readyz").status_code == 503)
            assert_problem(client.get("/readyz"), 503, "not_ready")
            assert client.get("/livez").status_code == 200
            assert post(client, portrait_jpeg).status_code == 200
            until(lambda: _refused(server))
            slow.sendall(portrait_jpeg[1000:])
            assert slow.recv(100).startswith(b"HTTP/1.1 200")
        server.process.wait(20)
        assert '"stopped"' in server.log()


def _refused(server: Any) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


# --- operation --------------------------------------------------------------------------------


def test_probes(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}


def test_metrics_count_what_happened(client: httpx.Client, portrait_jpeg: bytes) -> None:
    series = 'facewright_requests_total{method="POST",route="/v1/reconstruct",status="200"}'
    before = metric(client, series), metric(client, "facewright_faces_per_photo_sum")
    post(client, portrait_jpeg)
    client.get("/v1/unknown-path-of-this-test")
    client.get("/openapi.json")
    assert metric(client, series) == before[0] + 1
    assert metric(client, "facewright_faces_per_photo_sum") == before[1] + 1
    text = client.get("/metrics").text
    for stage in ("decode", "detect", "regress", "reconstruct"):
        assert f'facewright_stage_seconds_count{{stage="{stage}"}}' in text
    for name in ("request_seconds", "batch_size", "queue_depth", "photos_in_flight", "ready"):
        assert f"\nfacewright_{name}" in text
    assert "unknown-path-of-this-test" not in text
    assert 'route="unmatched",status="404"' in text
    assert 'route="unmatched",status="200"' not in text
    assert 'route="/openapi.json",status="200"' in text
    assert metric(client, "facewright_photos_in_flight") == 0


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_may_ask_for_the_head_only(client: httpx.Client, path: str) -> None:
    response = client.head(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == client.get(path).headers["content-type"]
    assert response.content == b""


def test_request_ids_are_taken_over_or_made(client: httpx.Client) -> None:
    taken = client.get("/livez", headers={"X-Request-ID": "abc-1.2_3"})
    assert taken.headers["x-request-id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 200, "<script>", ""):
        made = client.get("/livez", headers={"X-Request-ID": bad}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_logs_are_json_and_keep_secrets(
    client: httpx.Client, server: Any, portrait_jpeg: bytes
) -> None:
    client.post(
        PATH + "?faces=largest",
        files={"image": ("my-secret-name.jpg", portrait_jpeg)},
        headers={"X-Request-ID": "log-test"},
    )
    until(lambda: '"log-test"}\n' in server.log())  # an entry is written after its answer
    log = server.log()
    entries = [json.loads(line) for line in log.splitlines()]
    (entry,) = [e for e in entries if e.get("request_id") == "log-test"]
    assert entry["status"] == 200
    assert entry["faces"] == 1
    assert entry["photo_bytes"] == len(portrait_jpeg)
    assert entry["stages_ms"]["detect"] > 0
    assert "my-secret-name" not in log
    assert not any(e.get("path") == "/livez" for e in entries)


def test_two_workers_add_up_their_metrics(start_server: Start, portrait_jpeg: bytes) -> None:
    with start_server(workers=2) as server:
        for _ in range(6):
            with server.client() as client:
                until(lambda c=client: c.get("/readyz").status_code == 200, 60)  # type: ignore[misc]
                assert post(client, portrait_jpeg).status_code == 200
        with server.client() as client:
            assert metric(client, "facewright_faces_per_photo_sum") == 6
            until(lambda: metric(client, "facewright_ready") == 2, 60)
        workers = re.findall(r"Started server process \[(\d+)\]", server.log())
        os.kill(int(workers[0]), signal.SIGKILL)
        until(lambda: server.log().count('"ready: http://') == 3, 60)
        with server.client() as client:
            assert metric(client, "facewright_ready") == 2
            assert metric(client, "facewright_faces_per_photo_sum") == 6
