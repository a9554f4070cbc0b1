"""Checkpoints of a run: what it goes on from, and its last file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facewright.models.checkpoints_torch import CheckpointInfo, save_checkpoint
from facewright.models.layout import LAYOUT_239
from facewright.models.rnet_torch import RNet
from facewright.training.data.stock import Stock
from facewright.training.experiment_files import ExperimentError
from facewright.training.rnet.clock import Clock
from facewright.training.rnet.data import RNetData
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.module import RNetModule
from facewright.training.rnet.records import RunLog

CHECKPOINT = "checkpoint.pt"
FINAL = "rnet.pt"
DATA = "RNetData"
# Settings that a resumed run may change: its length and what does not touch the weights.
CHANGEABLE = (
    "minutes",
    "images",
    "validate_minutes",
    "save_minutes",
    "validation_portraits",
    "validation_photos",
)


def stock_to_resume(out: Path, experiment: Experiment, face_model_sha256: str) -> Stock | None:
    """Shards of the interrupted run in `out`, or None when there is none.

    Raises:
        ExperimentError: the run has other settings or another face model.
    """
    path = out / CHECKPOINT
    if not path.exists():
        return None
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    old, new = dict(content["config"]), _plain(experiment)
    changed = [key for key in new if key not in CHANGEABLE and old.get(key) != new[key]]
    if changed:
        raise ExperimentError(f"{path} was made with another {', '.join(changed)}")
    if content["face_model_sha256"] != face_model_sha256:
        raise ExperimentError(f"{path} was made for another face model")
    return Stock.from_dict(content[DATA]["stock"])


class Checkpoints:
    """Writes the files of a run; the first process alone writes.

    A checkpoint has the averaged weights as `model`, which `models.checkpoints_torch` reads, so it
    can be exported at any time. The losses' constants are not in it: they come from the face
    model's and the recognition network's own files.

    Args:
        experiment: settings.
        out: directory of the run.
        face_model_sha256: of the face model of the coefficients.
        data: of the run, whose cursor says how far it is.
        average: the averaged network.
    """

    def __init__(
        self,
        experiment: Experiment,
        out: Path,
        face_model_sha256: str,
        data: RNetData,
        average: nn.Module,
    ) -> None:
        self._experiment = experiment
        self._out = out
        self._face_model_sha256 = face_model_sha256
        self._data = data
        self._average = average

    def save(
        self, module: RNetModule, optimizer: torch.optim.Optimizer, clock: Clock, log: RunLog
    ) -> None:
        """Write all that the run goes on from."""
        average = {name: value.cpu() for name, value in self._average.state_dict().items()}
        content = {
            "state_dict": {f"net.{name}": v for name, v in module.net.state_dict().items()},
            "optimizer_states": [optimizer.state_dict()],
            "callbacks": {
                "Clock": {"seconds": clock.seconds},
                "RunLog": {name: float(value) for name, value in log.means.items()},
            },
            DATA: self._data.state_dict(),
            "model": {name: value.contiguous() for name, value in average.items()},
            **self._info().entries(),
        }
        partial = self._out / f".{CHECKPOINT}.partial"
        torch.save(content, partial)
        os.replace(partial, self._out / CHECKPOINT)

    def resume(
        self,
        module: RNetModule,
        optimizer: torch.optim.Optimizer,
        clock: Clock,
        log: RunLog | None,
    ) -> None:
        """Go on from the checkpoint, in every process; only the first one has a log."""
        content = torch.load(self._out / CHECKPOINT, map_location="cpu", weights_only=True)
        weights = content["state_dict"].items()
        module.net.load_state_dict({name.removeprefix("net."): v for name, v in weights})
        optimizer.load_state_dict(content["optimizer_states"][0])
        self._average.load_state_dict(content["model"])
        self._data.load_state_dict(content[DATA])
        clock.seconds = content["callbacks"]["Clock"]["seconds"]
        if log is not None:
            means = content["callbacks"]["RunLog"].items()
            log.means = {name: torch.tensor(value) for name, value in means}

    def finish(self) -> None:
        """Write the averaged network as the run's last file."""
        if isinstance(self._average, RNet):
            partial = self._out / f".{FINAL}.partial"
            save_checkpoint(partial, self._average, None, self._info())
            os.replace(partial, self._out / FINAL)

    def _info(self) -> CheckpointInfo:
        cursor = self._data.cursor
        return CheckpointInfo(
            layout=LAYOUT_239.name,
            variant=self._experiment.variant,
            face_model_sha256=self._face_model_sha256,
            steps=cursor.step,
            images=cursor.images,
            config=_plain(self._experiment),
            input_size=self._experiment.input_size,
        )


def _plain(experiment: Experiment) -> Mapping[str, Any]:
    plain: dict[str, Any] = experiment.model_dump(mode="json")
    return plain
