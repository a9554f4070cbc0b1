"""Portraits with the class of every pixel: a data set of its own, shard by shard.

A directory holds `shard_00000`, `shard_00001`, … Each is a directory of

* `images.npy`: (n, 240, 240, 3) uint8 RGB, as `training.data.shards` has them;
* `classes.npy`: (n, 240, 240) uint8 of `models.segmentation`;
* `landmarks.npy`: (n, 68, 2) float32 px of the picture;
* `meta.json`: seed and version of the generator, and how often something is held.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewright.training.data.shards import MARGIN, shard_path
from facewright.training.synthetic.dataset import GENERATOR_VERSION
from facewright.training.synthetic.generate import Portrait, PortraitGenerator

PORTRAITS_PER_SHARD = 500
UNKNOWN = 255
"""In classes, of photographs only: nobody knows; the loss leaves it out."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures with what is known about them.

    Attributes:
        images: (n, 240, 240, 3) uint8 RGB.
        classes: (n, 240, 240) uint8.
        landmarks: (n, 68, 2) float32 px.
    """

    images: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    landmarks: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)


class SegmentationShards:
    """The complete shards of a directory, memory-mapped.

    Raises:
        FileNotFoundError: there is none.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._parts: list[Pictures] = []
        self.refresh()
        if not self._parts:
            raise FileNotFoundError(f"no shards in {directory}")

    def refresh(self) -> None:
        """Take up shards that have appeared since: they may still be being drawn."""
        paths = sorted(self._directory.glob("shard_*"))
        self._parts += [_read(path) for path in paths[len(self._parts) :]]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def picture(self, row: int) -> Pictures:
        """One picture, a set of one."""
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        part, at = self._parts[shard], row - int(self._starts[shard])
        own = slice(at, at + 1)
        return Pictures(part.images[own], part.classes[own], part.landmarks[own])


def _read(path: Path) -> Pictures:
    return Pictures(*(np.load(path / f"{name}.npy", mmap_mode="r") for name in _ARRAYS))


_ARRAYS = ("images", "classes", "landmarks")


def write_portraits(
    generator: PortraitGenerator,
    directory: Path,
    seed: int,
    count: int,
    advance: Callable[[int], None],
) -> None:
    """Write the shards that are missing.

    Args:
        generator: one that gives classes.
        directory: of the shards; made when missing.
        seed: of the portraits, as `training.synthetic.dataset.split_seed` gives it.
        count: portraits in all.
        advance: called with the number of portraits that are there since the last call.

    Raises:
        ValueError: a shard that is there has another origin.
    """
    meta = {
        "seed": seed,
        "generator_version": GENERATOR_VERSION,
        "held": list(generator.held),
    }
    for index, start in enumerate(range(0, count, PORTRAITS_PER_SHARD)):
        numbers = range(start, min(start + PORTRAITS_PER_SHARD, count))
        path = shard_path(directory, index)
        if path.exists():
            if json.loads((path / "meta.json").read_text()) != meta:
                raise ValueError(f"{path} was made with other settings; choose another directory")
            advance(len(numbers))
            continue
        drawn = []
        for portrait in generator.portraits(seed, numbers):
            drawn.append(portrait)
            advance(1)
        _write(path, drawn, meta)


def _write(path: Path, portraits: list[Portrait], meta: dict[str, object]) -> None:
    """Write one shard under a hidden name and rename it when it is complete."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    np.save(partial / "images.npy", np.stack([p.image for p in portraits]))
    classes = [p.classes for p in portraits if p.classes is not None]
    np.save(partial / "classes.npy", np.stack(classes))
    landmarks = np.stack([p.labels["landmarks"] for p in portraits])
    np.save(partial / "landmarks.npy", (landmarks + MARGIN).astype(np.float32))
    (partial / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    os.rename(partial, path)
