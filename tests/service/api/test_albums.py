"""Albums at the real server: one real person, photographed well, mirrored and in the dark."""

from __future__ import annotations

import io
import re
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from skimage import data as pictures

from facewright.models.aggregation import aggregate
from facewright.service.api.problems import Problem
from facewright.service.results.schemas import AlbumPhoto, AlbumResult
from tests.service.running import metric, until

PATH = "/v1/albums/reconstruct"
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def client(serve_here: Start, telling_weights: Any) -> Iterator[httpx.Client]:
    with serve_here(weights=telling_weights) as server, server.client() as client:
        yield client


@pytest.fixture(scope="module")
def album(portrait_jpeg: bytes, mirrored_jpeg: bytes) -> list[bytes]:
    """Three photos that agree."""
    upright = cv2.imdecode(np.frombuffer(portrait_jpeg, np.uint8), cv2.IMREAD_COLOR)
    brighter = np.clip(upright * 1.06, 0, 255).astype(np.uint8)
    return [portrait_jpeg, mirrored_jpeg, cv2.imencode(".png", brighter)[1].tobytes()]


def post(
    client: httpx.Client, photos: Sequence[bytes], query: str = "", **headers: str
) -> httpx.Response:
    files = [("images", (f"secret-name-{k}.jpg", photo)) for k, photo in enumerate(photos)]
    return client.post(PATH + query, files=files, headers=headers)


def result(client: httpx.Client, photos: Sequence[bytes], query: str = "") -> AlbumResult:
    response = post(client, photos, query)
    assert response.status_code == 200, response.text
    parsed = AlbumResult.model_validate_json(response.content)
    assert response.headers["facewright-photos"] == str(parsed.identity.photos_used)
    assert [photo.index for photo in parsed.photos] == list(range(len(photos)))
    return parsed


def assert_problem(response: httpx.Response, status: int, code: str) -> Problem:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code, problem.instance) == (status, code, PATH)
    return problem


def identity_of(photo: AlbumPhoto) -> list[float]:
    assert photo.face is not None
    return photo.face.coefficients.identity


# --- the identity -----------------------------------------------------------------------------


def test_the_identity_is_equation_7_of_what_each_photo_says(
    client: httpx.Client, album: list[bytes]
) -> None:
    answer = result(client, album, "?include=confidences")
    identity = np.array([identity_of(photo) for photo in answer.photos], np.float32)
    assert np.ptp(identity, axis=0).max() > 0.05
    confidences = np.array([photo.face.confidences for photo in answer.photos if photo.face])
    expected = (confidences * identity).sum(0) / confidences.sum(0)
    np.testing.assert_allclose(answer.identity.coefficients, expected, atol=1e-5)
    albedo = [photo.face.coefficients.albedo for photo in answer.photos if photo.face]
    np.testing.assert_allclose(answer.identity.albedo, np.mean(albedo, axis=0), atol=1e-5)
    shares = (confidences / confidences.sum(0)).mean(1)
    np.testing.assert_allclose([photo.share for photo in answer.photos], shares, atol=1e-5)
    assert [photo.status for photo in answer.photos] == ["used"] * 3
    assert not any(photo.likeness.stranger for photo in answer.photos if photo.likeness)
    assert (answer.strategy, answer.faces, answer.outliers) == ("confidence", "largest", "flag")
    assert answer.identity.mesh is None


def test_a_photo_says_the_same_in_an_album_as_alone(
    client: httpx.Client, album: list[bytes]
) -> None:
    answer = result(client, album)
    alone = client.post("/v1/reconstruct?faces=largest", files={"image": album[1]}).json()
    (face,) = alone["faces"]
    shown = answer.photos[1].face
    assert shown is not None
    for name in ("identity", "expression", "light"):
        own = getattr(shown.coefficients, name)
        np.testing.assert_allclose(own, face["coefficients"][name], atol=1e-5)
    assert shown.box.model_dump() == face["box"]
    assert alone["photo"] == answer.photos[1].photo.model_dump()  # type: ignore[union-attr]
    # Landmarks are of the album's identity: near the photo's own, but not the same.
    away = np.abs(np.subtract(shown.landmarks, face["landmarks"]))
    assert 1e-3 < away.max() < 5


def test_order_does_not_matter(client: httpx.Client, album: list[bytes]) -> None:
    forwards, backwards = result(client, album), result(client, album[::-1])
    np.testing.assert_allclose(
        forwards.identity.coefficients, backwards.identity.coefficients, atol=1e-4
    )
    for one, other in zip(forwards.photos, backwards.photos[::-1], strict=True):
        assert one.share == pytest.approx(other.share, abs=1e-5)
        np.testing.assert_allclose(identity_of(one), identity_of(other), atol=1e-4)


