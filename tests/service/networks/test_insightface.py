"""The insightface detector and recognizer: against a stand-in of the library, and for real.

The library itself is used where it is installed: on a pack made here, and on a real one if a
variable says where it is.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skimage import data as pictures

from facewright.models.arcface import ARCFACE_POINTS, similarity_transform
from facewright.service.errors import ModelError
from facewright.service.networks.insightface import (
    InsightFace,
)

ROOT_VARIABLE = "FACEWRIGHT_INSIGHTFACE_ROOT"
POINTS = np.array([[40, 50], [80, 50], [60, 70], [45, 90], [75, 90]], np.float64)


class FakeAnalysis:
    """`insightface.app.FaceAnalysis` as far as it is used; remembers what it was given."""

    latest: FakeAnalysis
    points: Any = POINTS
    recognizer: FakeArcFace | None = None

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.det_model = self
        self.models = {"detection": self, "recognition": self.recognizer}
        if self.recognizer is None:
            del self.models["recognition"]
        FakeAnalysis.latest = self

    def prepare(self, **options: Any) -> None:
        self.options |= options

    def detect(self, bgr_u8: npt.NDArray[np.uint8]) -> tuple[Any, Any]:
        self.image = bgr_u8
        boxes = [[20, 30, 100, 120.5, score] for score in (0.6, 0.9)]
        points = None if self.points is None else np.stack([self.points] * 2)
        return np.array(boxes, np.float32), points


class FakeArcFace:
    """A recognition network as far as it is used: gives `features`, remembers what it saw."""

    input_size = (112, 112)

    def __init__(self, features: Any = (3.0, 4.0)) -> None:
        self.features = features
        self.seen: list[npt.NDArray[np.uint8]] = []

    def get_feat(self, bgr_u8: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.seen.append(bgr_u8)
        return np.array([self.features], np.float32)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> type[FakeAnalysis]:
    app = types.ModuleType("insightface.app")
    app.FaceAnalysis = FakeAnalysis  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "insightface", types.ModuleType("insightface"))
    monkeypatch.setitem(sys.modules, "insightface.app", app)
    return FakeAnalysis


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pack = tmp_path / "models" / "pack"
    pack.mkdir(parents=True)
    (pack / "detector.onnx").write_bytes(b"")
    return tmp_path


def test_faces_are_passed_on_best_first(library: type[FakeAnalysis], root: Path) -> None:
    photo = np.zeros((200, 300, 3), np.uint8)
    photo[..., 0] = 7
    best, other = InsightFace("pack", root).detect(photo)
    assert (best.score, other.score) == (pytest.approx(0.9), pytest.approx(0.6))
    assert best.points.dtype == best.box.dtype == np.float32
    np.testing.assert_allclose(best.points, POINTS)
    np.testing.assert_allclose(best.box, [20, 30, 100, 120.5])
    assert abs(best.roll) < 0.2
    assert (library.latest.image[0, 0] == [0, 0, 7]).all(), "the library takes BGR"


def test_only_what_is_used_of_the_local_pack_is_loaded(
    library: type[FakeAnalysis], root: Path
) -> None:
    InsightFace("pack", root)
    options = library.latest.options
    assert options["name"] == "pack"
    assert options["root"] == str(root)
    assert options["allowed_modules"] == ["detection", "recognition"]
    assert options["providers"] == ["CPUExecutionProvider"]
    assert options["ctx_id"] == -1
    assert options["det_thresh"] == 0.5


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("pack", ["missing", "../models/pack", ""])
def test_missing_pack_is_refused_and_never_fetched(root: Path, pack: str) -> None:
    with pytest.raises(ModelError, match="no insightface model pack"):
        InsightFace(pack, root)


def test_missing_library_is_a_model_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(ModelError, match="extra"):
        InsightFace("pack", root)


def test_unusable_pack_is_a_model_error(
    library: type[FakeAnalysis], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(library, "prepare", fail)
    with pytest.raises(ModelError, match="cannot load"):
        InsightFace("pack", root)


def test_detector_without_points_is_a_model_error(
    library: type[FakeAnalysis], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "points", None)
    with pytest.raises(ModelError, match="points"):
        InsightFace("pack", root).detect(np.zeros((64, 64, 3), np.uint8))


# --- the recognizer ---------------------------------------------------------------------------


@pytest.mark.usefixtures("library")
def test_a_pack_without_recognition_recognizes_nobody(root: Path) -> None:
    assert InsightFace("pack", root).recognizer is None


def test_embeddings_are_of_unit_length_and_made_when_asked_for(
    library: type[FakeAnalysis], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = FakeArcFace()
    monkeypatch.setattr(library, "recognizer", network)
    photo = np.zeros((200, 300, 3), np.uint8)
    insightface = InsightFace("pack", root)
    faces = insightface.detect(photo)
    assert not network.seen
    assert insightface.recognizer is not None
    points = np.stack([face.points for face in faces])
    embeddings = insightface.recognizer.embed(photo, points)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, [[0.6, 0.8]] * 2)
    assert len(network.seen) == 2


@pytest.mark.parametrize("turns", range(4))
def test_chips_have_the_points_where_arcface_wants_them(
    library: type[FakeAnalysis], root: Path, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    network = FakeArcFace()
    monkeypatch.setattr(library, "recognizer", network)
    # ArcFace's own points, eight times as large, each in the middle of a disc of its own color.
    places = 8 * ARCFACE_POINTS + 40
    colors = np.array(
        [[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0], [0, 200, 200]], np.uint8
    )
    photo = np.zeros((1000, 1000, 3), np.uint8)
    down, right = np.mgrid[:1000, :1000]
    for (x, y), color in zip(places, colors, strict=True):
        photo[np.hypot(right - x, down - y) < 24] = color
    # A quarter turn counter-clockwise of 1000 x 1000 pixels.
    for _ in range(turns):
        photo = np.ascontiguousarray(np.rot90(photo))
        places = np.stack([places[:, 1], 999 - places[:, 0]], axis=1)
    recognizer = InsightFace("pack", root).recognizer
    assert recognizer is not None
    recognizer.embed(photo, places[None].astype(np.float32))
    (chip,) = network.seen
    assert chip.shape == (112, 112, 3)
    x, y = np.round(ARCFACE_POINTS).astype(int).T
    assert np.abs(chip[y, x, ::-1].astype(int) - colors).max() < 12


@pytest.mark.parametrize("features", [(np.nan, 1.0), (np.inf, 1.0)])
def test_numbers_that_are_none_are_a_model_error(
    library: type[FakeAnalysis], root: Path, monkeypatch: pytest.MonkeyPatch, features: Any
) -> None:
    monkeypatch.setattr(library, "recognizer", FakeArcFace(features))
    recognizer = InsightFace("pack", root).recognizer
    assert recognizer is not None
    with pytest.raises(ModelError, match="finite"):
        recognizer.embed(np.zeros((200, 200, 3), np.uint8), POINTS[None].astype(np.float32))


def test_a_network_that_fails_is_a_model_error(
    library: type[FakeAnalysis], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("out of memory")

    network = FakeArcFace()
    monkeypatch.setattr(network, "get_feat", fail)
    monkeypatch.setattr(library, "recognizer", network)
    recognizer = InsightFace("pack", root).recognizer
    assert recognizer is not None
    with pytest.raises(ModelError, match="recognition network failed"):
        recognizer.embed(np.zeros((200, 200, 3), np.uint8), POINTS[None].astype(np.float32))


def test_a_similarity_transform_is_found_again() -> None:
    wanted = np.array([[0.6, -0.8, 5.0], [0.8, 0.6, -7.0]])
    moved = POINTS @ wanted[:, :2].T + wanted[:, 2]
    np.testing.assert_allclose(similarity_transform(POINTS, moved), wanted, atol=1e-9)


# --- the library itself -----------------------------------------------------------------------


def _constant_detector(path: Path, box: npt.ArrayLike, points: npt.NDArray[np.float64]) -> None:
    """An SCRFD graph of nine outputs for 640 x 640 pixels that sees one face, always the same.

    Per stride of 8, 16 and 32 px and two anchors per cell: scores, then distances from the cell
    to the box's sides and to the five points, in strides.
    """
    nodes, outputs, tensors = [], [], []
    x0, y0, x1, y1 = np.asarray(box, np.float64)
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            name = f"{kind}{stride}"
            values = np.zeros((2 * (640 // stride) ** 2, width), np.float32)
            if stride == 32:
                row = column = 2
                anchor = 2 * (row * (640 // stride) + column)
                x, y = column * stride, row * stride
                values[anchor] = {
                    "score": [0.9],
                    "box": np.array([x - x0, y - y0, x1 - x, y1 - y]) / stride,
                    "points": ((points - (x, y)) / stride).ravel(),
                }[kind]
            tensors.append(numpy_helper.from_array(values, f"{name}_values"))
            nodes.append(helper.make_node("Identity", [f"{name}_values"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape))
    photo = helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, 3, "H", "W"])
    _save(path, nodes, photo, outputs, tensors)


def _small_recognizer(path: Path) -> None:
    """An ArcFace graph that describes a chip by its means over 7 x 7 squares, per channel."""
    chip = helper.make_tensor_value_info("chip", TensorProto.FLOAT, ["N", 3, 112, 112])
    nodes = [
        helper.make_node(
            "AveragePool", ["chip"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]
        ),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 147])
    _save(path, nodes, chip, [features], [])


def _save(path: Path, nodes: Any, photo: Any, outputs: Any, tensors: Any) -> None:
    graph = helper.make_graph(nodes, path.stem, [photo], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def test_a_pack_made_here_goes_through_the_library(tmp_path: Path) -> None:
    app = pytest.importorskip("insightface.app")
    pack = tmp_path / "models" / "pack"
    pack.mkdir(parents=True)
    photo = pictures.astronaut()[:320, 60:380]
    points = np.array([[142, 101], [187, 103], [164, 126], [143, 140], [185, 141]], np.float64)
    box = [120, 60, 210, 170]
    # The library enlarges 320 pixels to the 640 of the network.
    _constant_detector(pack / "det.onnx", 2 * np.array(box), 2 * points)
    _small_recognizer(pack / "rec.onnx")
    insightface = InsightFace("pack", tmp_path)
    (face,) = insightface.detect(photo)
    np.testing.assert_allclose(face.points, points, atol=0.01)
    np.testing.assert_allclose(face.box, box, atol=0.01)
    assert insightface.recognizer is not None
    (embedding,) = insightface.recognizer.embed(photo, face.points[None])
    analysis = app.FaceAnalysis(name="pack", root=str(tmp_path), providers=["CPUExecutionProvider"])
    analysis.prepare(ctx_id=-1, det_size=(640, 640))
    (expected,) = analysis.get(np.ascontiguousarray(photo[..., ::-1]))
    assert embedding @ expected.normed_embedding > 0.999
    mirrored = insightface.recognizer.embed(np.ascontiguousarray(photo[:, ::-1]), points[None])
    assert mirrored[0] @ expected.normed_embedding < 0.99


@pytest.mark.skipif(
    ROOT_VARIABLE not in os.environ,
    reason=f"set {ROOT_VARIABLE} to a directory with models/PACK to test a real pack",
)
def test_a_real_pack_finds_the_astronaut() -> None:
    pytest.importorskip("insightface")
    root = Path(os.environ[ROOT_VARIABLE])
    pack = sorted(path.name for path in (root / "models").iterdir() if path.is_dir())[0]
    (face,) = InsightFace(pack, root).detect(pictures.astronaut())
    expected = np.array([[202, 101], [247, 103], [224, 126], [203, 140], [245, 141]])
    assert np.linalg.norm(face.points - expected, axis=1).max() < 8
