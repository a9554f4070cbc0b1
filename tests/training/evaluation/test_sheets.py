"""Contact sheets of networks: each cell is the picture that it says it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from facewright.models.checkpoints_torch import CheckpointInfo, save_checkpoint
from facewright.models.layout import LAYOUT_239
from facewright.models.rnet_torch import RNet
from facewright.training.commands.evaluate import app
from facewright.training.data.shards import COEFFICIENTS, ShardSet
from facewright.training.evaluation.network import Network
from facewright.training.evaluation.sheets import comparison_sheet

CELL = 224


def network(coefficients: np.ndarray, sha256: str = "") -> Network:
    return Network(lambda crops: np.repeat(coefficients[None], len(crops), 0), LAYOUT_239, sha256)


def truth(shards: ShardSet, row: int) -> np.ndarray:
    labels = shards.labels.take(np.array([row]))
    return np.concatenate([getattr(labels, name)[0] for name in COEFFICIENTS])


def test_a_network_that_knows_draws_the_true_face(shard_directory, face_model):
    shards = ShardSet(shard_directory)
    rows = np.array([2, 20])
    networks = [network(np.zeros(239, np.float32)), network(truth(shards, 20))]
    sheet = comparison_sheet(networks, face_model, shards, rows)
    assert sheet.shape == (2 * CELL, 6 * CELL, 3)
    photo, *overlays, true, wrong, right = np.hsplit(sheet[CELL:], 6)
    np.testing.assert_array_equal(photo, shards.images(np.array([20]))[0, 8:-8, 8:-8])
    np.testing.assert_array_equal(right, true)
    assert (wrong != true).any()
    background = (true == true[0, 0]).all(-1)
    np.testing.assert_array_equal(overlays[1][background], photo[background])
    assert (overlays[1] != photo)[~background].mean() > 0.9


def test_strips_stand_side_by_side(shard_directory, face_model):
    shards = ShardSet(shard_directory)
    known = network(truth(shards, 0))
    sheet = comparison_sheet([known], face_model, shards, np.arange(3), columns=2, side=40)
    assert sheet.shape == (2 * 40, 2 * 4 * 40, 3)
    assert (sheet[40:, 160:] == 128).all()
    assert (sheet[40:, :160] != 128).any()


def test_nothing_to_draw_and_other_face_models_are_refused(shard_directory, face_model):
    shards = ShardSet(shard_directory)
    with pytest.raises(ValueError, match="at least one picture"):
        comparison_sheet([], face_model, shards, np.arange(0))
    other = network(np.zeros(239, np.float32), "other")
    with pytest.raises(ValueError, match="face model other"):
        comparison_sheet([other], face_model, shards, np.arange(1))


def test_the_command_writes_a_picture(tmp_path, shard_directory, face_model, face_model_file):
    checkpoint = tmp_path / "net.pt"
    info = CheckpointInfo("239", "paper", face_model.sha256, 0, 0, input_size=64)
    save_checkpoint(checkpoint, RNet(input_size=64).eval(), None, info)
    out = tmp_path / "new" / "sheet.png"
    arguments = ["sheet", str(checkpoint), "--data", str(shard_directory), "--count", "2"]
    arguments += ["--side", "32", "--face-model", str(face_model_file)]
    result = CliRunner().invoke(app, [*arguments, "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(out)).shape == (2 * 32, 4 * 32, 3)
    for bad in ("sheet.txt", "sheet"):
        result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / bad)])
        assert result.exit_code == 1
        assert "evaluation failed" in result.output
