"""The limit of a recognition network from a file."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from facewright.models.arcface import ARCFACE_POINTS
from facewright.models.assets import sha256
from facewright.training.cli import app
from tests.recognition_files import write_hue_recognizer

HUES = {"ada": (200, 60, 60), "bob": (60, 200, 60), "eve": (60, 60, 200)}


@pytest.fixture
def album(tmp_path: Path) -> tuple[Path, Path]:
    """Five photos of each of three people, who differ by their hue, and the points of them."""
    rng = np.random.default_rng(0)
    names, points = [], []
    for person, rgb in HUES.items():
        (tmp_path / "photos" / person).mkdir(parents=True)
        for k in range(5):
            image = np.clip(np.array(rgb) + rng.normal(0, 12, 3), 0, 255)
            picture = np.full((150, 160, 3), image, np.uint8)
            name = f"{person}/{k}.png"
            cv2.imwrite(str(tmp_path / "photos" / name), picture[..., ::-1])
            names.append(name)
            points.append(ARCFACE_POINTS + 20)
    np.savez(tmp_path / "faces.npz", names=names, points=np.array(points))
    return tmp_path / "photos", tmp_path / "faces.npz"


def evaluate(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["evaluate", "recognizer", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_limit_is_fitted_and_written_beside_the_network(
    tmp_path: Path, album: tuple[Path, Path]
) -> None:
    network = write_hue_recognizer(tmp_path / "hue.onnx")
    photos, faces = album
    code, output = evaluate(network, photos, "--points", faces, "--json", tmp_path / "figures.json")
    assert code == 0, output
    content = json.loads((tmp_path / "hue.json").read_text())
    assert content["sha256"] == sha256(network)
    assert 0.5 < content["stranger_cosine"] < 1
    figures = {figure["measure"]: figure["value"] for figure in content["figures"]}
    alarms = []
    for size in (2, 3, 5):
        limit = f"albums of {size}, below {content['stranger_cosine']:g}"
        assert figures[f"strangers noticed, {limit}"] == 100
        alarms.append(figures[f"false alarms, {limit}"])
    assert np.mean(alarms) <= 2
    assert len(figures) == 6
    assert len(json.loads((tmp_path / "figures.json").read_text())["figures"]) == 6


def test_what_cannot_be_measured_is_one_line(tmp_path: Path, album: tuple[Path, Path]) -> None:
    photos, faces = album
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    gray = write_hue_recognizer(tmp_path / "gray.onnx", channels=1)
    for network in (tmp_path / "none.onnx", tmp_path / "junk.onnx", gray):
        code, output = evaluate(network, photos, "--points", faces)
        assert code == 1
        assert network.name in output
    network = write_hue_recognizer(tmp_path / "hue.onnx")
    code, output = evaluate(network, photos, "--points", faces, "--person", "file")
    assert code == 1
    assert "two people" in output
    assert not (tmp_path / "hue.json").exists()
