"""The training loop of R-Net: one worker's part of it."""

from __future__ import annotations

import copy
import csv
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.checkpoints_torch import CheckpointInfo, initialise, save_checkpoint
from models.layout import LAYOUT_239
from models.mirror import mirror_matrices
from models.morphable_model import MorphableModel
from models.rnet_torch import RNet, initial_coefficients
from training.data.shards import ShardSet
from training.rnet.config import ConfigError, RNetConfig, Stage
from training.rnet.dataset import Batch, BatchSource, Place, plain_batch
from training.rnet.losses import RNetLoss
from training.rnet.metrics import mean_face, validation_figures
from training.rnet.parallel import FlatParameters, Workers
from training.rnet.schedule import average_weight, rate_at, stage_at

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
FINAL = "rnet.pt"
VALIDATION_BATCH = 32
LOG_SECONDS = 20.0
# Settings that a resumed run may change: its length and what does not touch the weights.
CHANGEABLE = ("minutes", "images", "validate_minutes", "save_minutes", "validation_images")
# Share that the newest step has in the logged running means.
LOG_WEIGHT = 0.03


@dataclass(frozen=True)
class RunPaths:
    """Where a run reads and writes.

    Attributes:
        data: directories of training shards; new shards may appear while training.
        validation: directory of held-out shards.
        out: of the run: ``checkpoint.pt``, at the end ``rnet.pt``, ``train.csv``,
            ``validation.csv``, ``train.log``.
        face_model: file of the model whose coefficients the labels are.
        init: weights that a new run starts from (ImageNet's or another run's), if any.
    """

    data: tuple[Path, ...]
    validation: Path
    out: Path
    face_model: Path
    init: Path | None = None


@dataclass(frozen=True)
class Report:
    """What a running training tells its display.

    Attributes:
        progress: 0 to 1.
        message: one line.
    """

    progress: float
    message: str


