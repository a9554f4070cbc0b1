"""Training of the segmentation network: one process, portraits first, then photographs too.

Photographs have no classes.  From a part of the run on they get those that the averaged network
is sure of, in several rounds; what is drawn over them is known for sure.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facewright.models.segmentation import CLASSES, SEGMENTATION_SIDE
from facewright.models.segmentation_torch import SegmentationNet
from facewright.training.data.crops import crops_nchw
from facewright.training.data.shards import IMAGE_SIZE, MARGIN, ShardSet
from facewright.training.segmentation.augmentation import UNKNOWN, augmented, place
from facewright.training.segmentation.dataset import SegmentationShards
from facewright.training.segmentation.occluders import Picture
from facewright.training.trainer.optimizer import Optimizer, rate_at
from facewright.training.trainer.tables import append_row

BATCH = 16
PHOTOS = 7
"""Of a batch, once photographs take part."""
ROUNDS = (0.4, 0.6, 0.8)
"""Parts of the run after which photographs get their classes anew."""
SURE = 0.85
"""Probability from which on a pixel's class is taken for true."""
CLASS_WEIGHTS = (1.0, 1.0, 1.0, 2.0)
"""Of the classes in the loss: occluders are rare and of every kind."""
OPTIMIZER = Optimizer(name="adamw", rate=2.5e-3, schedule="cosine", warm_up=0.02, weight_decay=0.01)
AVERAGED_STEPS = 150
"""Window of the moving average of the weights."""
CHECKPOINT, FINAL = "checkpoint.pt", "segmentation.pt"
_SAVE_SECONDS = 120.0
_REPORT_STEPS, _REFRESH_STEPS = 20, 100


@dataclass(frozen=True)
class RunPaths:
    """Where a run's data lies and where its files go.

    Attributes:
        portraits: shards of `segmentation portraits`.
        photos: shards of `prepare`, or none.
        out: gets the checkpoint, the table of losses and the trained network.
    """

    portraits: Path
    photos: tuple[Path, ...]
    out: Path


