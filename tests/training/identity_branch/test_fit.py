from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from facewright.models.camera import pose_points, project
from facewright.models.checkpoints_torch import CheckpointInfo, load_checkpoint, save_checkpoint
from facewright.models.cnet_torch import CNet
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.models.recognition_torch import FaceResNet
from facewright.models.rnet_torch import RNet, initial_coefficients
from facewright.training.cli import app
from facewright.training.data import kept_rows
from facewright.training.data.shards import IMAGE_SIZE, LABEL_SHAPES, ShardMeta, ShardWriter
from facewright.training.experiment_files import ExperimentError
from facewright.training.identity_branch.fit import CHOOSING, fit_identity_branch

pytestmark = pytest.mark.slow

PEOPLE = 40


def landmarks(model: MorphableModel, identity: np.ndarray) -> np.ndarray:
    """(68, 2) of a face in the pose that an R-Net which has learned nothing says."""
    shape = model.shape(identity[None].astype(np.float32), np.zeros((1, 64), np.float32))
    parts = LAYOUT_239.split(initial_coefficients(LAYOUT_239)[None].numpy())
    return project(pose_points(shape, parts.rotation, parts.translation))[0, model.landmarks]


def write_portraits(directory: Path, model: MorphableModel, kind: str = "portraits") -> Path:
    """Two pictures of each person, whose color says the first coefficient."""
    rng = np.random.default_rng(0)
    meta = ShardMeta(kind, 0, "test", model.sha256)  # type: ignore[arg-type]
    attention = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    with ShardWriter(directory, 0, capacity=2 * PEOPLE, meta=meta) as writer:
        for number in range(2 * PEOPLE):
            person = number // 2
            labels = {name: np.zeros(shape) for name, shape in LABEL_SHAPES.items()}
            color = np.random.default_rng(person).uniform(20, 235, 3)
            labels["identity"] = np.random.default_rng(person).normal(0, 0.1, 80)
            labels["identity"][0] = color[0] / 60 - 2
            labels["person"] = np.array(person)
            labels["landmarks"] = landmarks(model, labels["identity"])
            if kind == "photos":
                coefficients = set(LABEL_SHAPES) - {"landmarks", "landmark_visible", "person"}
                labels |= {name: np.full(LABEL_SHAPES[name], np.nan) for name in coefficients}
            noise = rng.normal(0, 10, (IMAGE_SIZE, IMAGE_SIZE, 3))
            picture = (color + noise).clip(0, 255).astype(np.uint8)
            writer.add(picture, attention, **labels)
    return directory


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory, toy_head) -> Path:
    return write_portraits(tmp_path_factory.mktemp("portraits"), toy_head.model)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, toy_head) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("rnet") / "rnet.pt"
    info = CheckpointInfo("239", "paper", toy_head.model.sha256, 1, 2, {"seed": 1}, 32)
    save_checkpoint(path, RNet(input_size=32), CNet(8, 8), info)
    return path


@pytest.fixture(scope="module")
def trunk() -> FaceResNet:
    torch.manual_seed(1)
    return FaceResNet().eval()


def fit(toy_head, checkpoint: Path, trunk: FaceResNet, out: Path, data, **more):
    return fit_identity_branch(
        checkpoint,
        data,
        out,
        face_model=toy_head.model_path,
        trunk=trunk,
        chip_size=103,
        features=out.parent / "features",
        seed=1,
        **more,
    )


def test_the_branch_learns_what_rnet_does_not_know(
    toy_head, checkpoint: Path, trunk: FaceResNet, portraits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "branch.pt"
    report = fit(toy_head, checkpoint, trunk, out, [portraits])
    assert report.people == round(CHOOSING * PEOPLE)
    assert report.errors["with the branch"] < 0.8 * report.errors["R-Net"]
    rnet, cnet, info = load_checkpoint(out)
    assert cnet is not None
    assert info.config["seed"] == 1
    assert rnet.branch is not None
    assert torch.equal(rnet.branch.trunk.stem.weight, trunk.stem.weight)
    before, _, _ = load_checkpoint(checkpoint)
    first = torch.zeros(2, 3, 224, 224)
    first[0, 0], first[1, 0] = 0.2, 0.8
    first[:, 1:] = 0.5
    with torch.no_grad():
        old, new = before(first), rnet(first)
    rise = (new - old)[:, LAYOUT_239.identity]
    assert rise[1, 0] - rise[0, 0] > 0.5
    assert torch.equal(old[:, 80:], new[:, 80:])


def test_interrupted_features_go_on(
    toy_head,
    checkpoint: Path,
    trunk: FaceResNet,
    portraits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_rows, "ROWS_BETWEEN_SAVES", kept_rows.BATCH)
    seen: list[int] = []

    def stop_after(batches: int):
        def track(rows):
            for k, row in enumerate(rows):
                if k == batches:
                    raise KeyboardInterrupt
                seen.append(row)
                yield row

        return track

    with pytest.raises(KeyboardInterrupt):
        fit(toy_head, checkpoint, trunk, tmp_path / "a.pt", [portraits], track=stop_after(2))
    whole = fit(toy_head, checkpoint, trunk, tmp_path / "a.pt", [portraits], track=stop_after(99))
    assert seen == list(range(0, 2 * PEOPLE, kept_rows.BATCH))
    again = fit(toy_head, checkpoint, trunk, tmp_path / "a.pt", [portraits], track=stop_after(0))
    assert again == whole
    # Other networks' features are not taken for these.
    torch.manual_seed(2)
    fit(toy_head, checkpoint, FaceResNet().eval(), tmp_path / "a.pt", [portraits],
        track=stop_after(99))  # fmt: skip
    assert len(seen) == 10


def test_refusals(
    toy_head, checkpoint: Path, trunk: FaceResNet, portraits: Path, tmp_path: Path
) -> None:
    photos = write_portraits(tmp_path / "photos", toy_head.model, "photos")
    with pytest.raises(ExperimentError, match="of which they are known"):
        fit(toy_head, checkpoint, trunk, tmp_path / "x.pt", [photos])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExperimentError, match="no shards"):
        fit(toy_head, checkpoint, trunk, tmp_path / "x.pt", [tmp_path / "empty"])
    other = tmp_path / "other.pt"
    info = CheckpointInfo("239", "paper", "ab" * 32, 1, 2, {}, 32)
    save_checkpoint(other, RNet(input_size=32), None, info)
    with pytest.raises(ExperimentError, match="another face model"):
        fit(toy_head, other, trunk, tmp_path / "x.pt", [portraits])
    arguments = ["identity-branch", "--rnet", str(other), "--data", str(portraits)]
    arguments += ["-o", str(tmp_path / "x.pt"), "--face-model", str(toy_head.model_path)]
    arguments += ["--recognizer", str(other)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "identity-branch failed" in result.output
    assert not (tmp_path / "x.pt").exists()
