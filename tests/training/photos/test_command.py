"""Measuring labels and networks on photographs, by the commands."""

import json

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
