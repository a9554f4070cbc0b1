"""Training the branch's trunk: dlib's network for smaller chips, and for the shape of faces.

The published network knows people by chips of 150 px and much less by smaller ones. Here it
learns to say by smaller ones, which cost less, what the published one says by whole ones
(distillation, Hinton et al. 2015, arXiv 1503.02531), and to tell the identity of portraits. Some
pictures are mixed in pairs (Zhang et al. 2018, arXiv 1710.09412): the published network answers
for any picture, so few photographs are enough.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from facewright.models.chips_torch import DLIB_LANDMARKS, cut_chips, dlib_reference, fit_similarity
from facewright.models.identity_branch_torch import N_IDENTITY
from facewright.models.mirror import mirror_matrices
from facewright.models.morphable_model import MorphableModel
from facewright.models.recognition_torch import CHIP_SIZE, TRUNK_FEATURES, FaceResNet
from facewright.training.data.stock import Stock
from facewright.training.experiment_files import ExperimentError
from facewright.training.losses.quadratic_forms import face_forms
from facewright.training.rnet.batches import Batch
from facewright.training.rnet.data import RNetData, check_stock
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.module import computes_bf16
from facewright.training.trainer.optimizer import make_optimizer, rate_at

log = logging.getLogger(__name__)

SAVE_SECONDS = 120.0
LOG_STEPS = 50
HIDDEN = 256
"""Width of the head that tells the identity in training, and is thrown away."""
IDENTITY_WEIGHT = 0.1
"""Of the identity's error beside the descriptors'."""
CLIP = 1.0
SIZE_JITTER, ROLL_JITTER, PLACE_JITTER = 0.03, 0.03, 0.012
"""Standard deviations: of a chip's size (logarithm), roll (radians) and place (sides)."""
MIXED = 0.4
"""Share of the steps in which pictures are mixed."""
DESCRIPTOR_SCALE = 8.0
"""Squared distances of descriptors of unit length are small: a third between two people."""


@dataclass(frozen=True)
class TrunkSettings:
    """How a trunk is trained.

    Attributes:
        chip_size: side of the chips that it sees, px.
        experiment: batches, augmentation, optimizer, length in minutes and seed.
    """

    chip_size: int
    experiment: Experiment


