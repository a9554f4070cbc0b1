"""Training of the segmentation network: one process, portraits first, then photographs too.

Photographs have no classes.  From a part of the run on they get those that the averaged network
is sure of (Tarvainen and Valpola 2017, arXiv 1703.01780) and that agree with their landmarks; what
is drawn over them is known for sure.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.morphable_model import MorphableModel
from facewright.models.segmentation import SEGMENTATION_SIDE
from facewright.models.segmentation_torch import SegmentationNet
from facewright.training.data.crops import crops_nchw
from facewright.training.data.shards import IMAGE_SIZE, MARGIN, ShardSet
from facewright.training.onnx.segmentation import import_segmentation
from facewright.training.segmentation.anatomy import completed, corrected
from facewright.training.segmentation.augmentation import augmented, place
from facewright.training.segmentation.dataset import UNKNOWN, SegmentationShards
from facewright.training.segmentation.evaluation import check_crops
from facewright.training.segmentation.occluders import Picture
from facewright.training.trainer.optimizer import Optimizer, decaying, make_optimizer, rate_at
from facewright.training.trainer.tables import append_row, one_line

BATCH = 16
PHOTOS = 8
"""Of a batch, once photographs take part."""
PHOTOS_FROM = 0.4
"""Part of a run after which photographs take part; with a network that was trained before, none."""
SURE = 0.85
"""Probability from which on a pixel's class is taken for true."""
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
        init: exported file to go on from, or none.
    """

    portraits: Path
    photos: tuple[Path, ...]
    out: Path
    init: Path | None = None


Sample = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]
"""A picture, its classes and its landmarks."""


class Photographs:
    """Photographs with the classes that a network is sure of."""

    def __init__(self, directories: tuple[Path, ...]) -> None:
        self._shards = ShardSet(directories)
        self._classes = np.full((len(self._shards), IMAGE_SIZE, IMAGE_SIZE), UNKNOWN, np.uint8)
        labels = self._shards.labels
        template = MorphableModel.load(asset_path(FACE_MODEL)).landmark_template
        self._marks = np.float32(MARGIN) + np.stack(
            [
                completed(marks, known, template)
                for marks, known in zip(labels.landmarks, labels.landmark_visible, strict=True)
            ]
        )

    def __len__(self) -> int:
        return len(self._shards)

    def label(self, net: nn.Module, rows: NDArray[np.int64]) -> None:
        """Ask a network in eval mode for the classes of some."""
        shares = predicted(net, self._shards.images(rows))
        sure = np.where(shares.max(axis=1) >= SURE, shares.argmax(axis=1), UNKNOWN)
        for row, own, share in zip(rows, sure.astype(np.uint8), shares, strict=True):
            self._classes[row] = corrected(own, share, self._marks[row])

    def of(self, row: int) -> Sample:
        """A photograph, its classes with what is unknown, and its landmarks."""
        return self._shards.images([row])[0], self._classes[row], self._marks[row]


@torch.no_grad()
def predicted(net: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network's probabilities (N, 4, S, S) of pictures (N, S, S, 3)."""
    side = images.shape[1]
    small = np.stack(
        [cv2.resize(one, (SEGMENTATION_SIDE,) * 2, interpolation=cv2.INTER_AREA) for one in images]
    ).astype(np.uint8)
    crops = crops_nchw(small).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(crops)
    shares = logits.float().softmax(1)
    large = nn.functional.interpolate(shares, size=(side, side), mode="bilinear")
    result: NDArray[np.float32] = large.numpy()
    return result


