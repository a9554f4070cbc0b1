import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing

from models.checkpoints_torch import load_checkpoint
from models.rnet_torch import RNet
from training.data.shards import ShardSet
from training.rnet.config import ConfigError, RNetConfig
from training.rnet.dataset import plain_batch
from training.rnet.parallel import Workers
from training.rnet.trainer import CHECKPOINT, RunPaths, Trainer


class Recorder(Trainer):
    """Keeps the loss of every step."""

    def backward(self, batch):
        terms = super().backward(batch)
        self.losses = [*getattr(self, "losses", []), terms["total"]]
        return terms


def trainer(paths, config, make_net, workers=None):
    return Recorder(config, paths, workers or Workers(), make_net=make_net)


def test_training_lowers_the_loss_and_beats_the_mean_face(run_paths, small_config, small_net):
    run = trainer(run_paths, replace(small_config, images=1200), small_net)
    run.run()
    steps = len(run.losses)
    assert np.mean(run.losses[-steps // 10 :]) < 0.97 * np.mean(run.losses[: steps // 10])
    with (run_paths.out / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    for figure in ("vertex_mm", "plane_mm", "rotation_degrees"):
        assert float(rows[-1][figure]) < float(rows[0][figure])


def test_a_resumed_run_is_the_uninterrupted_run(run_paths, small_config, small_net, tmp_path):
    whole = trainer(run_paths, small_config, small_net)
    whole.run()
    paths = replace(run_paths, out=tmp_path / "other")
    paths.out.mkdir()
    losses = []
    for stop_after in (7, 21, 10**6):  # within the first stage, within the second, never
        part = trainer(paths, small_config, small_net)
        part.run(lambda run=part, last=stop_after: run.place.step >= last)
        losses += part.losses
    assert losses == whole.losses
    for name, value in whole.average.state_dict().items():
        torch.testing.assert_close(part.average.state_dict()[name], value, rtol=0, atol=0)


def test_a_run_resumes_only_with_its_own_settings(run_paths, small_config, small_net):
    run = trainer(run_paths, small_config, small_net)
    run.run(lambda: run.place.step >= 2)
    with pytest.raises(ConfigError, match="peak_rate"):
        trainer(run_paths, replace(small_config, peak_rate=1e-5), small_net)
    longer = trainer(run_paths, replace(small_config, images=1000), small_net)
    assert longer.place.step == 2


def test_new_shards_are_taken_up_at_the_end_of_a_pass(
    run_paths, small_config, small_net, tmp_path, shard_directory
):
    data = tmp_path / "growing"
    data.mkdir()
    (data / "shard_00000").symlink_to(shard_directory / "shard_00000")
    run = trainer(replace(run_paths, data=(data,)), small_config, small_net)

    def meanwhile() -> bool:
        if run.place.step == 2:
            (data / "shard_00001").symlink_to(shard_directory / "shard_00001")
        return run.place.step == 6

    run.run(lambda: run.place.step == 6 or meanwhile())
    assert (run.place.epoch, run.place.pool, run.place.position) == (1, 50, 4)


def test_the_checkpoint_can_be_exported_at_any_time(run_paths, small_config):
    config = replace(small_config, images=4)
    run = Trainer(config, run_paths, Workers())
    run.run(lambda: run.place.step >= 1)
    rnet, cnet, info = load_checkpoint(run_paths.out / CHECKPOINT)
    assert isinstance(rnet, RNet)
    assert cnet is None
    assert (info.steps, info.images, info.face_model_sha256) == (1, 4, run.model.sha256)
    for name, value in run.average.state_dict().items():
        torch.testing.assert_close(rnet.state_dict()[name], value, rtol=0, atol=0)


def test_a_run_can_start_from_the_weights_of_another(run_paths, small_config, tmp_path):
    config = replace(small_config, images=4)
    first = Trainer(config, run_paths, Workers())
    first.run(lambda: first.place.step >= 1)
    other = replace(run_paths, out=tmp_path / "other", init=run_paths.out / CHECKPOINT)
    other.out.mkdir()
    second = Trainer(config, other, Workers())
    assert second.place.step == 0
    for name, value in first.average.state_dict().items():
        torch.testing.assert_close(second.net.state_dict()[name], value, rtol=0, atol=0)


def test_a_length_is_needed(run_paths, small_config, small_net):
    with pytest.raises(ConfigError, match="length"):
        trainer(run_paths, replace(small_config, images=None), small_net)


def _gradients(
    rank: int, size: int, meeting: str, config: RNetConfig, paths: RunPaths, make_net, out: Path
) -> None:
    torch.set_num_threads(1)
    workers = Workers.join(rank, size, f"file://{meeting}")
    run = trainer(paths, config, make_net, workers)
    _freeze_statistics(run)
    shards = ShardSet(paths.validation)
    rows = np.arange(8)[rank * (8 // size) : (rank + 1) * (8 // size)]
    run.backward(plain_batch(shards.images(rows), shards.labels.take(rows), 32, 8))
    workers.average(run.flat.gradients)
    torch.save(run.flat.gradients, out / f"gradients_{size}_{rank}.pt")
    workers.leave()


def _freeze_statistics(run: Trainer) -> None:
    """Statistics over a batch are those of each worker's own part; leave that out."""
    run.net.eval()
    run.net.train = lambda mode=True: run.net


def test_two_workers_give_the_gradients_of_the_joined_batch(
    run_paths, small_config, small_net, tmp_path
):
    for size in (1, 2):
        multiprocessing.start_processes(
            _gradients,
            (size, str(tmp_path / f"meeting{size}"), small_config, run_paths, small_net, tmp_path),
            nprocs=size,
            start_method="fork",
        )
    joined = torch.load(tmp_path / "gradients_1_0.pt")
    for rank in (0, 1):
        torch.testing.assert_close(
            torch.load(tmp_path / f"gradients_2_{rank}.pt"), joined, rtol=1e-4, atol=1e-5
        )
    assert joined.norm() > 0.1
