"""A training run of C-Net: a plain loop, whose every step follows from the seed and its number."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facewright.models.checkpoints_torch import CheckpointInfo, load_checkpoint, save_checkpoint
from facewright.models.cnet_torch import CNet
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import RNet
from facewright.training.cnet.experiment import CNetExperiment
from facewright.training.cnet.features import Features
from facewright.training.cnet.losses import ShapeLoss, level, rerendered
from facewright.training.cnet.sets import MEASURED, PHOTOS, PORTRAITS, People, Sets, draw_sets
from facewright.training.data.shards import ShardSet
from facewright.training.data.stock import Stock, open_shards, take_stock
from facewright.training.experiment_files import ExperimentError
from facewright.training.losses.hybrid import HybridLoss
from facewright.training.losses.photo_targets import plain_photo_targets
from facewright.training.recognition.recognizer import load_recognizer
from facewright.training.render import make_renderer
from facewright.training.trainer.optimizer import make_optimizer, rate_at
from facewright.training.trainer.tables import append_row

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
FINAL = "cnet.pt"
TABLE = "train.csv"
KINDS = {PORTRAITS: "portraits", PHOTOS: "photos"}
# Settings that a resumed run may change: its length and what does not touch the weights.
CHANGEABLE = ("minutes", "steps", "save_minutes", "measure_minutes", "measure_sets", "feature_gb")


@dataclass(frozen=True)
class CNetPaths:
    """Where a run reads and writes.

    Attributes:
        rnet: checkpoint whose R-Net is kept as it is.
        portraits, photos: directories of shards.
        out: of the run: `checkpoint.pt`, at the end `cnet.pt`, `train.csv`.
        face_model: file of R-Net's face model.
        features: directory of R-Net's features of the pictures; several runs can share it, one
            after the other.
    """

    rnet: Path
    portraits: tuple[Path, ...]
    photos: tuple[Path, ...]
    out: Path
    face_model: Path
    features: Path


@dataclass(frozen=True, eq=False)
class _Pictures:
    """One kind of pictures."""

    kind: int
    shards: ShardSet
    features: Features
    people: People
    hybrid: HybridLoss | None


class CNetRun:
    """A run, new or resumed.

    Args:
        experiment: settings; those of an interrupted run must be the same, but for its length.
        paths: of the run.
        should_stop: asked after every step.
        track: wraps the loop over batches of pictures to show progress.

    Attributes:
        cnet: the network.
        step: steps done.

    Raises:
        ExperimentError: there is no data, it does not fit R-Net's face model, or the directory
            holds a run of other settings, data or R-Net.
    """

    def __init__(
        self,
        experiment: CNetExperiment,
        paths: CNetPaths,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
    ) -> None:
        self._experiment, self._paths = experiment, paths
        self._should_stop = should_stop
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = MorphableModel.load(paths.face_model)
        self._rnet, _, self._info = load_checkpoint(paths.rnet)
        if self._info.face_model_sha256 not in ("", model.sha256):
            raise ExperimentError(f"{paths.rnet} is of another face model")
        self._rnet.to(self._device).requires_grad_(False)
        paths.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(experiment.seed)
        self.cnet = CNet(experiment.channels, experiment.hidden).to(self._device)
        self._shape = ShapeLoss(model, experiment.shape).to(self._device)
        self._optimizer = make_optimizer(
            experiment.optimizer,
            [*self.cnet.parameters(), *self._shape.parameters()],
            weight_decay=experiment.optimizer.weight_decay,
        )
        self.step, self._seconds = 0, 0.0
        stock = take_stock(paths.portraits, paths.photos, (), Stock())
        self._data: dict[str, Any] = {
            "rnet": hashlib.sha256(paths.rnet.read_bytes()).hexdigest(),
            "stock": stock.as_dict(),
        }
        self._resume()
        self._pictures = [
            self._open(kind, getattr(stock, name), model, track)
            for kind, name in KINDS.items()
            if self._count(kind)
        ]

    def train(self, report: Callable[[float, str], None] = lambda done, remark: None) -> bool:
        """Train to the end of the run or until asked to stop; whether the end was reached.

        `report` is called after every step with the part of the run that is done and a remark.

        Raises:
            FloatingPointError: the loss is not finite any more.
        """
        experiment = self._experiment
        last = saved = measured = time.monotonic()
        history: list[Mapping[str, float]] = []
        while (progress := experiment.progress(self.step, self._seconds)) < 1:
            for group in self._optimizer.param_groups:
                group["lr"] = rate_at(experiment.optimizer, progress)
            loss, terms = self._losses(self._sets(self.step, training=True), self.cnet)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss is not finite in step {self.step}")
            self._optimizer.zero_grad()
            loss.backward()
            if experiment.optimizer.clip is not None:
                nn.utils.clip_grad_norm_(self.cnet.parameters(), experiment.optimizer.clip)
            self._optimizer.step()
            history.append({"loss": loss.item(), **terms})
            self.step += 1
            now = time.monotonic()
            self._seconds, last = self._seconds + now - last, now
            report(progress, f"loss {history[-1]['loss']:.4f}")
            if now - measured > 60 * experiment.measure_minutes:
                self._record(history)
                history, measured = [], now
            if self._should_stop():
                self._save(CHECKPOINT)
                log.info("stopped after %d steps; run again to go on", self.step)
                return False
            if now - saved > 60 * experiment.save_minutes:
                self._save(CHECKPOINT)
                saved = now
        if history:
            self._record(history)
        self._save(CHECKPOINT)
        self._save(FINAL)
        log.info("done: %d steps in %.1f minutes", self.step, self._seconds / 60)
        report(1.0, "done")
        return True

    def measure(self, cnet: nn.Module | None) -> dict[str, float]:
        """Terms of sets of held-out people, always the same ones; None averages plainly."""
        with torch.no_grad():
            loss, terms = self._losses(self._sets(0, training=False), cnet)
        return {"loss": loss.item(), **terms}

    def _count(self, kind: int) -> int:
        experiment = self._experiment
        return (experiment.portrait_sets, experiment.photo_sets)[kind]

    def _open(
        self, kind: int, paths: Iterable[Path], model: MorphableModel, track: Any
    ) -> _Pictures:
        experiment = self._experiment
        shards = open_shards(paths, model.sha256)
        if shards is None:
            raise ExperimentError(f"the experiment trains on {KINDS[kind]}, but none are given")
        try:
            people = People(shards.labels.person, experiment.held_out, experiment.seed)
        except ValueError as error:
            raise ExperimentError(f"{KINDS[kind]}: {error}") from error
        features = Features(
            self._paths.features / KINDS[kind],
            self._rnet,
            shards,
            copies=experiment.degraded_copies,
            seed=experiment.seed,
            of=self._data["rnet"],
            limit_gb=experiment.feature_gb,
            track=track,
        )
        return _Pictures(kind, shards, features, people, self._hybrid(model))

    def _hybrid(self, model: MorphableModel) -> HybridLoss | None:
        experiment = self._experiment
        if not experiment.weak:
            return None
        recognizer = None
        if experiment.recognizer is not None and experiment.hybrid.perceptual:
            recognizer = load_recognizer(experiment.recognizer)
        renderer, size = make_renderer(self._device), experiment.render_size
        weights = experiment.hybrid
        loss = HybridLoss(model, self._rnet.layout, weights, recognizer, renderer, size)
        return loss.to(self._device).eval()

    def _sets(self, step: int, *, training: bool) -> list[Sets]:
        """The sets of a step, of each kind of pictures."""
        experiment = self._experiment
        return [
            draw_sets(
                pictures.people.training if training else pictures.people.held_out,
                self._count(pictures.kind) if training else experiment.measure_sets,
                experiment.photos_per_set,
                degraded=experiment.degraded_sets,
                copies=experiment.degraded_copies,
                rng=np.random.default_rng(
                    [experiment.seed, pictures.kind + (0 if training else MEASURED), step]
                ),
            )
            for pictures in self._pictures
        ]

    def _losses(
        self, drawn: Iterable[Sets], cnet: nn.Module | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Weighted loss of the sets, and the unweighted terms by name."""
        losses: list[Tensor] = []
        terms: dict[str, float] = {}
        for pictures, sets in zip(self._pictures, drawn, strict=True):
            stage1, pooled, seen = pictures.features.take(sets.rows, sets.copies)
            identity = seen[..., self._rnet.layout.identity]
            confidence = torch.full_like(identity, 0.5)
            if cnet is not None:
                confidence = cnet(stage1, pooled).view_as(identity)
            present = torch.from_numpy(sets.present).to(self._device)
            if pictures.kind == PORTRAITS and self._shape.weights:
                true = torch.from_numpy(pictures.shards.labels.identity[sets.rows[:, 0]])
                new = self._shape(identity, confidence, present, true.to(self._device))
                losses.append(self._shape.total(new))
                terms |= {name: value.item() for name, value in new.items()}
            if cnet is not None:
                losses.append(self._experiment.level * level(confidence, present))
            if pictures.hybrid is not None:
                new = self._rerendered(pictures, sets, identity, confidence, present)
                losses.append(self._experiment.weak * pictures.hybrid.total(new))
                terms |= {f"{KINDS[pictures.kind]}_{name}": v.item() for name, v in new.items()}
        return torch.stack(losses).sum(), terms

    def _rerendered(
        self,
        pictures: _Pictures,
        sets: Sets,
        identity: Tensor,
        confidence: Tensor,
        present: Tensor,
    ) -> dict[str, Tensor]:
        assert pictures.hybrid is not None
        clean = pictures.features.take_coefficients(sets.rows)
        rows, shards = sets.rows[sets.present], pictures.shards
        targets = plain_photo_targets(
            shards.images(rows),
            shards.attention(rows),
            shards.labels.take(rows),
            self._experiment.render_size,
            shards.meta.margin,
        )
        targets = type(targets)(*(t.to(self._device) for t in targets))
        layout = self._rnet.layout
        return rerendered(pictures.hybrid, layout, identity, confidence, present, clean, targets)

    def _record(self, history: list[Mapping[str, float]]) -> None:
        """A row of the table: means since the last one, and held-out sets by both averages."""
        row = {"step": float(self.step), "minutes": self._seconds / 60}
        for name in history[0]:
            row[name] = float(np.mean([terms[name] for terms in history]))
        self.cnet.eval()
        row |= {f"held_out_{name}": v for name, v in self.measure(self.cnet).items()}
        row |= {f"plain_{name}": v for name, v in self.measure(None).items()}
        self.cnet.train()
        log.info(" ".join(f"{name} {value:.4g}" for name, value in row.items()))
        figures = {name: f"{value:.6g}" for name, value in row.items()}
        append_row(self._paths.out / TABLE, figures)

    def _resume(self) -> None:
        path = self._paths.out / CHECKPOINT
        if not path.exists():
            return
        content = torch.load(path, map_location=self._device, weights_only=True)
        old, new = content["config"]["cnet"], self._experiment.model_dump(mode="json")
        changed = [key for key in new if key not in CHANGEABLE and old.get(key) != new[key]]
        changed += [key for key in self._data if content["run"]["data"][key] != self._data[key]]
        if changed:
            raise ExperimentError(f"{path} was made with another {', '.join(changed)}")
        self.cnet.load_state_dict(content["cnet"])
        run = content["run"]
        self._shape.load_state_dict(run["shape"])
        self._optimizer.load_state_dict(run["optimizer"])
        self.step, self._seconds = run["step"], run["seconds"]

    def _save(self, name: str) -> None:
        """Write R-Net, C-Net and, in what a run goes on from, the rest of its state."""
        config = {**self._info.config, "cnet": self._experiment.model_dump(mode="json")}
        info: CheckpointInfo = replace(self._info, config=config)
        run = {
            "data": self._data,
            "shape": self._shape.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "seconds": self._seconds,
        }
        partial = self._paths.out / f".{name}.partial"
        rnet: RNet = self._rnet
        save_checkpoint(partial, rnet, self.cnet, info, {"run": run} if name == CHECKPOINT else {})
        os.replace(partial, self._paths.out / name)
