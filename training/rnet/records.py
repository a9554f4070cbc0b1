"""What a run writes down while it trains: rows of CSV files, TensorBoard scalars, its display."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor

from facewright.training.rnet.batches import Batch
from facewright.training.rnet.clock import Clock
from facewright.training.rnet.module import RNetModule
from facewright.training.trainer.tables import append_row, one_line

log = logging.getLogger(__name__)

LOG_SECONDS = 20.0
# Share that the newest step has in the logged running means.
LOG_WEIGHT = 0.03


@dataclass(frozen=True)
class Report:
    """What a running training tells its display.

    Attributes:
        progress: 0 to 1.
        message: one line.
    """

    progress: float
    message: str


ReportTo = Callable[[Report], None]


def time_columns(batch: Batch, clock: Clock) -> dict[str, Any]:
    """Where in the run a row belongs: the state after the step of ``batch``."""
    after = batch.step.after
    return {
        "minutes": round(clock.seconds / 60, 2),
        "progress": round(clock.progress(after.images), 4),
        "step": after.step,
        "images": after.images,
    }


class RunLog(lightning.Callback):
    """Running means of the loss terms: ``train.csv``, TensorBoard, a line for the display.

    Args:
        out: directory of the run.
        terms: names of all loss terms of the run; not every stage has every one.
        clock: of the run.
        report: called in the first process every few seconds.
    """

    def __init__(
        self,
        out: Path,
        terms: Sequence[str],
        clock: Clock,
        report: ReportTo,
    ) -> None:
        self._path = out / "train.csv"
        self._columns = ["total", "gradient", *terms]
        self._clock = clock
        self._report = report
        self._means: dict[str, Tensor] = {}
        self._logged = 0.0
        self._logged_images = 0

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Start to measure the speed."""
        self._logged = time.monotonic()
        self._logged_images = trainer.datamodule.cursor.images  # type: ignore[attr-defined]

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Take up the terms of a step; write a row when it is time."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, RNetModule)
        newest = {
            "total": outputs["loss"].detach(),
            "gradient": pl_module.gradient_norm,
            **outputs["terms"],
        }
        for name, value in newest.items():
            old = self._means.get(name, value).to(value.device)
            self._means[name] = old.lerp(value, LOG_WEIGHT)
        now = time.monotonic()
        if now - self._logged > LOG_SECONDS:
            self._write(trainer, batch, now - self._logged)
            self._logged, self._logged_images = now, batch.step.after.images

    def _write(self, trainer: lightning.Trainer, batch: Batch, seconds: float) -> None:
        step = batch.step
        milliseconds = 1e3 * seconds / max(step.after.images - self._logged_images, 1)
        terms = {name: round(float(value), 5) for name, value in self._means.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {
            **time_columns(batch, self._clock),
            "size": step.stage.size,
            "rate": rate,
            "ms_per_image": round(milliseconds, 2),
        }
        append_row(self._path, {**row, **dict.fromkeys(self._columns, ""), **terms})
        scalars = {f"train/{name}": value for name, value in terms.items()}
        if trainer.logger is not None:
            trainer.logger.log_metrics(scalars | {"train/rate": rate}, step.after.step)
        message = (
            f"{100 * row['progress']:.1f} % step {row['step']} images {row['images']}"
            f" {row['size']} px {milliseconds:.1f} ms/image {one_line(terms)}"
        )
        log.info(message)
        self._report(Report(row["progress"], message))

    def state_dict(self) -> dict[str, Any]:
        """The running means."""
        return {name: float(value) for name, value in self._means.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them."""
        self._means = {name: torch.tensor(value) for name, value in state_dict.items()}