class Photographs:
    """Photographs with the classes that a network is sure of."""

    def __init__(self, directories: tuple[Path, ...]) -> None:
        self._shards = ShardSet(directories)
        self._classes = np.full((len(self._shards), IMAGE_SIZE, IMAGE_SIZE), UNKNOWN, np.uint8)
        self._marks = self._shards.labels.landmarks + np.float32(MARGIN)

    def __len__(self) -> int:
        return len(self._shards)

    def label(self, net: nn.Module) -> None:
        """Ask a network in eval mode for the classes of all."""
        for start in range(0, len(self), 32):
            rows = np.arange(start, min(start + 32, len(self)))
            shares = sure_shares(net, self._shards.images(rows))
            self._classes[rows] = np.where(
                shares.max(axis=1) >= SURE, shares.argmax(axis=1), UNKNOWN
            )

    def of(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """A photograph, its classes with what is unknown, and its landmarks."""
        return self._shards.images([row])[0], self._classes[row], self._marks[row]


@torch.no_grad()
def sure_shares(net: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The mean of what a network says of pictures (N, S, S, 3) and of variants: (N, 4, S, S)."""
    side = images.shape[1]
    small = np.stack(
        [cv2.resize(one, (SEGMENTATION_SIDE,) * 2, interpolation=cv2.INTER_AREA) for one in images]
    ).astype(np.uint8)
    crops = crops_nchw(small)
    total = torch.zeros(len(images), len(CLASSES), SEGMENTATION_SIDE, SEGMENTATION_SIDE)
    for gamma in (0.7, 1.0, 1.4):
        total += net(crops**gamma).softmax(1)
        total += net(crops.flip(3) ** gamma).softmax(1).flip(3)
    large = nn.functional.interpolate(total / 6, size=(side, side), mode="bilinear")
    result: NDArray[np.float32] = large.numpy()
    return result


def soft_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Weighted mean over known pixels of the cross entropy with shares (N, 4, H, W) of classes."""
    weighted = shares * shares.new_tensor(CLASS_WEIGHTS)[:, None, None]
    return -(weighted * logits.log_softmax(1)).sum() / weighted.sum().clamp(min=1.0)


class _Sampler:
    """Draws batches; those of a step depend on the seed and its number only."""

    def __init__(self, portraits: SegmentationShards, photos: Photographs | None) -> None:
        self._portraits = portraits
        self._photos = photos

    def batch(self, step: int, seed: int, with_photos: bool) -> tuple[Tensor, Tensor]:
        """Crops (N, 3, 128, 128) and shares (N, 4, 128, 128)."""
        rng = np.random.default_rng([seed, step])
        crops, shares = [], []
        for k in range(BATCH):
            photo = with_photos and k < PHOTOS
            crop, share = augmented(
                rng, *self._draw(rng, photo), lambda: self._another(rng, with_photos)
            )
            crops.append(crop)
            shares.append(share)
        return crops_nchw(np.stack(crops)), torch.from_numpy(np.stack(shares))

    def _draw(
        self, rng: np.random.Generator, photo: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        if photo and self._photos is not None:
            return self._photos.of(int(rng.integers(len(self._photos))))
        one = self._portraits.picture(int(rng.integers(len(self._portraits))))
        return one.images[0], one.classes[0], one.landmarks[0]

    def _another(self, rng: np.random.Generator, with_photos: bool) -> Picture:
        return place(rng, *self._draw(rng, with_photos and rng.random() < 0.6))


def train(
    paths: RunPaths,
    minutes: float,
    seed: int,
    should_stop: Callable[[], bool],
    report: Callable[[float, Mapping[str, float]], None],
) -> bool:
    """Train, or go on; the trained network is `out`/segmentation.pt.

    Args:
        paths: see there.
        minutes: length of the run, over all its parts.
        seed: of all chance.
        should_stop: asked after every step.
        report: told the run's progress in [0, 1] and figures, now and then.

    Returns:
        Whether the run is finished.
    """
    portraits = SegmentationShards(paths.portraits)
    photos = Photographs(paths.photos) if paths.photos else None
    sampler = _Sampler(portraits, photos)
    torch.manual_seed(seed)
    net = SegmentationNet().to(memory_format=torch.channels_last)
    average = copy.deepcopy(net).eval().requires_grad_(False)
    decayed = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": others, "weight_decay": 0.0}],
        lr=OPTIMIZER.rate, weight_decay=OPTIMIZER.weight_decay,
    )  # fmt: skip
    paths.out.mkdir(parents=True, exist_ok=True)
    seconds, step = _resume(paths.out / CHECKPOINT, net, average, optimizer)
    labeled, saved, mean, last = 0, time.monotonic(), 0.0, time.monotonic()
    while (progress := seconds / (60 * minutes)) < 1:
        due = sum(progress >= part for part in ROUNDS)
        if photos is not None and due > labeled:
            photos.label(average)
            labeled = due
        if step % _REFRESH_STEPS == 0:
            portraits.refresh()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(OPTIMIZER, progress)
        crops, shares = sampler.batch(step, seed, labeled > 0)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(crops.contiguous(memory_format=torch.channels_last))
        loss = soft_cross_entropy(logits.float(), shares)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        _average(average, net, max(1 / AVERAGED_STEPS, 9 / (10 + step)))
        mean += (loss.item() - mean) / min(step, 100)
        now = time.monotonic()
        seconds, last = seconds + now - last, now
        if step % _REPORT_STEPS == 0:
            figures = {"step": step, "minutes": seconds / 60, "loss": mean}
            append_row(paths.out / "train.csv", figures)
            report(min(seconds / (60 * minutes), 1.0), figures)
        stopped = should_stop()
        if stopped or now - saved > _SAVE_SECONDS:
            _save(paths.out / CHECKPOINT, net, average, optimizer, seconds, step)
            saved = now
        if stopped:
            return False
    _save(paths.out / CHECKPOINT, net, average, optimizer, seconds, step)
    partial = paths.out / f".{FINAL}.partial"
    torch.save({"model": average.state_dict(), "steps": step, "images": step * BATCH}, partial)
    os.replace(partial, paths.out / FINAL)
    return True


@torch.no_grad()
def _average(average: nn.Module, net: nn.Module, weight: float) -> None:
    for mean, new in zip(average.parameters(), net.parameters(), strict=True):
        mean.lerp_(new, weight)
    for mean, new in zip(average.buffers(), net.buffers(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(new, weight)


def _save(
    path: Path,
    net: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    seconds: float,
    step: int,
) -> None:
    content: dict[str, Any] = {
        "net": net.state_dict(),
        "model": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "seconds": seconds,
        "steps": step,
        "images": step * BATCH,
    }
    partial = path.with_name(f".{path.name}.partial")
    torch.save(content, partial)
    os.replace(partial, path)


def _resume(
    path: Path, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[float, int]:
    """Seconds and steps of the run that is there, taken up; zeros where there is none."""
    if not path.exists():
        return 0.0, 0
    content = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict(content["net"])
    average.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    return float(content["seconds"]), int(content["steps"])


def load_network(path: Path) -> tuple[SegmentationNet, int, int]:
    """The averaged network of a checkpoint or of a finished run, in eval mode.

    Returns:
        The network, and how many steps and images it was trained for.
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    net = SegmentationNet()
    net.load_state_dict(content["model"])
    return net.eval(), int(content["steps"]), int(content["images"])