class TrunkRun:
    """A run, new or resumed.

    Args:
        published: knows people by chips of 150 px; stays as it is.
        model: face model of the portraits.
        stock: portraits, and photographs if the experiment has them.
        checkpoint: file of the run's state.
        settings: those of an interrupted run must be the same, but for its length.

    Attributes:
        trunk: the network.

    Raises:
        ExperimentError: there is no data, it is of another face model, or the file holds a run of
            other settings or data.
    """

    def __init__(
        self,
        published: FaceResNet,
        model: MorphableModel,
        stock: Stock,
        checkpoint: Path,
        settings: TrunkSettings,
    ) -> None:
        experiment = settings.experiment
        check_stock(experiment, stock, model.sha256)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._settings, self._checkpoint = settings, checkpoint
        torch.manual_seed(experiment.seed)
        self._published = published.to(self._device).eval().requires_grad_(False)
        self.trunk = FaceResNet().to(self._device)
        self.trunk.load_state_dict(published.state_dict())
        for network in (self._published, self.trunk):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._head = nn.Sequential(
            nn.BatchNorm1d(TRUNK_FEATURES, affine=False),
            nn.Linear(TRUNK_FEATURES, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, N_IDENTITY),
        ).to(self._device)
        form = face_forms(model)["identity"]
        self._form = torch.from_numpy(form / np.trace(form) * N_IDENTITY).float().to(self._device)
        self._parameters = [*self.trunk.parameters(), *self._head.parameters()]
        self._optimizer = make_optimizer(
            experiment.optimizer, self._parameters, weight_decay=experiment.optimizer.weight_decay
        )
        self._data = RNetData(
            experiment,
            stock,
            model.sha256,
            mirror_matrices(model),
            rank=0,
            workers=1,
            progress=lambda images: self._progress,
            threads=1,
        )
        self._seconds = 0.0
        self._resume()

    @property
    def _progress(self) -> float:
        return self._settings.experiment.progress(0, self._seconds)

    def train(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        report: Callable[[float, str], None] = lambda done, remark: None,
    ) -> bool:
        """Train to the end of the run or until asked to stop; whether the end was reached.

        `report` is called after every step with the part of the run that is done and a remark.

        Raises:
            FloatingPointError: the loss is not finite any more.
        """
        means: dict[str, float] = {}
        last = saved = time.monotonic()
        for batch in self._data.training_batches():
            for group in self._optimizer.param_groups:
                group["lr"] = rate_at(self._settings.experiment.optimizer, self._progress)
            terms = self._losses(batch)
            loss = terms["descriptors"] + IDENTITY_WEIGHT * terms.get("identity", 0.0)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss is not finite in step {batch.step.cursor.step}")
            self._optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._parameters, CLIP)
            self._optimizer.step()
            self._data.cursor = batch.step.after
            now = time.monotonic()
            self._seconds, last = self._seconds + now - last, now
            for name, term in terms.items():
                means[name] = 0.98 * means.get(name, term.item()) + 0.02 * term.item()
            remark = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
            report(min(self._progress, 1.0), remark)
            if self._data.cursor.step % LOG_STEPS == 0:
                log.info("step %d: %s", self._data.cursor.step, remark)
            if should_stop():
                self._save()
                return False
            if now - saved > SAVE_SECONDS:
                self._save()
                saved = now
        self._save()
        return True

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        experiment, step = self._settings.experiment, batch.step.cursor.step
        rng = torch.Generator().manual_seed(experiment.seed * 1_000_003 + step)
        batch = batch.to(self._device)
        assert batch.portraits is not None
        landmarks = [batch.portraits.targets.landmarks]
        if batch.photos is not None:
            landmarks.append(batch.photos.targets.landmarks)
        to_crop = _jittered(torch.cat(landmarks), rng)
        whole, chips = (
            cut_chips(batch.crops, _of_pixels(to_crop, size), size)
            for size in (CHIP_SIZE, self._settings.chip_size)
        )
        identity = batch.portraits.targets.identity
        portraits = len(identity)
        if torch.rand((), generator=rng) < MIXED:
            other = torch.randperm(len(chips), generator=rng)
            share = torch.rand(len(chips), 1, 1, 1, generator=rng).to(chips) / 2
            whole, chips = ((1 - share) * x + share * x[other] for x in (whole, chips))
            portraits = 0
        bf16 = experiment.bf16 and computes_bf16(self._device.type)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16):
            features = self.trunk.features(_last(chips))
            with torch.no_grad():
                known = self._published.features(_last(whole))
        features, known = features.float(), known.float()
        wanted = functional.normalize(self._published.head(known), dim=1)
        told = functional.normalize(self.trunk.head(features), dim=1)
        terms = {"descriptors": DESCRIPTOR_SCALE * (told - wanted).square().sum(1).mean()}
        if portraits:
            off = self._head(features[:portraits]) - identity
            in_mm = ((off @ self._form) * off).sum(1).mean()
            # Sigmas count as well: the form hardly sees the small features of a face.
            terms["identity"] = (in_mm + off.square().sum(1).mean()) / N_IDENTITY
        return terms

    def _save(self) -> None:
        state = {
            "made_of": self._made_of(),
            "trunk": self.trunk.state_dict(),
            "head": self._head.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "data": self._data.state_dict(),
            "seconds": self._seconds,
        }
        partial = self._checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self._checkpoint)

    def _resume(self) -> None:
        if not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint, map_location=self._device, weights_only=True)
        if state["made_of"] != self._made_of():
            raise ExperimentError(f"{self._checkpoint} is of a run of other settings or data")
        self.trunk.load_state_dict(state["trunk"])
        self._head.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._data.load_state_dict(state["data"])
        self._seconds = state["seconds"]

    def _made_of(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for value in self._published.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        experiment = self._settings.experiment.model_dump(mode="json", exclude={"minutes"})
        return {
            "published": digest.hexdigest(),
            "chip_size": self._settings.chip_size,
            "experiment": experiment,
            "stock": self._data.state_dict()["stock"],
        }


def read_trunk(checkpoint: Path) -> tuple[FaceResNet, int]:
    """The trunk of a run, and the side of its chips in px.

    Raises:
        ExperimentError: the file is not of such a run.
        FileNotFoundError: there is no such file.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        trunk = FaceResNet().eval()
        trunk.load_state_dict(state["trunk"])
        return trunk, int(state["made_of"]["chip_size"])
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever torch makes of other files
        raise ExperimentError(f"{checkpoint} holds no trunk: {error}") from error


def _jittered(landmarks: Tensor, rng: torch.Generator) -> Tensor:
    """From chips of side 1, cut a little beside what the landmarks say, to crops: (N, 2, 3)."""
    points = landmarks[:, list(DLIB_LANDMARKS)]
    reference = dlib_reference(1).to(points)
    to_crop = fit_similarity(reference.expand_as(points), points)
    random = torch.randn(4, len(points), generator=rng).to(points)
    factor = torch.polar((SIZE_JITTER * random[0]).exp(), ROLL_JITTER * random[1])
    place = PLACE_JITTER * random[2:].T
    turn = torch.stack([factor.real, -factor.imag, factor.imag, factor.real], dim=1).reshape(
        -1, 2, 2
    )
    linear = to_crop[:, :, :2] @ turn
    center = to_crop[:, :, :2] @ (0.5 + place)[:, :, None] + to_crop[:, :, 2:]
    return torch.cat([linear, center - linear.sum(2, keepdim=True) / 2], dim=2)


def _of_pixels(to_crop: Tensor, size: int) -> Tensor:
    """The transforms (N, 2, 3) of chips of side 1, of chips of a size in px."""
    return torch.cat([to_crop[:, :, :2] / size, to_crop[:, :, 2:]], dim=2)


def _last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
