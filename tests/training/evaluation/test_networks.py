"""Whole evaluations with networks whose errors are known beforehand."""

import json

import cv2
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from models.alignment import crop_transform
from models.camera import pose_points, project
from models.checkpoints_torch import CheckpointInfo, save_checkpoint
from models.layout import LAYOUT_239
from models.morphable_model import PART_SKIN
from models.rnet_torch import RNet
from training.data.shards import ShardSet
from training.evaluation.command import app
from training.evaluation.measures import face_errors
from training.evaluation.network import Network, load_network
from training.evaluation.photos import PhotoLabels, evaluate_photos, projected_landmarks
from training.evaluation.report import Figure, show, write
from training.evaluation.synthetic import evaluate_synthetic
from training.model_card import read_figures


def coefficients_of(labels):
    parts = (labels.identity, labels.expression, labels.albedo, labels.light)
    return np.concatenate([*parts, labels.rotation, labels.translation], 1)


def replay(rows, sha256=""):
    """A network that knows the answers, in order."""
    rest = list(rows)

    def predict(crops):
        assert crops.dtype == np.uint8
        assert crops.shape[1:] == (224, 224, 3)
        return np.stack([rest.pop(0) for _ in crops]).astype(np.float32)

    return Network(predict, LAYOUT_239, sha256)


def by_measure(figures):
    return {figure.measure: figure for figure in figures}


def test_the_truth_has_no_error(shard_directory, face_model):
    shards = ShardSet(shard_directory)
    network = replay(coefficients_of(shards.labels), face_model.sha256)
    figures = evaluate_synthetic(network, face_model, shards, measured_on="test")
    for figure in figures[:-1]:
        assert figure.value < 1e-3, figure
        assert figure.baseline > 1, figure
    assert figures[-1].value == pytest.approx(1)


def test_known_errors_are_measured(shard_directory, face_model):
    labels = ShardSet(shard_directory).labels.take(slice(0, 10))
    off = coefficients_of(labels)
    off[:, LAYOUT_239.rotation] += [0, 0, np.radians(5)]  # roll comes last: an angle of 5 degrees
    errors = face_errors(face_model, off, labels)
    np.testing.assert_allclose(errors.rotation_degrees, 5, atol=1e-4)
    np.testing.assert_allclose(errors.vertex_mm, 0, atol=1e-4)

    off = coefficients_of(labels)
    off[:, 3] += 1
    errors = face_errors(face_model, off, labels)
    skin = face_model.parts == PART_SKIN
    moved = np.linalg.norm(face_model.refine(face_model.identity_basis)[3, skin], axis=1).mean()
    np.testing.assert_allclose(errors.vertex_mm, moved, rtol=1e-3)
    assert (errors.plane_mm < errors.vertex_mm).all()
    assert (errors.plane_mm > 0.01).all()


def test_other_face_models_are_refused(shard_directory, face_model):
    shards = ShardSet(shard_directory)
    with pytest.raises(ValueError, match="face model"):
        evaluate_synthetic(replay([], "other"), face_model, shards, measured_on="test")
    with pytest.raises(ValueError, match="no portraits"):
        evaluate_synthetic(replay([]), face_model, ShardSet(()), measured_on="test")


@pytest.fixture
def album(tmp_path, face_model):
    """Photos of noise of three people, three each, with landmarks of known faces."""
    rng = np.random.default_rng(0)
    x = np.zeros((9, 239), np.float32)
    x[:, LAYOUT_239.identity] = np.repeat(rng.normal(size=(3, 80)), 3, axis=0)
    x[:, LAYOUT_239.identity] += 0.1 * rng.normal(size=(9, 80))
    x[:, LAYOUT_239.rotation] = rng.normal(size=(9, 3)) * 0.2
    template = face_model.five_points
    points = 1.5 * template[:, :2] * [1, -1] + 130 + rng.normal(size=(9, 5, 2))
    transforms = np.stack([crop_transform(p, template) for p in points])
    shape = face_model.shape(x[:, :80], x[:, 80:144])[:, face_model.landmarks]
    crop_px = project(pose_points(shape, x[:, 233:236], x[:, 236:]))
    landmarks = (crop_px - transforms[:, None, :, 2]) / transforms[:, None, None, 0, 0]
    names = [f"Person_{k // 3}_{k:02d}.png" for k in range(9)]
    for name in names:
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 256, (260, 260, 3), np.uint8))
    return tmp_path, x, PhotoLabels(names, points, landmarks), transforms


def test_photos_of_known_faces(album, face_model):
    directory, x, labels, transforms = album
    np.testing.assert_allclose(
        projected_landmarks(face_model, x, LAYOUT_239, transforms), labels.landmarks, atol=1e-3
    )
    figures = by_measure(
        evaluate_photos(replay(x), face_model, directory, labels, measured_on="test")
    )
    assert figures["error of 68 landmarks"].value < 1e-3
    assert figures["error of the inner 51 landmarks"].value < 1e-3
    assert figures["error of 68 landmarks"].baseline > 1
    assert figures["identity AUC of cosine (9 same-person pairs)"].value == 1.0


def test_a_known_landmark_error_is_measured_in_box_sizes(album, face_model):
    directory, x, labels, transforms = album
    size = np.sqrt(np.prod(labels.landmarks.max(1) - labels.landmarks.min(1), axis=1))
    moved = labels.landmarks + size[:, None, None] * [0.03, 0.04]
    shifted = PhotoLabels(labels.names, labels.points, moved)
    figures = by_measure(
        evaluate_photos(replay(x), face_model, directory, shifted, measured_on="test")
    )
    assert figures["error of 68 landmarks"].value == pytest.approx(5, abs=0.01)


def test_figures_fit_the_model_card(tmp_path, capsys):
    figures = [Figure("data", "error", "mm", 1.23456, None), Figure("data", "AUC", "", 0.9, 0.5)]
    write(figures, tmp_path / "figures.json")
    rows = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert rows[0]["value"] == 1.2346
    card = {"data": "", "procedure": "", "baseline": "", "commands": [], "limits": []}
    (tmp_path / "card.json").write_text(json.dumps({**card, "figures": rows}))
    assert read_figures(tmp_path / "card.json")["figures"] == rows
    show(figures, Console())
    assert "1.235" in capsys.readouterr().out


def test_the_command_measures_a_checkpoint(tmp_path, shard_directory, face_model, face_model_file):
    checkpoint = tmp_path / "net.pt"
    info = CheckpointInfo("239", "paper", face_model.sha256, 0, 0)
    save_checkpoint(checkpoint, RNet().eval(), None, info)
    assert load_network(checkpoint).predict(np.zeros((1, 224, 224, 3), np.uint8)).shape == (1, 239)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shard_00000").symlink_to(shard_directory / "shard_00000")
    arguments = ["synthetic", str(checkpoint), str(tmp_path / "data")]
    arguments += ["--face-model", str(face_model_file), "--json", str(tmp_path / "f.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "f.json").read_text())["figures"]
    assert rows[0]["value"] == pytest.approx(rows[0]["baseline"], rel=0.1)  # untrained: mean face

    result = CliRunner().invoke(app, ["synthetic", str(tmp_path / "none.onnx"), str(tmp_path)])
    assert result.exit_code == 1
    assert "no network" in result.output
