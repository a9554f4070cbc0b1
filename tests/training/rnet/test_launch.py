"""The command itself, in processes of its own."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from typer.testing import CliRunner

from facewright.models.checkpoints_torch import load_checkpoint
from facewright.training.cli import app
from facewright.training.rnet.checkpoints import CHECKPOINT, FINAL
from facewright.training.rnet.run import RunPaths

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SETTINGS = {
    "stages": [{"size": 32, "portraits": 2, "photos": 1}],
    "photo_loss": {"perceptual": 0.0},
    "render_size": 32,
    "calibration_images": 6,
    "validation_portraits": 4,
    "validation_photos": 3,
    "bf16": True,
}


def arguments(paths: RunPaths, experiment: Path, *more: str) -> list[str]:
    given = ["rnet", "--experiment", str(experiment), "--out", str(paths.out), *more]
    given += ["--data", str(paths.portraits[0]), "--photos", str(paths.photos[0])]
    for directory in paths.validation:
        given += ["--validation", str(directory)]
    return [*given, "--face-model", str(paths.face_model)]


def start(arguments: list[str]) -> "subprocess.Popen[bytes]":
    code = "from facewright.training.cli import app; app()"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment)


def test_two_workers_stop_at_sigterm_and_finish_when_called_again(run_paths, tmp_path):
    experiment = tmp_path / "tiny.yaml"
    experiment.write_text(yaml.safe_dump(SETTINGS))
    running = start(arguments(run_paths, experiment, "--minutes", "60", "--workers", "2"))
    try:
        while not (run_paths.out / "validation.csv").exists():
            assert running.poll() is None
            time.sleep(0.2)
        running.send_signal(signal.SIGTERM)
        assert running.wait() == 0
    finally:
        running.kill()
    assert "run again to go on" in (run_paths.out / "train.log").read_text()
    assert not (run_paths.out / FINAL).exists()
    _, _, stopped = load_checkpoint(run_paths.out / CHECKPOINT)
    assert stopped.images == 6 * stopped.steps > 0

    last = str(stopped.images + 6)
    finishing = arguments(run_paths, experiment, "--images", last, "--workers", "2")
    with patch.dict(os.environ):  # the workers' is set by the launcher
        assert CliRunner().invoke(app, finishing, catch_exceptions=False).exit_code == 0
    _, _, finished = load_checkpoint(run_paths.out / FINAL)
    assert finished.steps == stopped.steps + 1
    with (run_paths.out / "validation.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3

    again = CliRunner().invoke(app, arguments(run_paths, experiment, "--images", "1"))
    assert "is finished" in again.output


def test_wrong_settings_are_answered_before_anything_starts(run_paths, tmp_path):
    experiment = tmp_path / "wrong.yaml"
    experiment.write_text("stages: [{size: 30, portraits: 2}]\n")
    answer = CliRunner().invoke(app, arguments(run_paths, experiment, "--images", "1"))
    assert answer.exit_code == 2
    assert "multiple of 32" in " ".join(answer.output.split())
    experiment.write_text("stages: [{size: 32, portraits: 2}]\n")
    answer = CliRunner().invoke(app, arguments(run_paths, experiment))
    assert "has no length" in " ".join(answer.output.split())
