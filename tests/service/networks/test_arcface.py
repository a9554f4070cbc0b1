"""Recognition networks from a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facewright.models.agreement import STRANGER_SIMILARITY
from facewright.models.arcface import ARCFACE_POINTS
from facewright.models.assets import sha256
from facewright.service.errors import ModelError
from facewright.service.networks.arcface import ArcFace
from tests.recognition_files import write_hue_recognizer

POINTS = (2 * (ARCFACE_POINTS + 0.5)).astype(np.float32)


def photo(*rgb: int) -> np.ndarray:
    return np.full((224, 224, 3), rgb, np.uint8)


@pytest.mark.parametrize("normalizes", [False, True])
@pytest.mark.parametrize("batch", ["N", 1])
def test_embeddings_have_unit_length_and_see_rgb(
    tmp_path: Path, normalizes: bool, batch: int | str
) -> None:
    path = write_hue_recognizer(tmp_path / "hue.onnx", normalizes=normalizes, batch=batch)
    network = ArcFace(path)
    found = network.embed(photo(200, 100, 0), np.stack([POINTS, POINTS + 3]))
    assert found.dtype == np.float32
    expected = np.array([1, 0, -1]) / np.sqrt(2)
    np.testing.assert_allclose(found, [expected, expected], atol=1e-5)
    assert network.stranger_cosine == STRANGER_SIMILARITY


def test_the_chip_is_cut_by_the_points(tmp_path: Path) -> None:
    """Only the middle of the face counts, wherever it is in the photo and however it is turned."""
    network = ArcFace(write_hue_recognizer(tmp_path / "hue.onnx"))
    rgb = np.zeros((400, 500, 3), np.uint8)
    rgb[100:212, 200:312] = (0, 0, 250)
    points = ARCFACE_POINTS + 0.5 + (200, 100)
    turned = np.array([[400, 0]]) + points[:, ::-1] * [-1, 1]
    found = network.embed(rgb, points[None].astype(np.float32))
    again = network.embed(np.ascontiguousarray(np.rot90(rgb, -1)), turned[None].astype(np.float32))
    np.testing.assert_allclose(found, again, atol=1e-5)
    assert found[0, 2] > 0.8


def test_the_measured_limit_is_read_beside_the_network(tmp_path: Path) -> None:
    path = write_hue_recognizer(tmp_path / "hue.onnx")
    beside = tmp_path / "hue.json"
    beside.write_text(json.dumps({"sha256": sha256(path), "stranger_cosine": 0.31}))
    assert ArcFace(path).stranger_cosine == 0.31
    for content, reason in (
        ({"sha256": "0" * 64, "stranger_cosine": 0.31}, "another network"),
        ({"sha256": sha256(path), "stranger_cosine": 2}, "stranger cosine 2"),
        ({"sha256": sha256(path)}, "does not say"),
        ([], "does not say"),
    ):
        beside.write_text(json.dumps(content))
        with pytest.raises(ModelError, match=reason) as caught:
            ArcFace(path)
        assert str(beside) in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    gray = write_hue_recognizer(tmp_path / "gray.onnx", channels=1)
    many = write_hue_recognizer(tmp_path / "many.onnx", batch=4)
    for path in (tmp_path / "none.onnx", tmp_path / "junk.onnx", gray, many):
        with pytest.raises(ModelError, match=path.name):
            ArcFace(path)
