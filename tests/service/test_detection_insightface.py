"""The insightface detector: against a stand-in of the library, and for real where it is."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from skimage import data as pictures

from service.detection.insightface import InsightFace
from service.errors import ModelError

ROOT_VARIABLE = "FACEWRIGHT_INSIGHTFACE_ROOT"
POINTS = np.array([[40, 50], [80, 50], [60, 70], [45, 90], [75, 90]], np.float64)


class FakeAnalysis:
    """`insightface.app.FaceAnalysis` as far as it is used; remembers what it was given."""

    latest: FakeAnalysis
    points: Any = POINTS

    def __init__(self, **options: Any) -> None:
        self.options = options
        FakeAnalysis.latest = self

    def prepare(self, **options: Any) -> None:
        self.options |= options

    def get(self, bgr_u8: np.ndarray) -> list[SimpleNamespace]:
        self.image = bgr_u8
        return [
            SimpleNamespace(bbox=np.array([20, 30, 100, 120.5]), kps=self.points, det_score=score)
            for score in (np.float32(0.6), np.float32(0.9))
        ]


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
    assert best.orientation == 0
    assert (library.latest.image[0, 0] == [0, 0, 7]).all(), "the library takes BGR"


def test_only_the_detector_of_the_local_pack_is_loaded(
    library: type[FakeAnalysis], root: Path
) -> None:
    InsightFace("pack", root, score_threshold=0.7)
    options = library.latest.options
    assert options["name"] == "pack"
    assert options["root"] == str(root)
    assert options["allowed_modules"] == ["detection"]
    assert options["providers"] == ["CPUExecutionProvider"]
    assert options["ctx_id"] == -1
    assert options["det_thresh"] == 0.7


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
