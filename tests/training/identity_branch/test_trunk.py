from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from facewright.models.chips_torch import cut_chips, dlib_chips
from facewright.models.recognition_torch import FaceResNet
from facewright.training.cli import app
from facewright.training.data.stock import Stock, take_stock
from facewright.training.experiment_files import ExperimentError
from facewright.training.identity_branch import trunk as module
from facewright.training.identity_branch.trunk import TrunkRun, TrunkSettings, read_trunk
from facewright.training.rnet.experiment import Experiment, Stage, read_experiment

from .test_fit import write_portraits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory, toy_head) -> Stock:
    data = tmp_path_factory.mktemp("data")
    portraits = write_portraits(data / "portraits", toy_head.model)
    photos = write_portraits(data / "photos", toy_head.model, "photos")
    return take_stock((portraits,), (photos,), (), Stock())


@pytest.fixture(scope="module")
def published() -> FaceResNet:
    torch.manual_seed(1)
    return FaceResNet().eval()


def experiment(**changes) -> Experiment:
    stages = (Stage(size=224, portraits=4, photos=2, share=1.0),)
    shipped = read_experiment("trunk").lasting(1e6, None)
    return shipped.model_copy(update={"stages": stages} | changes)


def run_of(toy_head, published, stock, out: Path, chip_size: int = 103, **changes) -> TrunkRun:
    settings = TrunkSettings(chip_size, experiment(**changes))
    return TrunkRun(published, toy_head.model, stock, out, settings)


def stepping(run: TrunkRun, steps: int) -> list[str]:
    remarks: list[str] = []

    def report(done: float, remark: str) -> None:
        remarks.append(remark)

    assert not run.train(lambda: len(remarks) == steps, report)
    return remarks


def test_chips_lie_where_dlib_cuts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for jitter in ("SIZE_JITTER", "ROLL_JITTER", "PLACE_JITTER"):
        monkeypatch.setattr(module, jitter, 0.0)
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 224, 224, generator=rng)
    landmarks = 60 + 100 * torch.rand(2, 68, 2, generator=rng)
    to_crop = module._jittered(landmarks, rng)
    for size in (150, 103):
        chips = cut_chips(images, module._of_pixels(to_crop, size), size)
        torch.testing.assert_close(chips, dlib_chips(images, landmarks, size), atol=2e-3, rtol=0)


def test_jitter_moves_chips_about_their_center(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLACE_JITTER", 0.0)
    landmarks = 60 + 100 * torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(0))
    center = torch.tensor([0.5, 0.5, 1.0])
    draws = [module._jittered(landmarks, torch.Generator().manual_seed(k))[0] for k in range(3)]
    for draw in draws[1:]:
        torch.testing.assert_close(draw @ center, draws[0] @ center, atol=1e-3, rtol=0)
        assert not torch.allclose(draw, draws[0], atol=1e-2)


def test_the_trunk_comes_to_say_by_small_chips_what_the_published_one_says(
    toy_head, published: FaceResNet, stock: Stock, tmp_path: Path
) -> None:
    run = run_of(toy_head, published, stock, tmp_path / "trunk.pt")
    first = torch.stack([run._losses(batch)["descriptors"] for batch in batches(run)]).mean()
    stepping(run, 10)
    with torch.no_grad():
        last = torch.stack([run._losses(batch)["descriptors"] for batch in batches(run)]).mean()
    assert last < 0.7 * first


def batches(run: TrunkRun) -> list:
    """The same three each time."""
    found = []
    for batch in run._data.calibration_batches(10**9):
        found.append(batch)
        if len(found) == 3:
            return found
    raise AssertionError


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    toy_head, published: FaceResNet, stock: Stock, tmp_path: Path
) -> None:
    slow = {"optimizer": experiment().optimizer.model_copy(update={"schedule": "constant"})}
    whole = run_of(toy_head, published, stock, tmp_path / "whole.pt", **slow)
    stepping(whole, 3)
    stepping(run_of(toy_head, published, stock, tmp_path / "parts.pt", **slow), 1)
    stepping(run_of(toy_head, published, stock, tmp_path / "parts.pt", **slow), 2)
    trunk, chip_size = read_trunk(tmp_path / "parts.pt")
    assert chip_size == 103
    for name, value in whole.trunk.state_dict().items():
        torch.testing.assert_close(trunk.state_dict()[name], value, rtol=0, atol=1e-6)


def test_refusals(toy_head, published: FaceResNet, stock: Stock, tmp_path: Path) -> None:
    out = tmp_path / "trunk.pt"
    stepping(run_of(toy_head, published, stock, out), 1)
    with pytest.raises(ExperimentError, match="other settings"):
        run_of(toy_head, published, stock, out, chip_size=120)
    (tmp_path / "no.pt").write_bytes(b"no")
    with pytest.raises(ExperimentError, match="holds no trunk"):
        read_trunk(tmp_path / "no.pt")
    with pytest.raises(ExperimentError, match="none are given"):
        run_of(toy_head, published, Stock(portraits=stock.portraits), tmp_path / "new.pt")
    arguments = ["trunk", "--data", str(stock.photos[0].parent), "--minutes", "1"]
    arguments += ["-o", str(tmp_path / "x.pt"), "--face-model", str(toy_head.model_path)]
    arguments += ["--recognizer", str(tmp_path / "no.pt")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert not (tmp_path / "x.pt").exists()
