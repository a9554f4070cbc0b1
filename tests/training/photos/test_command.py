"""Measuring labels and networks on photographs, by the commands."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from facewright.models.checkpoints_torch import CheckpointInfo, save_checkpoint
from facewright.models.rnet_torch import RNet
from facewright.training.cli import app
from facewright.training.photos.conventions import read_convention


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def network(tmp_path, face_model):
    path = tmp_path / "net.pt"
    info = CheckpointInfo("239", "paper", face_model.sha256, 0, 0, input_size=64)
    save_checkpoint(path, RNet(input_size=64).eval(), None, info)
    return path


def test_the_shift_is_measured_on_training_people(tmp_path, collection):
    _, labels, _, _ = collection
    with np.load(labels) as file:
        names = file["names"]
    mesh = np.random.default_rng(0).normal(size=(468, 3)) * 20
    mesh[[33, 263]] = [[-30, 0, 0], [30, 0, 0]]
    mesh = mesh * np.linspace(0.5, 2, 12)[:, None, None]
    landmarks = np.zeros((12, 68, 2))
    pairs = {36: 33, 45: 263, 39: 133, 42: 362, 48: 61, 54: 291, 33: 2, 51: 0, 57: 17}
    for of68, of468 in pairs.items():
        landmarks[:, of68] = mesh[:, of468, :2]
    landmarks += [1.25, -0.5]
    held_out = np.char.startswith(names, "Bo") | np.char.startswith(names, "Cy")
    assert held_out.sum() == 4
    landmarks[held_out] += 50
    np.savez(labels, names=names, mesh468=mesh, landmarks68=landmarks)
    result = run("landmark-shift", labels, "--hold-out", 0.3)
    assert result.exit_code == 1
    assert "too few" in result.output
    one_size = dict(names=np.tile(names, 3), mesh468=np.tile(mesh[:1], (36, 1, 1)),
                    landmarks68=np.tile(landmarks[:1], (36, 1, 1)))  # fmt: skip
    np.savez(labels, **one_size)
    result = run("landmark-shift", labels, "--hold-out", 0.3)
    assert "different sizes" in result.output
    names, mesh, landmarks = (np.concatenate([a, a]) for a in (names, mesh, landmarks))
    np.savez(labels, names=names, mesh468=mesh, landmarks68=landmarks)
    result = run("landmark-shift", labels, "--hold-out", 0.3)
    assert result.output == "--landmark-shift 1.25 -0.50\n"


def test_a_network_is_measured_on_held_out_people(
    tmp_path, collection, network, face_model, face_model_file
):
    photos, labels, points, _ = collection
    common = ["--labels", labels, "--points", points, "--hold-out", 0.3]
    result = run("evaluate", "photos", network, photos, *common, "--people", "held-out",
                 "--face-model", face_model_file, "--json", tmp_path / "f.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "f.json").read_text())["figures"]
    assert {figure["measured_on"] for figure in figures} == {"4 photos of photos, held-out people"}
    by_measure = {figure["measure"]: figure for figure in figures}
    assert by_measure["identity AUC of cosine (2 same-person pairs)"]["baseline"] == 0.5
    color = by_measure["mean color difference in the region of the face"]
    assert 0 < color["value"] < 255
    assert color["value"] == pytest.approx(color["baseline"], rel=0.1)  # untrained

    out = tmp_path / "convention.json"
    result = run("landmark-convention", network, photos, *common, "--face-model", face_model_file,
                 "-o", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    stored = json.loads(out.read_text())
    assert stored["fitted_on"] == "8 photos of training people of photos, by net.pt"
    assert read_convention(face_model, out) is not None
