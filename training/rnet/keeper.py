"""Checkpoints of a run, and its last file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch

from facewright.models.checkpoints_torch import CheckpointInfo, save_checkpoint
from facewright.models.layout import LAYOUT_239
from facewright.models.rnet_torch import RNet
from facewright.training.data.stock import Stock
from facewright.training.rnet.averaging import WeightAverage
from facewright.training.rnet.batches import Batch
from facewright.training.rnet.clock import Clock
from facewright.training.rnet.data import RNetData
from facewright.training.rnet.experiment import Experiment, ExperimentError
from facewright.training.rnet.records import Report, ReportTo
from facewright.training.rnet.validation import Validation

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
FINAL = "rnet.pt"
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
    """Shards of the interrupted run in ``out``, or None when there is none.

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
    return Stock.from_dict(content[RNetData.__qualname__]["stock"])


class Keeper(lightning.Callback):
    """Saves the run when the clock says so; at its end calibrates and writes ``rnet.pt``.

    The last of the callbacks, so that a checkpoint has what the others did in the same step.

    Args:
        experiment: settings.
        out: directory of the run.
        face_model_sha256: of the face model of the coefficients.
        clock: of the run.
        average: the weights to keep.
        validation: that looks at them before and after their calibration.
        report: the run's display.
    """

    def __init__(
        self,
        experiment: Experiment,
        out: Path,
        face_model_sha256: str,
        clock: Clock,
        average: WeightAverage,
        validation: Validation,
        report: ReportTo,
    ) -> None:
        self._experiment = experiment
        self._out = out
        self._face_model_sha256 = face_model_sha256
        self._clock = clock
        self._average = average
        self._validation = validation
        self._report = report

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Save when it is due, and before the run stops."""
        if self._clock.save or self._clock.stop:
            self._save(trainer)
        if self._clock.stop and trainer.is_global_zero:
            after = batch.step.after
            percent = 100 * self._clock.progress(after.images)
            log.info("stopped at %.1f %%, %d images; run again to go on", percent, after.images)

    def on_save_checkpoint(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Add the description that ``models.checkpoints_torch`` reads."""
        # Where the run stands is known to the data; to Lightning each part of a run is a pass.
        checkpoint.pop("loops")
        checkpoint |= self._info(trainer).entries()

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Finish the run, unless it only stops."""
        if self._clock.stop:
            return
        data: RNetData = trainer.datamodule  # type: ignore[attr-defined]
        self._save(trainer)
        self._validation.run(trainer)
        if self._experiment.calibration_images:
            batches = data.calibration_batches(self._experiment.calibration_images)
            self._average.calibrate(trainer, batches, self._experiment.bf16)
            self._validation.run(trainer)
        if not trainer.is_global_zero:
            return
        if isinstance(self._average.net, RNet):
            partial = self._out / f".{FINAL}.partial"
            save_checkpoint(partial, self._average.net, None, self._info(trainer))
            os.replace(partial, self._out / FINAL)
        log.info("done: %d steps over %d images", data.cursor.step, data.cursor.images)
        self._report(Report(1.0, "done"))

    def _save(self, trainer: lightning.Trainer) -> None:
        partial = self._out / f".{CHECKPOINT}.partial"
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            os.replace(partial, self._out / CHECKPOINT)

    def _info(self, trainer: lightning.Trainer) -> CheckpointInfo:
        data: RNetData = trainer.datamodule  # type: ignore[attr-defined]
        return CheckpointInfo(
            layout=LAYOUT_239.name,
            variant=self._experiment.variant,
            face_model_sha256=self._face_model_sha256,
            steps=data.cursor.step,
            images=data.cursor.images,
            config=_plain(self._experiment),
            input_size=self._experiment.input_size,
        )


def _plain(experiment: Experiment) -> Mapping[str, Any]:
    plain: dict[str, Any] = experiment.model_dump(mode="json")
    return plain