@pytest.mark.parametrize("strategy", ["mean", "best"])
def test_strategies(client: httpx.Client, album: list[bytes], strategy: Any) -> None:
    answer = result(client, album, f"?strategy={strategy}&include=confidences")
    identity = np.array([identity_of(photo) for photo in answer.photos], np.float32)
    confidences = np.array([photo.face.confidences for photo in answer.photos if photo.face])
    expected = aggregate(identity, confidences, strategy)
    np.testing.assert_allclose(answer.identity.coefficients, expected, atol=1e-5)
    assert sum(photo.share or 0 for photo in answer.photos) == pytest.approx(1, abs=1e-5)
    if strategy == "best":
        assert sorted(photo.share or 0 for photo in answer.photos) == [0, 0, 1]


# --- strangers --------------------------------------------------------------------------------


def test_a_stranger_is_flagged_and_left_out_on_request(
    client: httpx.Client, album: list[bytes], stranger_jpeg: bytes
) -> None:
    photos = [album[0], stranger_jpeg, *album[1:]]
    flagged, dropped = result(client, photos), result(client, photos, "?outliers=drop")
    for answer in (flagged, dropped):
        likeness = [photo.likeness for photo in answer.photos]
        assert [one.stranger for one in likeness if one] == [False, True, False, False]
        assert likeness[1] is not None
        assert likeness[1].distance > answer.stranger_distance == 2.5
    assert [photo.status for photo in flagged.photos] == ["used"] * 4
    assert [photo.status for photo in dropped.photos] == ["used", "left_out", "used", "used"]
    assert dropped.photos[1].share == 0
    assert dropped.photos[1].face is not None
    without = result(client, album)
    expected = without.identity.coefficients
    np.testing.assert_allclose(dropped.identity.coefficients, expected, atol=1e-4)
    assert np.abs(np.subtract(flagged.identity.coefficients, expected)).max() > 0.1


def test_of_two_photos_that_disagree_none_is_left_out(
    client: httpx.Client, portrait_jpeg: bytes, stranger_jpeg: bytes
) -> None:
    answer = result(client, [portrait_jpeg, stranger_jpeg], "?outliers=drop")
    assert all(photo.likeness and photo.likeness.stranger for photo in answer.photos)
    assert answer.identity.photos_used == 2


def test_the_consistent_face_of_a_crowd(
    client: httpx.Client, album: list[bytes], stranger_jpeg: bytes
) -> None:
    crowd = np.full((512, 800, 3), 128, np.uint8)
    crowd[:, :512] = cv2.imdecode(np.frombuffer(stranger_jpeg, np.uint8), cv2.IMREAD_COLOR)
    small = cv2.cvtColor(pictures.astronaut(), cv2.COLOR_RGB2BGR)
    crowd[128:384, 544:] = cv2.resize(small, (256, 256), interpolation=cv2.INTER_AREA)
    photos = [*album, cv2.imencode(".png", crowd)[1].tobytes()]
    largest, consistent = (result(client, photos, f"?faces={f}") for f in ("largest", "consistent"))
    for answer, left, right, stranger in ((largest, 0, 512, True), (consistent, 544, 800, False)):
        face, likeness = answer.photos[3].face, answer.photos[3].likeness
        assert face is not None
        assert likeness is not None
        assert left < face.box.x0 < face.box.x1 < right
        assert likeness.stranger is stranger
    assert [photo.faces_found for photo in consistent.photos] == [1, 1, 1, 2]


# --- photos that cannot be used ---------------------------------------------------------------


def test_photos_that_cannot_be_used_are_reported_and_the_rest_answers(
    client: httpx.Client, album: list[bytes], faceless_jpeg: bytes
) -> None:
    bad = [faceless_jpeg, album[0][:3000], b"GIF89a" + bytes(50), b""]
    photos = [bad[0], album[0], bad[1], album[1], *bad[2:]]
    answer = result(client, photos)
    codes = [photo.problem.code if photo.problem else None for photo in answer.photos]
    assert codes == [
        "no_face_found", None, "undecodable_photo", None, "unsupported_photo_type",
        "undecodable_photo",
    ]  # fmt: skip
    for photo, code in zip(answer.photos, codes, strict=True):
        assert photo.status == ("failed" if code else "used")
        assert (photo.face is None) == (photo.photo is None) == (code is not None)
    rest = result(client, album[:2])
    np.testing.assert_allclose(answer.identity.coefficients, rest.identity.coefficients, atol=1e-4)
    assert post(client, photos, "?min_photos=2").status_code == 200
    problem = assert_problem(post(client, photos, "?min_photos=3"), 422, "too_few_photos")
    assert "2 of 6 photos" in problem.detail
    assert "photo 0: no_face_found" in problem.detail
    one = result(client, [album[0], faceless_jpeg])
    assert one.photos[0].likeness is None
    np.testing.assert_array_equal(one.identity.coefficients, identity_of(one.photos[0]))
    assert_problem(post(client, [faceless_jpeg] * 2), 422, "too_few_photos")