def soft_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Mean over known pixels of the cross entropy with the shares (N, 4, H, W) of classes."""
    return -(shares * logits.log_softmax(1)).sum() / shares.sum().clamp(min=1.0)


class _Sampler:
    """Draws batches; those of a step depend on the seed, its number and the photographs' labels."""

    def __init__(self, portraits: SegmentationShards, photos: Photographs | None) -> None:
        self._portraits = portraits
        self._photos = photos

    def batch(self, step: int, seed: int, teacher: nn.Module | None) -> tuple[Tensor, Tensor]:
        """Crops (N, 3, 128, 128) and shares (N, 4, 128, 128).

        teacher: labels the photographs that take part; without it there are none.
        """
        rng = np.random.default_rng([seed, step])
        rows = np.zeros(0, np.int64)
        if self._photos is not None and teacher is not None:
            rows = rng.integers(len(self._photos), size=PHOTOS)
            self._photos.label(teacher, rows)
        crops, shares = [], []
        for k in range(BATCH):
            own = self._photo(int(rows[k])) if k < len(rows) else self._portrait(rng)
            crop, share = augmented(rng, *own, lambda: self._another(rng, rows))
            crops.append(crop)
            shares.append(share)
        return crops_nchw(np.stack(crops)), torch.from_numpy(np.stack(shares))

    def _photo(self, row: int) -> Sample:
        assert self._photos is not None
        return self._photos.of(row)

    def _portrait(self, rng: np.random.Generator) -> Sample:
        one = self._portraits.picture(int(rng.integers(len(self._portraits))))
        return one.images[0], one.classes[0], one.landmarks[0]

    def _another(self, rng: np.random.Generator, rows: NDArray[np.int64]) -> Picture:
        photo = len(rows) and rng.random() < 0.6
        return place(rng, *(self._photo(int(rng.choice(rows))) if photo else self._portrait(rng)))


def train(
    paths: RunPaths,
    minutes: float,
    seed: int,
    should_stop: Callable[[], bool],
    report: Callable[[float, str], None],
) -> bool:
    """Train, or go on; the trained network is `out`/segmentation.pt.

    Args:
        paths: see there.
        minutes: length of the run, over all its parts, in processor time: pauses and other
            programs do not shorten it.
        seed: of all chance.
        should_stop: asked after every step.
        report: told the run's progress in [0, 1] and figures in a line, now and then.

    Returns:
        Whether the run is finished.
    """
    portraits = SegmentationShards(paths.portraits)
    photos = Photographs(paths.photos) if paths.photos else None
    sampler = _Sampler(portraits, photos)
    torch.manual_seed(seed)
    photos_from = PHOTOS_FROM if paths.init is None else 0.0
    net = SegmentationNet()
    if paths.init is not None:
        net = import_segmentation(paths.init, torch.from_numpy(check_crops(portraits))).train()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(net).eval().requires_grad_(False)
    optimizer = make_optimizer(OPTIMIZER, decaying(net, OPTIMIZER.weight_decay))
    paths.out.mkdir(parents=True, exist_ok=True)
    seconds, step = _resume(paths.out / CHECKPOINT, net, average, optimizer)
    saved, mean, since, last = time.monotonic(), 0.0, 0, time.process_time()
    while (progress := seconds / (60 * minutes)) < 1:
        if step % _REFRESH_STEPS == 0:
            portraits.refresh()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(OPTIMIZER, progress)
        crops, shares = sampler.batch(step, seed, average if progress >= photos_from else None)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(crops.contiguous(memory_format=torch.channels_last))
        loss = soft_cross_entropy(logits.float(), shares)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        _average(average, net, max(1 / AVERAGED_STEPS, 9 / (10 + step)))
        since += 1
        mean += (loss.item() - mean) / min(since, 100)
        now = time.process_time()
        seconds, last = seconds + now - last, now
        if step % _REPORT_STEPS == 0:
            figures = {"step": step, "minutes": seconds / 60, "loss": mean}
            append_row(paths.out / "train.csv", figures)
            report(min(seconds / (60 * minutes), 1.0), one_line(figures))
        stopped = should_stop()
        if stopped or time.monotonic() - saved > _SAVE_SECONDS:
            _save(paths.out / CHECKPOINT, net, average, optimizer, seconds, step)
            saved = time.monotonic()
        if stopped:
            return False
    _save(paths.out / CHECKPOINT, net, average, optimizer, seconds, step)
    partial = paths.out / f".{FINAL}.partial"
    torch.save({"model": average.state_dict(), "steps": step, "images": step * BATCH}, partial)
    os.replace(partial, paths.out / FINAL)
    return True


@torch.no_grad()
def _average(average: nn.Module, net: nn.Module, weight: float) -> None:
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(net.state_dict()[name], weight)


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