def regress(net: Any, crops_nchw: Tensor, bf16: bool) -> Tensor:
    """Coefficients (N, 239) float32 of crops, convolutions in bfloat16 if asked.

    The last layer always runs in float32: eight bits are too few for a pose.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        features = net.features(crops_nchw)[1]
    coefficients: Tensor = net.fc(features.float())
    return coefficients


class Trainer:
    """One worker of a training run, new or resumed from the run's checkpoint.

    Args:
        config: settings; those of an interrupted run must be the same, but for its length.
        paths: of the run.
        workers: the processes that train together.
        make_net: the network; its ``features`` and ``fc`` are used as those of ``RNet``.
        report: called by the first worker every few seconds.

    Raises:
        ConfigError: no length is set, the checkpoint was made with other settings, or the
            shards are of another face model.
        ValueError: there is no training data.
    """

    def __init__(
        self,
        config: RNetConfig,
        paths: RunPaths,
        workers: Workers,
        *,
        make_net: Callable[[RNetConfig], nn.Module] | None = None,
        report: Callable[[Report], None] | None = None,
    ) -> None:
        if config.minutes is None and config.images is None:
            raise ConfigError("set the length of the run: minutes or images")
        self.config, self.paths, self.workers = config, paths, workers
        self._report = report or (lambda _: None)
        torch.manual_seed(config.seed)
        self.model = MorphableModel.load(paths.face_model)
        self.loss = RNetLoss(self.model, config.loss)
        self.net = (make_net or _paper_net)(config)
        if paths.init is not None and not (paths.out / CHECKPOINT).exists():
            initialise(self.net, paths.init, self.model.sha256)  # type: ignore[arg-type]
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval()
        self.flat, self.flat_average = FlatParameters(self.net), FlatParameters(self.average)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [self.flat.decayed], "weight_decay": config.weight_decay},
                {"params": [self.flat.plain], "weight_decay": 0.0},
            ],
            lr=config.peak_rate,
            betas=(0.9, config.beta2),
            fused=True,
        )
        self.place = Place(epoch=0, position=0, pool=0, step=0)
        self.images = 0
        self.seconds = 0.0
        self.terms: dict[str, float] = {}
        shard_order = self._resume()
        self.shards = self._share_shards(shard_order)
        if self.place.pool == 0:
            self.place = replace(self.place, pool=len(self.shards))
        self.validation = ShardSet(paths.validation)
        self._check_face_model()
        held_out = self.validation.labels
        self._validation_labels = held_out.take(slice(0, config.validation_images))
        self.source = BatchSource(
            self.shards,
            mirror_matrices(self.model),
            config.augmentation,
            seed=config.seed,
            rank=workers.rank,
            size=workers.size,
        )

    @property
    def progress(self) -> float:
        """Part of the run that is done, by images or by time."""
        if self.config.images is not None:
            return self.images / self.config.images
        assert self.config.minutes is not None
        return self.seconds / (60 * self.config.minutes)

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the end of the run, or save and return when ``should_stop`` (first worker)."""
        first = self.workers.rank == 0
        if first and self.place.step == 0:
            self._log_baseline()
        last = time.monotonic()
        logged = saved = validated = last
        logged_images = self.images
        signal = torch.zeros(2, dtype=torch.float64)
        while True:
            now = time.monotonic()
            self.seconds += now - last
            last = now
            if first:
                due = now - validated > 60 * self.config.validate_minutes
                signal[0] = self.progress
                signal[1] = 2.0 if should_stop() else float(due)
            self.workers.from_first(signal)
            progress, order = float(signal[0]), int(signal[1])
            if order == 2 or progress >= 1:
                break
            if order == 1:
                self._validate(progress)
                validated = time.monotonic()
            if first and now - saved > 60 * self.config.save_minutes:
                self.save()
                saved = time.monotonic()
            self._step(progress)
            if first and now - logged > LOG_SECONDS:
                rate = 1e3 * (now - logged) / max(self.images - logged_images, 1)
                self._log_step(progress, rate)
                logged, logged_images = now, self.images
        self.source.cancel()
        if order == 2:
            if first:
                self.save()
                log.info(
                    "stopped at %.1f %%, %d images; run again to go on", 100 * progress, self.images
                )
            return
        self._finish(progress)

    def _step(self, progress: float) -> None:
        stage = stage_at(self.config, progress)
        self._start_epoch_if_needed(stage)
        batch = self.source.get(self.place, stage.size, stage.batch)
        global_batch = stage.batch * self.workers.size
        upcoming = replace(
            self.place, position=self.place.position + global_batch, step=self.place.step + 1
        )
        if upcoming.position + global_batch <= upcoming.pool:
            self.source.prepare(upcoming, stage.size, stage.batch)
        terms = self.backward(batch)
        self.workers.average(self.flat.gradients)
        norm = float(self.flat.gradients.norm())
        if not np.isfinite(norm):
            raise FloatingPointError(f"the gradient is not finite in step {self.place.step}")
        if norm > self.config.clip:
            self.flat.gradients *= self.config.clip / norm
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.config, progress)
        self.optimizer.step()
        self._update_average(global_batch)
        self.place = upcoming
        self.images += global_batch
        if self.workers.rank == 0:
            self._running_means({**terms, "gradient": norm})

    def backward(self, batch: Batch) -> dict[str, float]:
        """Gradients of one batch into the flat vector; returns the loss terms and their sum."""
        self.flat.gradients.zero_()
        self.net.train()
        terms = self.loss(regress(self.net, batch.crops, self.config.bf16), batch.targets)
        total = self.loss.total(terms)
        total.backward()
        return {"total": total.item(), **{name: value.item() for name, value in terms.items()}}

    def _start_epoch_if_needed(self, stage: Stage) -> None:
        global_batch = stage.batch * self.workers.size
        if self.place.position + global_batch <= self.place.pool:
            return
        self.source.cancel()
        found = [str(path) for path in self.shards.find()] if self.workers.rank == 0 else []
        self.shards.extend(self.workers.texts_from_first(found))
        self.place = Place(self.place.epoch + 1, 0, len(self.shards), self.place.step)
        if global_batch > self.place.pool:
            raise ValueError(f"{self.place.pool} portraits are less than a batch")
        if self.workers.rank == 0:
            log.info("epoch %d over %d portraits", self.place.epoch, self.place.pool)

    def _update_average(self, images: int) -> None:
        weight = average_weight(self.config, self.place.step, images)
        self.flat_average.values.lerp_(self.flat.values, weight)
        for mean, value in zip(self.average.buffers(), self.net.buffers(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, weight)

    @torch.no_grad()
    def predict_validation(self, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Coefficients (N, 239) of the validation portraits by the averaged weights.

        Every worker predicts its share; all get the whole.
        """
        self.average.eval()
        count = len(self._validation_labels)
        mine = np.arange(self.workers.rank, count, self.workers.size)
        out = torch.zeros(count, LAYOUT_239.size)
        for k in range(0, len(mine), VALIDATION_BATCH):
            rows = mine[k : k + VALIDATION_BATCH]
            batch = plain_batch(
                self.validation.images(rows),
                self._validation_labels.take(rows),
                size,
                self.validation.meta.margin,
            )
            out[rows] = regress(self.average, batch.crops, self.config.bf16)
        self.workers.total(out)
        return out.numpy()

    def _validate(self, progress: float) -> None:
        size = stage_at(self.config, progress).size
        coefficients = self.predict_validation(size)
        if self.workers.rank:
            return
        figures = validation_figures(self.model, coefficients, self._validation_labels)
        self._append("validation.csv", {**self._clock(progress), "size": size, **figures})
        log.info("validation at %d px: %s", size, _line(figures))

    def _log_baseline(self) -> None:
        labels = self._validation_labels
        start = initial_coefficients(LAYOUT_239).numpy()
        figures = validation_figures(self.model, mean_face(labels, start), labels)
        self._append("validation.csv", {**self._clock(0.0), "size": 0, **figures})
        log.info("mean face: %s", _line(figures))

    @torch.no_grad()
    def _calibrate(self, stage: Stage) -> None:
        """Set the averaged weights' batch-norm statistics by fresh batches through them."""
        norms = [m for m in self.average.modules() if isinstance(m, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative mean over all batches
            norm.train()
        global_batch = stage.batch * self.workers.size
        place = Place(self.place.epoch + 1, 0, self.place.pool, self.place.step)
        while place.position == 0 or (
            place.position < self.config.calibration_images
            and place.position + global_batch <= place.pool
        ):
            batch = self.source.get(place, stage.size, stage.batch)
            regress(self.average, batch.crops, self.config.bf16)
            place = replace(place, position=place.position + global_batch, step=place.step + 1)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
            for buffer in norm.buffers():
                if buffer.is_floating_point():
                    self.workers.average(buffer)

    def _finish(self, progress: float) -> None:
        self._validate(progress)
        self._calibrate(self.config.stages[-1])
        self._validate(progress)
        if self.workers.rank:
            return
        self.save()
        if isinstance(self.average, RNet):
            partial = self.paths.out / f".{FINAL}.partial"
            save_checkpoint(partial, self.average, None, self._info())
            os.replace(partial, self.paths.out / FINAL)
        log.info("done: %d steps over %d images", self.place.step, self.images)
        self._report(Report(1.0, "done"))

    def _info(self) -> CheckpointInfo:
        return CheckpointInfo(
            layout=LAYOUT_239.name,
            variant=self.config.variant,  # type: ignore[arg-type]
            face_model_sha256=self.model.sha256,
            steps=self.place.step,
            images=self.images,
            config=self.config.as_dict(),
        )

    def save(self) -> None:
        """Write the checkpoint: averaged weights, ready to be exported, and all to go on from."""
        info = self._info()
        content = {
            "model": _contiguous(self.average.state_dict()),
            "layout": info.layout,
            "variant": info.variant,
            "face_model_sha256": info.face_model_sha256,
            "steps": info.steps,
            "images": info.images,
            "config": dict(info.config),
            "training": {
                "net": _contiguous(self.net.state_dict()),
                "optimizer": self.optimizer.state_dict(),
                "place": asdict(self.place),
                "seconds": self.seconds,
                "shards": [str(path) for path in self.shards.shard_paths],
                "terms": self.terms,
            },
        }
        path = self.paths.out / CHECKPOINT
        partial = path.with_name(f".{path.name}.partial")
        torch.save(content, partial)
        os.replace(partial, path)

    def _resume(self) -> list[str]:
        """Load the run's checkpoint if there is one; returns its shards in their order."""
        path = self.paths.out / CHECKPOINT
        if not path.exists():
            return []
        content = torch.load(path, map_location="cpu", weights_only=True)
        old, new = dict(content["config"]), self.config.as_dict()
        changed = [key for key in new if key not in CHANGEABLE and old.get(key) != new[key]]
        if changed:
            raise ConfigError(f"{path} was made with another {', '.join(changed)}")
        if content["face_model_sha256"] != self.model.sha256:
            raise ConfigError(f"{path} was made for another face model")
        training = content["training"]
        self.net.load_state_dict(training["net"])
        self.average.load_state_dict(content["model"])
        self.optimizer.load_state_dict(training["optimizer"])
        self.place = Place(**training["place"])
        self.images = int(content["images"])
        self.seconds = float(training["seconds"])
        self.terms = dict(training["terms"])
        if self.workers.rank == 0:
            log.info("resumed at step %d, %d images", self.place.step, self.images)
        shards: list[str] = training["shards"]
        return shards

    def _share_shards(self, order: list[str]) -> ShardSet:
        """The data as the first worker sees it: shards may be appearing right now."""
        shards = ShardSet(())
        shards.extend(order)
        if self.workers.rank == 0:
            shards.directories = list(self.paths.data)
        fresh = [str(path) for path in shards.find()]
        shards.extend(self.workers.texts_from_first(fresh))
        if not len(shards):
            raise ValueError(f"no shards in {', '.join(map(str, self.paths.data))}")
        return shards

    def _check_face_model(self) -> None:
        for shards in (self.shards, self.validation):
            if not len(shards):
                raise ValueError(f"no shards in {self.paths.validation}")
            if shards.meta.face_model_sha256 != self.model.sha256:
                raise ConfigError(
                    f"{shards.shard_paths[0]} is of another face model than {self.paths.face_model}"
                )

    def _running_means(self, terms: Mapping[str, float]) -> None:
        for name, value in terms.items():
            old = self.terms.get(name, value)
            self.terms[name] = old + LOG_WEIGHT * (value - old)

    def _log_step(self, progress: float, milliseconds: float) -> None:
        terms = {name: round(value, 4) for name, value in self.terms.items()}
        stage = stage_at(self.config, progress)
        self._append(
            "train.csv",
            {
                **self._clock(progress),
                "size": stage.size,
                "rate": rate_at(self.config, progress),
                "ms_per_image": round(milliseconds, 2),
                **terms,
            },
        )
        message = (
            f"{100 * progress:.1f} % step {self.place.step} images {self.images} {stage.size} px"
            f" {milliseconds:.1f} ms/image {_line(terms)}"
        )
        log.info(message)
        self._report(Report(progress, message))

    def _clock(self, progress: float) -> dict[str, Any]:
        return {
            "minutes": round(self.seconds / 60, 2),
            "progress": round(progress, 4),
            "step": self.place.step,
            "images": self.images,
        }

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        path = self.paths.out / name
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


def _paper_net(config: RNetConfig) -> nn.Module:
    return RNet(LAYOUT_239, config.variant)  # type: ignore[arg-type]


def _contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().contiguous() for name, value in state.items()}


def _line(values: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in values.items())
