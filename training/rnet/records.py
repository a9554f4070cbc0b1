"""What a run writes down while it trains: rows of CSV files, TensorBoard scalars, its display."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from facewright.training.rnet.clock import Clock
from facewright.training.rnet.plan import Cursor, Step
from facewright.training.trainer.tables import append_row, one_line

log = logging.getLogger(__name__)

LOG_SECONDS = 20.0
# Share that the newest step has in the logged running means.
LOG_WEIGHT = 0.03


ReportTo = Callable[[float, str], None]
"""What a running training tells its display: its progress, 0 to 1, and a line."""


def time_columns(cursor: Cursor, clock: Clock) -> dict[str, Any]:
    """Where in the run a row belongs."""
    return {
        "minutes": round(clock.seconds / 60, 2),
        "progress": round(clock.progress(cursor.images), 4),
        "step": cursor.step,
        "images": cursor.images,
    }


class RunLog:
    """Running means of the loss terms: `train.csv`, TensorBoard, a line for the display.

    Of the first process alone.

    Args:
        out: directory of the run.
        terms: names of all loss terms of the run; not every stage has every one.
        clock: of the run.
        report: called every few seconds.
        board: TensorBoard's writer.
    """

    def __init__(
        self,
        out: Path,
        terms: Sequence[str],
        clock: Clock,
        report: ReportTo,
        board: SummaryWriter,
    ) -> None:
        self._path = out / "train.csv"
        self._columns = ["total", "gradient", *terms]
        self._clock = clock
        self._report = report
        self._board = board
        self.means: dict[str, Tensor] = {}
        self._logged = 0.0
        self._logged_images = 0

    def start(self, images: int) -> None:
        """Start to measure the speed, after so many images."""
        self._logged, self._logged_images = time.monotonic(), images

    @torch.no_grad()
    def take(self, step: Step, terms: Mapping[str, Tensor], rate: float) -> None:
        """Take up the terms of a step; write a row when it is time."""
        for name, value in terms.items():
            old = self.means.get(name, value).to(value.device)
            self.means[name] = old.lerp(value, LOG_WEIGHT)
        now = time.monotonic()
        if now - self._logged > LOG_SECONDS:
            self._write(step, rate, now - self._logged)
            self._logged, self._logged_images = now, step.after.images

    def _write(self, step: Step, rate: float, seconds: float) -> None:
        milliseconds = 1e3 * seconds / max(step.after.images - self._logged_images, 1)
        terms = {name: round(float(value), 5) for name, value in self.means.items()}
        row = {
            **time_columns(step.after, self._clock),
            "size": step.stage.size,
            "rate": rate,
            "ms_per_image": round(milliseconds, 2),
        }
        append_row(self._path, {**row, **dict.fromkeys(self._columns, ""), **terms})
        for name, value in (terms | {"rate": rate}).items():
            self._board.add_scalar(f"train/{name}", value, step.after.step)
        message = (
            f"{100 * row['progress']:.1f} % step {row['step']} images {row['images']}"
            f" {row['size']} px {milliseconds:.1f} ms/image {one_line(terms)}"
        )
        log.info(message)
        self._report(row["progress"], message)
