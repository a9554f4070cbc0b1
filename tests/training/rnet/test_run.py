import csv
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import nn

from facewright.models.checkpoints_torch import load_checkpoint
from facewright.models.rnet_torch import RNet
from facewright.training.data.shards import ShardSet
from facewright.training.experiment_files import ExperimentError
from facewright.training.rnet.averaging import WeightAverage
from facewright.training.rnet.checkpoints import CHECKPOINT, FINAL
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.module import RNetModule
from facewright.training.rnet.run import RunPaths, prepare_run, train

pytestmark = pytest.mark.slow


@pytest.fixture
def losses(monkeypatch):
    """Terms of every training step, by name; appended to as training goes on."""
    found: list[dict[str, float]] = []
    original = RNetModule.forward

    def recording(self, batch):
        output = original(self, batch)
        found.append(
            {"loss": float(output["loss"].detach())}
            | {name: float(value) for name, value in output["terms"].items()}
        )
        return output

    monkeypatch.setattr(RNetModule, "forward", recording)
    return found


def run(
    experiment: Experiment,
    paths: RunPaths,
    make_net: Callable[[Experiment], nn.Module] | None,
    steps: int | None = None,
) -> tuple[RNetModule, WeightAverage]:
    """A run in this process, stopped after so many steps of this part."""
    left = iter(range(steps - 1)) if steps is not None else iter(int, 1)
    stock = prepare_run(experiment, paths)
    return train(
        experiment,
        paths,
        stock,
        should_stop=lambda: next(left, None) is None,
        make_net=make_net,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def lasting(experiment: Experiment, images: int) -> Experiment:
    return experiment.lasting(None, images)


def test_training_lowers_the_loss_and_beats_the_mean_face(run_paths, small, small_net, losses):
    run(lasting(small, 1200), run_paths, small_net)
    totals = [terms["loss"] for terms in losses]
    tenth = len(totals) // 10
    assert np.mean(totals[-tenth:]) < 0.97 * np.mean(totals[:tenth])
    validations = rows(run_paths.out / "validation.csv")
    assert len(validations) == 3  # the mean face, before and after the calibration
    for figure in ("vertex_mm", "plane_mm", "rotation_degrees"):
        assert float(validations[-1][figure]) < float(validations[0][figure])


def without_variation(experiment: Experiment, **changes: object) -> Experiment:
    plain = {"portrait_augmentation": {}, "photo_augmentation": {}, "calibration_images": 0}
    return Experiment.model_validate({**experiment.model_dump(), **plain, **changes})


def falls(losses: list[dict[str, float]]) -> dict[str, bool]:
    """Whether each term is smaller in the last tenth of the steps than in the first."""
    tenth = len(losses) // 10
    first, last = losses[:tenth], losses[-tenth:]
    return {
        name: sum(terms[name] for terms in last) < sum(terms[name] for terms in first)
        for name in losses[0]
    }


def test_every_supervised_term_falls(run_paths, small, small_net, losses):
    stage = {"size": 32, "portraits": 10}
    run(without_variation(small, stages=[stage], images=2000), run_paths, small_net)
    # These people have one portrait each, so no two views can disagree.
    fell = {name: value for name, value in falls(losses).items() if name != "views"}
    assert all(fell.values()), fell


class Recognizer(nn.Module):
    """Recognizes the colors of coarse blocks."""

    dimension = 48

    def forward(self, images: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        blocks = nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)
        return nn.functional.normalize(blocks)


def test_every_term_of_the_hybrid_loss_falls(run_paths, small_net, losses, mixed, monkeypatch):
    """From a wrong face: at the mean face, two of the terms could only rise."""
    monkeypatch.setattr("facewright.training.rnet.run.load_recognizer", lambda source: Recognizer())

    def make_net(experiment: Experiment) -> nn.Module:
        net = small_net(experiment)
        with torch.no_grad():
            net.fc.bias[:224] += torch.randn(224, generator=torch.Generator().manual_seed(0))
        return net

    experiment = without_variation(
        mixed,
        stages=[{"size": 32, "photos": 8}],
        images=800,
        photo_loss={"coefficients": 3e-2},
        optimizer={"rate": 3e-3},
    )
    run(experiment, run_paths, make_net)
    assert "photo_perceptual" in losses[0]
    assert all(falls(losses).values()), falls(losses)


@pytest.mark.parametrize("kind", ["small", "mixed"])
def test_a_resumed_run_is_the_uninterrupted_run(
    kind, request, run_paths, small_net, tmp_path, losses
):
    experiment = request.getfixturevalue(kind)
    whole, whole_average = run(experiment, run_paths, small_net)
    expected, losses[:] = list(losses), []
    other = replace(run_paths, out=tmp_path / "other")
    for steps in (7, 20, None):  # within the first stage, within the second, to the end
        part, average = run(experiment, other, small_net, steps)
    assert losses == expected
    for one, same in ((whole.net, part.net), (whole_average.net, average.net)):
        for name, value in one.state_dict().items():
            torch.testing.assert_close(same.state_dict()[name], value, rtol=0, atol=0)
    figures = [rows(paths.out / "validation.csv") for paths in (run_paths, other)]
    for row in [*figures[0], *figures[1]]:
        del row["minutes"]
    assert figures[0] == figures[1]


def test_a_run_resumes_only_with_its_own_settings(run_paths, small, small_net, losses):
    run(small, run_paths, small_net, 2)
    changed = small.model_copy(update={"bf16": True})
    with pytest.raises(ExperimentError, match="another bf16"):
        run(changed, run_paths, small_net)
    run(lasting(small, 1000), run_paths, small_net, 1)
    assert len(losses) == 3


def test_a_run_that_was_killed_while_finishing_finishes(run_paths, small, small_net, losses):
    run(lasting(small, 16), run_paths, small_net)
    steps = len(losses)
    run(lasting(small, 16), run_paths, small_net)
    assert len(losses) == steps
    assert len(rows(run_paths.out / "validation.csv")) == 5
    run(lasting(small, 32), run_paths, small_net)  # made longer instead
    assert len(losses) == steps + 8


def test_new_shards_are_taken_up_when_a_run_is_resumed(
    run_paths, small, small_net, tmp_path, shard_directory
):
    data = tmp_path / "growing"
    data.mkdir()
    (data / "shard_00000").symlink_to(shard_directory / "shard_00000")
    paths = replace(run_paths, portraits=(data,))
    run(small, paths, small_net, 3)
    (data / "shard_00001").symlink_to(shard_directory / "shard_00001")
    run(small, paths, small_net, 3)
    content = torch.load(paths.out / CHECKPOINT, weights_only=True)
    cursor = content["RNetData"]["cursor"]
    # Five batches of four are the first pass over twenty portraits.
    assert cursor["portraits"] == {"epoch": 2, "position": 4, "pool": 50}


def test_the_checkpoint_can_be_exported_at_any_time(run_paths, small):
    module, average = run(small, run_paths, None, 1)
    rnet, cnet, info = load_checkpoint(run_paths.out / CHECKPOINT)
    assert isinstance(rnet, RNet)
    assert cnet is None
    assert (info.steps, info.images) == (1, 4)
    assert info.face_model_sha256 == ShardSet(run_paths.portraits).meta.face_model_sha256
    for name, value in average.net.state_dict().items():
        torch.testing.assert_close(rnet.state_dict()[name], value, rtol=0, atol=0)


def test_checkpoints_of_earlier_releases_are_gone_on_from(run_paths, small, small_net, losses):
    """They hold the same entries, and some of the framework that wrote them."""
    run(small, run_paths, small_net, 2)
    path = run_paths.out / CHECKPOINT
    content = torch.load(path, weights_only=True)
    assert {"state_dict", "optimizer_states", "callbacks", "RNetData", "model"} < set(content)
    assert set(content["callbacks"]) == {"Clock", "RunLog"}
    assert set(content["RNetData"]) == {"cursor", "stock"}
    further = {"epoch": 0, "global_step": 2, "lr_schedulers": [], "pytorch-lightning_version": "2"}
    torch.save(content | further, path)
    run(small, run_paths, small_net, 1)
    assert torch.load(path, weights_only=True)["RNetData"]["cursor"]["step"] == 3


def test_a_run_ends_in_its_last_file_and_another_starts_from_it(run_paths, small, tmp_path):
    short = lasting(small, 4)
    _, average = run(short, run_paths, None)
    final, _, info = load_checkpoint(run_paths.out / FINAL)
    assert info.config["optimizer"]["rate"] == small.optimizer.rate
    paths = replace(run_paths, out=tmp_path / "other", init=run_paths.out / FINAL)
    frozen = small.model_copy(
        update={"optimizer": small.optimizer.model_copy(update={"rate": 1e-30, "weight_decay": 0})}
    )
    second, _ = run(frozen, paths, None, 1)
    for name, value in final.named_parameters():
        torch.testing.assert_close(second.net.get_parameter(name), value)


def test_pictures_are_drawn(run_paths, mixed, small_net):
    run(lasting(mixed, 4), run_paths, small_net)
    for name, faces in (("portraits", 8), ("photos", 6)):
        picture = cv2.imread(str(run_paths.out / f"{name}.png"))
        assert picture.shape == (224 * faces, 224 * 4, 3)
        photo, overlay, face, attention = np.hsplit(picture.astype(int), 4)
        drawn = (overlay != photo).any(-1)
        assert 0.05 < drawn.mean() < 0.6  # a face on the photo
        assert face[drawn].any()
        assert face[~drawn].mean() < 2
        if name == "photos":
            assert set(np.unique(attention)) == {100, 255}
    assert list((run_paths.out / "tensorboard").glob("events*"))
    (first, *_, last) = rows(run_paths.out / "validation.csv")
    assert float(first["photo_landmark_px"]) > 0
    assert 0 < float(last["photo_photometric"]) < 1


def test_missing_data_is_named(run_paths, mixed, small_net, tmp_path):
    with pytest.raises(ExperimentError, match="trains on photos"):
        run(mixed, replace(run_paths, photos=()), small_net)
    with pytest.raises(ExperimentError, match="holds portraits, not photos"):
        run(mixed, replace(run_paths, photos=run_paths.portraits), small_net)
    with pytest.raises(ExperimentError, match="no shards"):
        run(mixed, replace(run_paths, photos=(tmp_path,)), small_net)


def test_a_wild_gradient_ends_the_run(run_paths, small, small_net, monkeypatch):
    original = RNetModule.forward

    def broken(self, batch):
        output = original(self, batch)
        return output | {"loss": output["loss"] * float("nan")}

    monkeypatch.setattr(RNetModule, "forward", broken)
    with pytest.raises(FloatingPointError, match="not finite"):
        run(small, run_paths, small_net)


def test_frozen_parts_stay_frozen(run_paths, mixed, small_net):
    module, _ = run(mixed, run_paths, small_net, 1)
    assert module.net.training
    assert not module.photo_loss.training
    content = torch.load(run_paths.out / CHECKPOINT, weights_only=True)
    assert all(name.startswith("net.") for name in content["state_dict"])


class _FrozenStatistics(nn.Module):
    """Statistics over a batch are those of each worker's own part; leave that out."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.eval()
        self.fc = net.fc

    def train(self, mode: bool = True) -> nn.Module:
        return self

    def features(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.net.features(crops)


def _worker(rank: int, experiment: Experiment, paths: RunPaths, make_net, workers: int) -> None:
    """One step; leaves its gradients behind."""
    torch.set_num_threads(1)
    if workers > 1:
        os.environ["LOCAL_RANK"] = str(rank)

    def make(settings: Experiment) -> nn.Module:
        return _FrozenStatistics(make_net(settings))

    original = RNetModule.clip_gradient

    def saving(self):
        gradients = {name: p.grad.clone() for name, p in self.net.named_parameters()}
        torch.save(gradients, paths.out / f"gradients_{rank}.pt")
        return original(self)

    RNetModule.clip_gradient = saving
    try:
        train(
            experiment,
            paths,
            prepare_run(experiment, paths),
            rank=rank,
            workers=workers,
            should_stop=lambda: True,
            make_net=make,
        )
    finally:
        RNetModule.clip_gradient = original


def test_two_workers_give_the_gradients_of_the_joined_batch(
    run_paths, mixed, small_net, tmp_path, monkeypatch
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    gradients = []
    for workers in (2, 1):
        stage = {"size": 32, "portraits": 8 // workers, "photos": 4 // workers}
        # Without augmentation, whose random numbers differ from worker to worker.
        changes = {"stages": [stage], "portrait_augmentation": {}, "photo_augmentation": {}}
        experiment = Experiment.model_validate({**mixed.model_dump(), **changes})
        paths = replace(run_paths, out=tmp_path / f"workers{workers}")
        multiprocessing.start_processes(
            _worker,
            (experiment, paths, small_net, workers),
            nprocs=workers,
            start_method="fork",
        )
        gradients += [
            torch.load(paths.out / f"gradients_{rank}.pt", weights_only=True)
            for rank in range(workers)
        ]
    first, second, joined = gradients
    for name, value in joined.items():
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
        scale = float(value.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5 * scale)


def test_bad_weights_to_start_from_end_in_one_message(run_paths, small, small_net, tmp_path):
    noise = tmp_path / "noise.pt"
    noise.write_bytes(b"noise")
    with pytest.raises(ExperimentError, match=r"noise\.pt: cannot be read"):
        prepare_run(small, replace(run_paths, init=noise))
    with pytest.raises(ExperimentError, match="no weights file"):
        prepare_run(small, replace(run_paths, init=tmp_path / "absent.pt"))


def test_a_missing_recognizer_ends_in_one_message(run_paths, tmp_path):
    stage = {"size": 32, "photos": 4}
    experiment = Experiment.model_validate(
        {"stages": [stage], "images": 8, "recognizer": str(tmp_path / "absent.onnx")}
    )
    with pytest.raises(ExperimentError, match=r"absent\.onnx"):
        prepare_run(experiment, run_paths)
