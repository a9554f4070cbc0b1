"""Validation during training: figures and pictures of held-out faces by the averaged weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytorch_lightning as lightning
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from facewright.models.camera import CROP_SIZE
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import initial_coefficients
from facewright.training.data.shards import ShardSet
from facewright.training.losses.hybrid import HybridLoss, PhotoTargets
from facewright.training.render import Rendering
from facewright.training.rnet.averaging import WeightAverage
from facewright.training.rnet.batches import Batch, plain_photos, plain_portraits
from facewright.training.rnet.clock import Clock
from facewright.training.rnet.data import RNetData
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.metrics import photo_figures, validation_figures
from facewright.training.rnet.module import PHOTO_PREFIX, regress
from facewright.training.rnet.panels import panel
from facewright.training.rnet.schedule import stage_at
from facewright.training.trainer.tables import append_row, one_line

log = logging.getLogger(__name__)

PORTRAIT_BATCH = 32
PHOTO_BATCH = 8
PANEL_FACES = 8

Predict = Callable[[Tensor], Tensor]


class Validation(lightning.Callback):
    """Looks at the averaged weights whenever the clock says so.

    Figures go to ``validation.csv`` and TensorBoard, pictures to TensorBoard and, the newest, to
    ``portraits.png`` and ``photos.png``: all of it in the directory of the run.

    Args:
        experiment: settings.
        out: directory of the run.
        model: face model of the labels.
        clock: of the run.
        average: the weights to look at.
        photo_loss: whose terms to measure on photographs, if any.
        render: pictures of coefficients (N, 239), for the panels; only the first process asks.
    """

    def __init__(
        self,
        experiment: Experiment,
        out: Path,
        model: MorphableModel,
        clock: Clock,
        average: WeightAverage,
        photo_loss: HybridLoss | None,
        render: Callable[[Tensor], Rendering],
    ) -> None:
        self._experiment = experiment
        self._out = out
        self._model = model
        self._clock = clock
        self._average = average
        self._photo_loss = photo_loss
        self._render = render

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write down how good the mean face is, in a new run."""
        if _data(trainer).cursor.step:
            return
        start = initial_coefficients(LAYOUT_239)
        figures, _ = self._look(
            trainer, lambda crops: start.to(crops.device).tile(len(crops), 1), 32
        )
        self._write(trainer, "mean face", 0, figures)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Validate when it is due."""
        if self._clock.validate:
            self.run(trainer)

    def run(self, trainer: lightning.Trainer) -> None:
        """Validate at the image size of the current stage; all workers take part."""
        size = stage_at(self._experiment, self._progress(trainer)).size
        net, bf16 = self._average.net, self._experiment.bf16
        figures, panels = self._look(trainer, lambda crops: regress(net, crops, bf16), size)
        self._write(trainer, f"validation at {size} px", size, figures)
        if trainer.is_global_zero:
            for name, (held_out, coefficients) in panels.items():
                self._draw(trainer, name, held_out, coefficients[:PANEL_FACES])

    @torch.no_grad()
    def _look(
        self, trainer: lightning.Trainer, predict: Predict, size: int
    ) -> tuple[dict[str, float], dict[str, tuple[ShardSet, Tensor]]]:
        """Figures by name, and per kind the data with coefficients predicted for it."""
        data = _data(trainer)
        figures: dict[str, float] = {}
        panels = {}
        if data.held_out_portraits is not None:
            predicted = self._of_portraits(trainer, data.held_out_portraits, predict, size)
            if trainer.is_global_zero:
                labels = data.held_out_portraits.labels.take(slice(0, len(predicted)))
                figures |= validation_figures(self._model, predicted.cpu().numpy(), labels)
            panels["portraits"] = (data.held_out_portraits, predicted)
        if data.held_out_photos is not None:
            predicted, terms = self._of_photos(trainer, data.held_out_photos, predict, size)
            if trainer.is_global_zero:
                labels = data.held_out_photos.labels.take(slice(0, len(predicted)))
                terms |= photo_figures(self._model, predicted.cpu().numpy(), labels)
            figures |= {PHOTO_PREFIX + name: value for name, value in terms.items()}
            panels["photos"] = (data.held_out_photos, predicted)
        return figures, panels

    def _of_portraits(
        self, trainer: lightning.Trainer, held_out: ShardSet, predict: Predict, size: int
    ) -> Tensor:
        """Coefficients (N, 239), every worker predicting its share and getting the whole."""
        count = min(len(held_out), self._experiment.validation_portraits)
        device = trainer.strategy.root_device
        out = torch.zeros(count, LAYOUT_239.size, device=device)
        for rows in _chunks(trainer, count, PORTRAIT_BATCH):
            images, labels = held_out.images(rows), held_out.labels.take(rows)
            batch = plain_portraits(images, labels, size, held_out.meta.margin)
            out[rows] = predict(batch.crops.to(device))
        return _summed(trainer, out)

    def _of_photos(
        self, trainer: lightning.Trainer, held_out: ShardSet, predict: Predict, size: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Coefficients (N, 239) as of portraits, and means of the loss terms."""
        count = min(len(held_out), self._experiment.validation_photos)
        device = trainer.strategy.root_device
        out = torch.zeros(count, LAYOUT_239.size, device=device)
        # Every worker sums the same terms, even one without photographs.
        loss = self._photo_loss
        names = [] if loss is None else [name for name, weight in loss.weights.items() if weight]
        sums = {name: torch.zeros((), device=device) for name in names}
        for rows in _chunks(trainer, count, PHOTO_BATCH):
            batch = plain_photos(
                held_out.images(rows),
                held_out.attention(rows),
                held_out.labels.take(rows),
                size,
                self._experiment.render_size,
                held_out.meta.margin,
            )
            out[rows] = predict(batch.crops.to(device))
            if loss is not None:
                targets = PhotoTargets(*(t.to(device) for t in batch.targets))
                for name, value in loss(out[rows], targets).items():
                    sums[name] = sums[name] + len(rows) * value
        means = {name: float(_summed(trainer, value)) / count for name, value in sums.items()}
        return _summed(trainer, out), {name: round(value, 5) for name, value in means.items()}

    def _draw(
        self, trainer: lightning.Trainer, name: str, held_out: ShardSet, coefficients: Tensor
    ) -> None:
        rows = np.arange(len(coefficients))
        margin = held_out.meta.margin
        inner = slice(margin, margin + CROP_SIZE)
        photos, attention = held_out.images(rows), held_out.attention(rows)
        picture = panel(
            photos[:, inner, inner], attention[:, inner, inner], self._render(coefficients)
        )
        cv2.imwrite(str(self._out / f"{name}.png"), picture[..., ::-1])
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.add_image(
                name, picture, _data(trainer).cursor.step, dataformats="HWC"
            )

    def _write(
        self, trainer: lightning.Trainer, title: str, size: int, figures: Mapping[str, float]
    ) -> None:
        if not trainer.is_global_zero:
            return
        cursor = _data(trainer).cursor
        clock = {
            "minutes": round(self._clock.seconds / 60, 2),
            "progress": round(self._progress(trainer), 4),
            "step": cursor.step,
            "images": cursor.images,
        }
        append_row(self._out / "validation.csv", {**clock, "size": size, **figures})
        if trainer.logger is not None:
            scalars = {f"validation/{name}": value for name, value in figures.items()}
            trainer.logger.log_metrics(scalars, cursor.step)
        log.info("%s: %s", title, one_line(figures))

    def _progress(self, trainer: lightning.Trainer) -> float:
        return self._clock.progress(_data(trainer).cursor.images)


def _data(trainer: lightning.Trainer) -> RNetData:
    data: RNetData = trainer.datamodule  # type: ignore[attr-defined]
    return data


def _chunks(trainer: lightning.Trainer, count: int, size: int) -> Iterator[npt.NDArray[np.int64]]:
    """This worker's share of ``count`` rows in batches."""
    mine = np.arange(trainer.global_rank, count, trainer.world_size)
    for k in range(0, len(mine), size):
        yield mine[k : k + size]


def _summed(trainer: lightning.Trainer, tensor: Tensor) -> Tensor:
    total: Tensor = trainer.strategy.reduce(tensor, reduce_op="sum")
    return total
