"""Albums whose strangers are told by embeddings or by the weights' descriptors."""

from __future__ import annotations

import json
import re
import sys
import time
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from fastapi.testclient import TestClient
from skimage import data as pictures

from facewright.models.assets import sha256 as file_sha256
from facewright.service.api.app import create_app
from facewright.service.networks.centerface import CenterFace
from facewright.service.results.album_page import PhotoRow, album_page
from facewright.service.results.schemas import AlbumResult
from facewright.service.settings import Settings
from tests.recognition_files import write_hue_recognizer


class HueAnalysis:
    """`insightface.app.FaceAnalysis`, whose detector is CenterFace and which goes by the hue."""

    def __init__(self, **options: Any) -> None:
        self._finder = CenterFace()
        self.det_model = self
        self.models = {"detection": self, "recognition": self}
        self.input_size = (112, 112)

    def prepare(self, **options: Any) -> None: ...

    def detect(self, bgr_u8: npt.NDArray[np.uint8]) -> tuple[Any, Any]:
        faces = self._finder.detect(np.ascontiguousarray(bgr_u8[..., ::-1]))
        boxes = [[*face.box, face.score] for face in faces]
        return np.reshape(boxes, (-1, 5)), np.array([face.points for face in faces])

    def get_feat(self, bgr_u8: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        color = bgr_u8[24:88, 24:88].reshape(-1, 3).mean(axis=0)
        return (color - color.mean()).astype(np.float32)[None]


@contextmanager
def serving(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        # The server starts while it loads.
        patience = time.monotonic() + 60
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < patience
            time.sleep(0.05)
        yield client


@pytest.fixture(scope="module")
def describing(assets: Any, describing_weights: Path) -> Iterator[TestClient]:
    """A server whose weights have descriptors, with a detector that recognizes nobody."""
    settings = Settings(
        face_model=assets.face_model, weights=describing_weights, inference_threads=1
    )
    with serving(settings) as client:
        yield client


@pytest.fixture(scope="module")
def client(
    assets: Any, describing_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """A server with a pack, which goes before the descriptors that its weights have as well."""
    root = tmp_path_factory.mktemp("insightface")
    (root / "models" / "hue").mkdir(parents=True)
    (root / "models" / "hue" / "model.onnx").write_bytes(b"")
    app = types.ModuleType("insightface.app")
    app.FaceAnalysis = HueAnalysis  # type: ignore[attr-defined]
    settings = Settings(
        face_model=assets.face_model,
        weights=describing_weights,
        inference_threads=1,
        detector="insightface",
        insightface_pack="hue",
        insightface_root=root,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "insightface", types.ModuleType("insightface"))
        patch.setitem(sys.modules, "insightface.app", app)
        with serving(settings) as client:
            yield client


@pytest.fixture(scope="module")
def own_recognizer(
    assets: Any, describing_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """A server with a recognition network from a file, which goes before the descriptors."""
    network = write_hue_recognizer(tmp_path_factory.mktemp("recognizer") / "hue.onnx")
    content = {"sha256": file_sha256(network), "stranger_cosine": 0.41}
    network.with_suffix(".json").write_text(json.dumps(content))
    settings = Settings(
        face_model=assets.face_model,
        weights=describing_weights,
        inference_threads=1,
        recognizer=network,
    )
    with serving(settings) as client:
        yield client


@pytest.fixture(scope="module")
def person(portrait_jpeg: bytes, mirrored_jpeg: bytes, stranger_jpeg: bytes) -> list[bytes]:
    """Four photos of one hue; the last is dark, which is another shape to the network."""
    return [portrait_jpeg, mirrored_jpeg, portrait_jpeg, stranger_jpeg]


@pytest.fixture(scope="module")
def blue_jpeg() -> bytes:
    """The portrait with red and blue exchanged: of the same brightness, and so of one shape."""
    return cv2.imencode(".jpg", pictures.astronaut())[1].tobytes()


def post(client: TestClient, photos: Sequence[bytes], **query: str) -> AlbumResult:
    files = [("images", photo) for photo in photos]
    response = client.post("/v1/albums/reconstruct", params=query, files=files)
    assert response.status_code == 200, response.text
    answer = AlbumResult.model_validate_json(response.content)
    by_pack = answer.judged_by == "embedding"
    assert ("recognize;dur=" in response.headers["server-timing"]) is by_pack
    return answer


def test_the_embedding_judges_and_not_the_shape(
    client: TestClient, person: list[bytes], blue_jpeg: bytes
) -> None:
    answer = post(client, [*person, blue_jpeg], outliers="drop")
    assert answer.judged_by == "embedding"
    assert answer.stranger_similarity == 0.2
    check_hues(answer)


def test_the_descriptor_judges_where_there_is_no_pack(
    describing: TestClient, person: list[bytes], blue_jpeg: bytes
) -> None:
    answer = post(describing, [*person, blue_jpeg], outliers="drop")
    assert answer.judged_by == "descriptor"
    assert answer.stranger_similarity == 0.35
    check_hues(answer)
    rows = [PhotoRow(photo, None, None) for photo in answer.photos]
    page = album_page("album", answer, rows, b"")
    assert "(similarity below 0.35)" in page


def test_a_recognizer_from_a_file_judges_by_its_own_limit(
    own_recognizer: TestClient, person: list[bytes], blue_jpeg: bytes
) -> None:
    answer = post(own_recognizer, [*person, blue_jpeg], outliers="drop")
    assert answer.judged_by == "embedding"
    assert answer.stranger_similarity == 0.41
    assert answer.detector == "blazeface"
    check_hues(answer)


def check_hues(answer: AlbumResult) -> None:
    """Strangers are those of another hue; by their shapes, the dark ones."""
    assert answer.stranger_similarity is not None
    likeness = [photo.likeness for photo in answer.photos if photo.likeness]
    assert [one.stranger for one in likeness] == [False] * 4 + [True]
    assert likeness[3].distance > answer.stranger_distance > likeness[4].distance
    similarities = [one.similarity or 0.0 for one in likeness]
    assert min(similarities[:4]) > 0.9
    assert similarities[4] < 0 < answer.stranger_similarity
    assert [photo.status for photo in answer.photos] == ["used"] * 4 + ["left_out"]
    assert answer.photos[4].share == 0


@pytest.mark.parametrize("server", ["client", "describing"])
def test_the_consistent_face_is_the_one_of_the_same_embedding(
    server: str, person: list[bytes], request: pytest.FixtureRequest
) -> None:
    client = request.getfixturevalue(server)
    crowd = np.full((512, 800, 3), 128, np.uint8)
    crowd[:, :512] = pictures.astronaut()  # blue to OpenCV
    small = cv2.resize(pictures.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
    # Dark, so that the shape is nobody's.
    crowd[128:384, 544:] = small[..., ::-1] // 2
    photos = [*person[:3], cv2.imencode(".png", crowd)[1].tobytes()]
    for faces, left, right, stranger in (
        ("largest", 0, 512, True),
        ("consistent", 544, 800, False),
    ):
        photo = post(client, photos, faces=faces).photos[3]
        assert photo.face is not None
        assert photo.likeness is not None
        assert left < photo.face.box.x0 < photo.face.box.x1 < right
        assert photo.likeness.stranger is stranger


def test_a_single_usable_photo_has_nothing_to_be_compared_with(
    client: TestClient, person: list[bytes], faceless_jpeg: bytes
) -> None:
    answer = post(client, [person[0], faceless_jpeg])
    assert answer.judged_by == "embedding"
    assert answer.photos[0].likeness is None
    assert answer.photos[0].status == "used"


def test_embeddings_stay_inside(client: TestClient, person: list[bytes]) -> None:
    answer = post(client, person, include="confidences")
    assert "embedding" not in answer.model_dump_json().replace('"judged_by":"embedding"', "")


def test_descriptors_stay_inside(describing: TestClient, person: list[bytes]) -> None:
    answer = post(describing, person, include="confidences")
    assert "descriptor" not in answer.model_dump_json().replace('"judged_by":"descriptor"', "")
    response = describing.post("/v1/reconstruct", files={"image": person[0]})
    assert response.status_code == 200
    assert "descriptor" not in response.text


def test_the_page_of_an_album_says_what_it_went_by(
    client: TestClient, person: list[bytes], blue_jpeg: bytes
) -> None:
    answer = post(client, [*person, blue_jpeg])
    rows = [PhotoRow(photo, None, None) for photo in answer.photos]
    page = album_page("album", answer, rows, b"")
    assert "(similarity below 0.2)" in page
    similarities = re.findall(r"<dt>Similarity</dt><dd>(\S+)</dd>", page)
    assert len(similarities) == 5
    assert float(similarities[4]) < 0.2 < float(similarities[0])
    assert "Distance" not in page


def test_single_photos_are_not_recognized(client: TestClient, person: list[bytes]) -> None:
    response = client.post("/v1/reconstruct", files={"image": person[0]})
    assert response.status_code == 200
    assert "recognize" not in response.headers["server-timing"]
