"""Whole runs of C-Net's training, seconds long."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from facewright.models.alignment import FixedAlignment
from facewright.models.checkpoints_torch import CheckpointInfo, load_checkpoint, save_checkpoint
from facewright.models.cnet_torch import CNet
from facewright.models.layout import LAYOUT_257
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import RNet
from facewright.training.cli import app
from facewright.training.cnet.experiment import CNetExperiment
from facewright.training.cnet.run import CHECKPOINT, FINAL, TABLE, CNetRun
from facewright.training.experiment_files import ExperimentError
from facewright.training.onnx.export import export_checkpoint

from .conftest import SHAPE, WEAK

pytestmark = pytest.mark.slow


def finish(settings, paths, **kwargs):
    run = CNetRun(CNetExperiment.model_validate(settings), paths, **kwargs)
    assert run.train()
    return run


def weights(path):
    return load_checkpoint(path)[1].state_dict()


@pytest.mark.parametrize("settings", [SHAPE, WEAK], ids=["shape", "weak"])
def test_a_few_steps_lower_the_loss_and_keep_rnet(settings, paths, rnet):
    few = settings | {"steps": 5, "optimizer": {"name": "adam", "rate": 1e-3}}
    few |= {"channels": 256, "hidden": 512}  # the paper's, which learn more in few steps
    few |= {"degraded_sets": 0.0, "measure_minutes": 1e-9}  # measured after every step
    # Everyone who is not held out in every step, so that the loss is always of the same photos.
    few |= {name: 6 for name in ("portrait_sets", "photo_sets") if name in settings}
    finish(few, paths)
    rows = list(csv.DictReader((paths.out / TABLE).open()))
    losses = np.array([float(row["loss"]) for row in rows])
    assert len(losses) == 5
    # Always the same held-out sets; only the likelihood's constants move the plain mean's loss.
    assert np.ptp([float(row["plain_loss"]) for row in rows]) < 1e-3
    assert losses[-1] < losses[0]
    kept, cnet, info = load_checkpoint(paths.out / FINAL)
    for mine, theirs in zip(kept.state_dict().values(), rnet.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert cnet.fc2.weight.abs().max() > 0
    assert (info.steps, info.images) == (7, 70)
    assert info.config["seed"] == 1
    assert info.config["cnet"]["steps"] == 5


def test_an_interrupted_run_ends_with_the_same_weights(paths):
    straight = replace(paths, out=paths.out / "straight")
    finish(SHAPE, straight)
    stops = iter([False, True])
    parts = replace(paths, out=paths.out / "parts")
    experiment = CNetExperiment.model_validate(SHAPE)
    run = CNetRun(experiment, parts, should_stop=lambda: next(stops))
    assert not run.train()
    assert run.step == 2
    assert not (parts.out / FINAL).exists()
    assert load_checkpoint(parts.out / CHECKPOINT)[1] is not None
    finish(SHAPE, parts)
    first, second = weights(straight.out / FINAL), weights(parts.out / FINAL)
    assert all(torch.equal(first[name], second[name]) for name in first)

    finish(SHAPE | {"steps": 5}, parts)  # a longer run goes on from the end
    with pytest.raises(ExperimentError, match="another photos_per_set"):
        CNetRun(CNetExperiment.model_validate(SHAPE | {"photos_per_set": 2}), parts)
    other = parts.out / "other.pt"
    rnet, _, info = load_checkpoint(parts.rnet)
    rnet.fc.bias.data += 1
    save_checkpoint(other, rnet, None, info)
    with pytest.raises(ExperimentError, match="another rnet"):
        CNetRun(experiment, replace(parts, rnet=other))


def test_what_does_not_fit_is_refused(paths, rnet_file):
    experiment = CNetExperiment.model_validate(WEAK)
    with pytest.raises(ExperimentError, match="trains on photos, but none"):
        CNetRun(experiment, replace(paths, photos=()))
    with pytest.raises(ExperimentError, match="holds portraits, not photos"):
        CNetRun(experiment, replace(paths, photos=paths.portraits))
    rnet, _, info = load_checkpoint(rnet_file)
    paths.out.mkdir(exist_ok=True)
    other = paths.out / "other.pt"
    save_checkpoint(other, rnet, None, replace(info, face_model_sha256="0"))
    with pytest.raises(ExperimentError, match="another face model"):
        CNetRun(experiment, replace(paths, rnet=other))


def test_held_out_people_are_the_same_under_plain_and_fresh_weights(paths):
    """C-Net starts as a plain mean."""
    run = CNetRun(CNetExperiment.model_validate(SHAPE), paths)
    assert run.measure(None) == pytest.approx(run.measure(CNet()), rel=1e-6)


def test_the_command_trains_and_evaluates(paths, tmp_path):
    settings = tmp_path / "experiment.yaml"
    settings.write_text(str(SHAPE | {"steps": 2}).replace("None", "null"))
    arguments = ["cnet", "--rnet", paths.rnet, "--data", paths.portraits[0], "--out", paths.out]
    arguments += ["--experiment", settings, "--face-model", paths.face_model]
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert (paths.out / FINAL).exists()
    assert "finished" in CliRunner().invoke(app, [*map(str, arguments)]).output

    page = tmp_path / "page.md"
    page.write_text("# Albums\n<!-- albums -->\nold\n<!-- /albums -->\nend\n")
    arguments = ["evaluate", "albums", paths.out / FINAL, paths.portraits[0]]
    arguments += ["--out", tmp_path / "report", "--probes", 2, "--draws", 1, "--page", page]
    arguments += ["--face-model", paths.face_model]
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert "confidence" in result.output
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {
        "albums.json", "albums.csv", "confidences.csv", "albums.png", "confidences.png",
    }  # fmt: skip
    text = page.read_text()
    assert "| 2, degraded | 8 |" in text
    assert "old" not in text
    assert text.endswith("<!-- /albums -->\nend\n")

    result = CliRunner().invoke(
        app, ["evaluate", "albums", str(paths.rnet), str(paths.portraits[0]), "--out", "x"]
    )
    assert result.exit_code == 1
    assert "has no C-Net" in result.output


def test_a_bad_experiment_is_an_error_of_the_command(paths):
    arguments = ["cnet", "--rnet", paths.rnet, "--out", paths.out, "--experiment", "papers"]
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 2
    assert "papers" in result.output


def test_an_imported_rnet_is_trained_and_exported_with_its_alignment(paths, tmp_path):
    """Layout 257: light for each channel, features of the released strides."""
    model = MorphableModel.load(paths.face_model)
    torch.manual_seed(0)
    rnet = RNet(LAYOUT_257, "torchvision", input_size=64)
    alignment = FixedAlignment(model.five_points).to_text()
    info = CheckpointInfo("257", "torchvision", model.sha256, 0, 0, {}, 64, alignment)
    imported = tmp_path / "rnet.pt"
    save_checkpoint(imported, rnet, None, info)
    own = replace(paths, rnet=imported, features=tmp_path / "features")
    run = finish(WEAK | {"steps": 2}, own)
    assert run.step == 2
    _, cnet, kept = load_checkpoint(own.out / FINAL)
    assert cnet is not None
    assert kept.alignment == alignment
    export_checkpoint(
        own.out / FINAL, tmp_path / "x.onnx", face_model=paths.face_model, stored_in="float32"
    )
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert about["layout"] == "257"
    assert "confidences" not in about
    assert about["alignment"] == alignment
    confidences = session.run(["confidences"], {"crops": np.zeros((1, 3, 224, 224), np.float32)})
    assert (confidences[0] < 1).all()
