"""Validation during training: figures and pictures of held-out faces by the averaged weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from facewright.models.camera import CROP_SIZE
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import initial_coefficients
from facewright.training.data.shards import ShardSet
from facewright.training.losses.hybrid import HybridLoss, PhotoTargets
from facewright.training.photos.rendering import render_faces
from facewright.training.rnet.averaging import WeightAverage
from facewright.training.rnet.batches import plain_photos, plain_portraits
from facewright.training.rnet.clock import Clock
from facewright.training.rnet.data import RNetData
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.metrics import photo_figures, validation_figures
from facewright.training.rnet.module import PHOTO_PREFIX, regress
from facewright.training.rnet.records import time_columns
from facewright.training.rnet.workers import Workers
from facewright.training.trainer.tables import append_row, one_line

log = logging.getLogger(__name__)

PORTRAIT_BATCH = 32
PHOTO_BATCH = 8
PANEL_FACES = 8
# Share of the face in the overlay: the photo's features shine through its.
OPACITY = 0.65

Predict = Callable[[Tensor], Tensor]
Predicted = dict[str, tuple[ShardSet, Tensor]]


class Validation:
    """Looks at the averaged weights; all workers take part, the first one writes.

    Figures go to `validation.csv` and TensorBoard, pictures to TensorBoard and, the newest, to
    `portraits.png` and `photos.png`: all of it in the directory of the run.

    Args:
        experiment: settings.
        out: directory of the run.
        workers: of the run.
        data: of the run, with what is held out.
        model: face model of the labels.
        clock: of the run.
        average: the weights to look at.
        photo_loss: whose terms to measure on photographs, if any.
        board: TensorBoard's writer in the first process, which writes the files, too.
    """

    def __init__(
        self,
        experiment: Experiment,
        out: Path,
        workers: Workers,
        data: RNetData,
        model: MorphableModel,
        clock: Clock,
        average: WeightAverage,
        photo_loss: HybridLoss | None,
        board: SummaryWriter | None,
    ) -> None:
        self._experiment = experiment
        self._out = out
        self._model = model
        self._clock = clock
        self._average = average
        self._photo_loss = photo_loss
        self._workers, self._data, self._board = workers, data, board

    def of_mean_face(self) -> None:
        """Write down how good the mean face is."""
        start = initial_coefficients(LAYOUT_239)
        figures, _ = self._look(lambda crops: start.to(crops.device).tile(len(crops), 1), 32)
        self._write("mean face", 0, figures)

    def run(self) -> None:
        """Validate at the image size of the current stage."""
        progress = self._clock.progress(self._data.cursor.images)
        size = self._experiment.stage_at(progress).size
        net, bf16 = self._average.net, self._experiment.bf16
        figures, panels = self._look(lambda crops: regress(net, crops, bf16), size)
        self._write(f"validation at {size} px", size, figures)
        if self._board is not None:
            for name, (held_out, coefficients) in panels.items():
                picture = self._panel(held_out, coefficients[:PANEL_FACES])
                cv2.imwrite(str(self._out / f"{name}.png"), picture[..., ::-1])
                self._board.add_image(name, picture, self._data.cursor.step, dataformats="HWC")

    @torch.no_grad()
    def _look(self, predict: Predict, size: int) -> tuple[dict[str, float], Predicted]:
        """Figures by name, and per kind the data with coefficients predicted for it."""
        data = self._data
        figures: dict[str, float] = {}
        panels = {}
        if data.held_out_portraits is not None:
            predicted = self._of_portraits(data.held_out_portraits, predict, size)
            if self._workers.is_first:
                labels = data.held_out_portraits.labels.take(slice(0, len(predicted)))
                figures |= validation_figures(self._model, predicted.cpu().numpy(), labels)
            panels["portraits"] = (data.held_out_portraits, predicted)
        if data.held_out_photos is not None:
            predicted, terms = self._of_photos(data.held_out_photos, predict, size)
            if self._workers.is_first:
                labels = data.held_out_photos.labels.take(slice(0, len(predicted)))
                terms |= photo_figures(self._model, predicted.cpu().numpy(), labels)
            figures |= {PHOTO_PREFIX + name: value for name, value in terms.items()}
            panels["photos"] = (data.held_out_photos, predicted)
        return figures, panels

    def _of_portraits(self, held_out: ShardSet, predict: Predict, size: int) -> Tensor:
        """Coefficients (N, 239), every worker predicting its share and getting the whole."""
        count = min(len(held_out), self._experiment.validation_portraits)
        device = self._workers.device
        out = torch.zeros(count, LAYOUT_239.size, device=device)
        for rows in self._chunks(count, PORTRAIT_BATCH):
            images, labels = held_out.images(rows), held_out.labels.take(rows)
            batch = plain_portraits(images, labels, size, held_out.meta.margin)
            out[rows] = predict(batch.crops.to(device))
        return self._workers.sum(out)

    def _of_photos(
        self, held_out: ShardSet, predict: Predict, size: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Coefficients (N, 239) as of portraits, and means of the loss terms."""
        count = min(len(held_out), self._experiment.validation_photos)
        device = self._workers.device
        out = torch.zeros(count, LAYOUT_239.size, device=device)
        # Every worker sums the same terms, even one without photographs.
        loss = self._photo_loss
        names = [] if loss is None else [name for name, weight in loss.weights.items() if weight]
        sums = {name: torch.zeros((), device=device) for name in names}
        for rows in self._chunks(count, PHOTO_BATCH):
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
        means = {name: float(self._workers.sum(value)) / count for name, value in sums.items()}
        return self._workers.sum(out), {name: round(value, 5) for name, value in means.items()}

    def _panel(self, held_out: ShardSet, coefficients: Tensor) -> npt.NDArray[np.uint8]:
        """(224 N, 896, 3) RGB: input, the predicted face on it, the face alone, skin attention."""
        rows = np.arange(len(coefficients))
        photos = held_out.crops(rows)
        faces, drawn = render_faces(self._model, LAYOUT_239, coefficients.cpu().numpy())
        mixed = np.where(drawn[..., None], photos * (1 - OPACITY) + faces * OPACITY, photos)
        pictures = np.concatenate([photos, mixed + 0.5, faces + 0.5], axis=2).astype(np.uint8)
        margin = held_out.meta.margin
        inner = slice(margin, margin + CROP_SIZE)
        attention = np.repeat(held_out.attention(rows)[:, inner, inner, None], 3, axis=-1)
        return np.concatenate(np.concatenate([pictures, attention], axis=2))

    def _write(self, title: str, size: int, figures: Mapping[str, float]) -> None:
        if self._board is None:
            return
        cursor = self._data.cursor
        row = {**time_columns(cursor, self._clock), "size": size, **figures}
        append_row(self._out / "validation.csv", row)
        for name, value in figures.items():
            self._board.add_scalar(f"validation/{name}", value, cursor.step)
        log.info("%s: %s", title, one_line(figures))

    def _chunks(self, count: int, size: int) -> Iterator[npt.NDArray[np.int64]]:
        """This worker's share of `count` rows in batches."""
        mine = np.arange(self._workers.rank, count, self._workers.count)
        for k in range(0, len(mine), size):
            yield mine[k : k + size]