# --- forms of the answer ----------------------------------------------------------------------


def test_meshes_are_the_neutral_identity(
    client: httpx.Client, album: list[bytes], assets: Any
) -> None:
    obj = post(client, album, accept="model/obj")
    assert obj.headers["content-type"] == "model/obj"
    lines = [line.split()[1:4] for line in obj.text.splitlines() if line.startswith("v ")]
    answer = result(client, album, "?include=mesh")
    identity = np.array([answer.identity.coefficients])
    expected = assets.model.shape(identity, np.zeros((1, 64)))[0]
    np.testing.assert_allclose(np.array(lines, float), expected, atol=2e-3)
    glb = post(client, album, accept="model/gltf-binary")
    assert glb.content.startswith(b"glTF")
    assert 'filename="identity.glb"' in glb.headers["content-disposition"]
    assert answer.identity.mesh is not None
    assert b64decode(answer.identity.mesh.data) == glb.content
    assert answer.identity.mesh.vertices == assets.model.n_vertices


def test_overlays_are_reduced_and_drawn_where_the_face_is(
    client: httpx.Client, album: list[bytes]
) -> None:
    upright = cv2.imdecode(np.frombuffer(album[0], np.uint8), cv2.IMREAD_COLOR)
    large = cv2.resize(upright, (2560, 1920))
    photos = [album[0], cv2.imencode(".jpg", large)[1].tobytes()]
    answer = result(client, photos, "?include=overlay&landmarks=true")
    for photo, original, size in zip(
        answer.photos, (upright, large), ((512, 512), (1280, 960)), strict=True
    ):
        assert photo.overlay is not None
        assert photo.overlay.media_type == "image/jpeg"
        data = np.frombuffer(b64decode(photo.overlay.data), np.uint8)
        overlay = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert overlay.shape == (size[1], size[0], 3)
        reduced = cv2.resize(original, size, interpolation=cv2.INTER_AREA)
        changed = np.abs(overlay.astype(int) - reduced).max(2) > 40
        assert photo.face is not None
        scale = size[0] / original.shape[1]
        landmarks = np.array(photo.face.landmarks) * scale
        columns, rows = landmarks.astype(int).T
        assert changed[rows, columns].mean() > 0.5  # dots
        middle, reach = landmarks.mean(0), 4 * landmarks.std(0).max()
        far = np.ones_like(changed)
        low, high = np.maximum(middle - reach, 0).astype(int), (middle + reach).astype(int)
        far[low[1] : high[1], low[0] : high[0]] = False
        assert changed[far].mean() < 0.005


def test_a_picture_of_an_album_is_a_sheet_of_overlays(
    client: httpx.Client, album: list[bytes]
) -> None:
    for media_type in ("image/png", "image/jpeg"):
        response = post(client, [*album, b"x"], accept=media_type)
        assert response.headers["content-type"] == media_type
        sheet = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR)
        assert sheet.shape == (2 * 328 + 8, 2 * 328 + 8, 3)
        empty = sheet[336:-8, 336:-8]
        assert empty.std((0, 1)).max() < 2 < sheet[8:328, 8:328].std((0, 1)).min()


def test_the_zip_file_has_a_folder_for_each_photo(
    client: httpx.Client, album: list[bytes], faceless_jpeg: bytes
) -> None:
    photos = [album[0], faceless_jpeg, album[1]]
    response = post(client, photos, "?include=confidences", accept="application/zip")
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.namelist() == [
        "result.json", "identity.glb", "identity.obj", "identity.mtl", "identity.png",
        "photo00/overlay.jpg", "photo00/face.glb", "photo02/overlay.jpg", "photo02/face.glb",
    ]  # fmt: skip
    assert archive.testzip() is None
    AlbumResult.model_validate_json(archive.read("result.json"))
    assert archive.read("photo02/face.glb").startswith(b"glTF")
    assert archive.read("photo02/face.glb") != archive.read("identity.glb")


def test_other_forms_are_refused_before_the_upload(
    client: httpx.Client, album: list[bytes]
) -> None:
    assert_problem(post(client, album, accept="text/html"), 406, "not_acceptable")


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("?strategy=vote", "strategy"),
        ("?faces=all", "faces"),
        ("?outliers=keep", "outliers"),
        ("?min_photos=0", "min_photos"),
        ("?min_photos=65", "min_photos"),
        ("?pose=camera", "pose"),
        ("?texture=skin", "texture"),
    ],
)
def test_parameters_out_of_range(
    client: httpx.Client, album: list[bytes], query: str, parameter: str
) -> None:
    problem = assert_problem(post(client, album, query), 422, "invalid_parameter")
    assert problem.errors is not None
    assert [error.parameter for error in problem.errors] == [parameter]


