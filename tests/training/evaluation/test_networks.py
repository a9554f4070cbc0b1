"""Whole evaluations with networks whose errors are known beforehand."""

import json

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from facewright.models.checkpoints_torch import CheckpointInfo, save_checkpoint
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import PART_SKIN
from facewright.models.rnet_torch import RNet
from facewright.training.commands.evaluate import app
from facewright.training.data.shards import ShardSet
from facewright.training.evaluation.measures import face_errors
from facewright.training.evaluation.network import load_network
from facewright.training.evaluation.report import Figure, show, write
from facewright.training.evaluation.synthetic import evaluate_synthetic
from facewright.training.onnx.model_card import read_figures
from tests.replayed_networks import replay


def coefficients_of(labels):
    parts = (labels.identity, labels.expression, labels.albedo, labels.light)
    return np.concatenate([*parts, labels.rotation, labels.translation], 1)


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


def test_portraits_as_scans(shard_directory, face_model):
    """The truth lies on its own scan; the mean face is off by about as much as vertex by vertex."""
    shards = ShardSet(shard_directory)
    network = replay(coefficients_of(shards.labels), face_model.sha256)
    figures = evaluate_synthetic(network, face_model, shards, measured_on="test", scans=6)
    scanned = [figure for figure in figures if "as scans" in figure.measured_on]
    assert len(scanned) == 4
    assert {figure.measured_on for figure in scanned} == {
        "6 of them as scans (95 mm, ICP with scale)"
    }
    by_vertex = {
        figure.measure.split(", ")[1]: figure.baseline
        for figure in figures
        if "point-to-plane" in figure.measure
    }
    for figure in scanned:
        assert figure.value < 0.01, figure
        if figure.measure.startswith("mean distance"):
            face = figure.measure.split(", ")[1]
            assert 0.4 < figure.baseline / by_vertex[face] < 1.2, figure


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
    info = CheckpointInfo("239", "paper", face_model.sha256, 0, 0, input_size=64)
    save_checkpoint(checkpoint, RNet(input_size=64).eval(), None, info)
    assert load_network(checkpoint).predict(np.zeros((1, 224, 224, 3), np.uint8)).shape == (1, 239)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shard_00000").symlink_to(shard_directory / "shard_00000")
    arguments = ["synthetic", str(checkpoint), str(tmp_path / "data")]
    arguments += ["--face-model", str(face_model_file), "--json", str(tmp_path / "f.json")]
    arguments += ["--scans", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "f.json").read_text())["figures"]
    assert rows[0]["value"] == pytest.approx(rows[0]["baseline"], rel=0.1)  # untrained: mean face

    result = CliRunner().invoke(app, ["synthetic", str(tmp_path / "none.onnx"), str(tmp_path)])
    assert result.exit_code == 1
    assert "no network" in result.output