def test_what_is_no_album(client: httpx.Client, album: list[bytes]) -> None:
    assert "at least 2" in assert_problem(post(client, album[:1]), 422, "invalid_parameter").detail
    response = client.post(PATH, files={"image": album[0]})
    assert "`images`" in assert_problem(response, 422, "invalid_parameter").detail
    headers = {"content-type": "image/jpeg"}
    response = client.post(PATH, content=album[0], headers=headers)
    assert_problem(response, 415, "unsupported_media_type")
    tiny = [b"x"] * 65
    assert "64" in assert_problem(post(client, tiny), 422, "invalid_parameter").detail


def test_limits_of_size_and_number(serve_here: Start, album: list[bytes]) -> None:
    size = max(map(len, album[:2]))
    limits = {"max_upload_bytes": size, "max_album_bytes": 4 * size, "max_album_photos": 3}
    with serve_here(**limits) as server, server.client() as client:
        answer = result(client, [album[0], bytes(size + 1), album[1]])
        problem = answer.photos[1].problem
        assert problem is not None
        assert problem.code == "photo_too_large"
        assert_problem(post(client, album[:2] * 2), 422, "invalid_parameter")
        huge = [bytes(4 * size + 60_000)] * 2
        assert "album" in assert_problem(post(client, huge), 413, "photo_too_large").detail
        boundary = b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\n'
        response = client.post(
            PATH,
            content=(boundary if k == 0 else bytes(100_000) for k in range(1000)),
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
        assert_problem(response, 413, "photo_too_large")


def test_places_and_deadlines(serve_here: Start, album: list[bytes]) -> None:
    with (
        serve_here(max_albums=1, album_upload_timeout=2, album_timeout=0.01) as server,
        server.client() as client,
        server.connect() as slow,
    ):
        slow.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b"
            "\r\nContent-Length: 100\r\n\r\n--b".encode()
        )
        until(lambda: metric(client, "facewright_albums_in_flight") == 1)
        response = post(client, album)
        assert_problem(response, 429, "queue_full")
        assert int(response.headers["retry-after"]) >= 1
        assert client.post("/v1/reconstruct", files={"image": album[0]}).status_code == 200
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
        until(lambda: metric(client, "facewright_albums_in_flight") == 0)
        assert_problem(post(client, album), 504, "deadline_passed")
        until(lambda: metric(client, "facewright_albums_in_flight") == 0)


# --- operation --------------------------------------------------------------------------------


def test_albums_and_photos_share_batches(
    start_server: Start, album: list[bytes], portrait_jpeg: bytes
) -> None:
    with start_server(batch_delay_ms=1500, batch_size=4) as server, server.client() as client:

        def alone() -> int:
            with server.client() as own:
                return own.post("/v1/reconstruct", files={"image": portrait_jpeg}).status_code

        with ThreadPoolExecutor(2) as pool:
            singles = [pool.submit(alone) for _ in range(2)]
            result(client, [album[0], album[1]])
            assert [single.result() for single in singles] == [200, 200]
        assert metric(client, 'facewright_batch_size_sum{stage="regress"}') == 4
        assert metric(client, 'facewright_batch_size_count{stage="regress"}') < 4
        assert metric(client, "facewright_photos_per_album_sum") == 2
        assert metric(client, 'facewright_stage_seconds_count{stage="detect"}') == 4
        assert "secret-name" not in server.log()


def test_the_description_has_examples(client: httpx.Client) -> None:
    call = client.get("/openapi.json").json()["paths"][PATH]["post"]
    images = call["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert images["images"]["maxItems"] == 64
    problems = call["responses"]["422"]["content"]["application/problem+json"]["examples"]
    assert problems["too_few_photos"]["value"]["instance"] == PATH
    example = call["responses"]["200"]["content"]["application/json"]["example"]
    AlbumResult.model_validate(example)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_large_photos_are_not_all_in_memory_at_once(
    start_server: Start, album: list[bytes]
) -> None:
    """Eight decoded photos alone would take 480 MB; see benchmarks/bench_album_memory.py."""
    upright = cv2.imdecode(np.frombuffer(album[0], np.uint8), cv2.IMREAD_COLOR)
    large = cv2.imencode(".jpg", cv2.resize(upright, (4480, 4480)))[1].tobytes()

    def peak_mb(process: int) -> float:
        status = Path(f"/proc/{process}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1000

    with start_server(album_concurrency=1) as server, server.client() as client:
        result(client, album)
        before = peak_mb(server.process.pid)
        answer = result(client, [large] * 8, "?include=overlay")
        assert answer.identity.photos_used == 8
        assert peak_mb(server.process.pid) - before < 8 * len(large) / 1e6 + 250
