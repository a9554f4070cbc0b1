"""Shards: directories of pictures with labels, written once and memory-mapped ever after.

A data directory holds `shard_00000`, `shard_00001`, … Each shard is

* `images.npy`: (n, 240, 240, 3) uint8 RGB, the 224 px crop with 8 px of margin on each side;
* `attention.npy`: (n, 240, 240) uint8, skin attention (A of eq. 2), 0..255 for 0..1: of
  portraits the skin of the face that can be seen, of photographs a guess from color;
* `labels.npz`: the arrays of `Labels`, relative to the crop that leaves out the margin;
* `meta.json`: the fields of `ShardMeta`.

Portraits (synthetic) and photographs share the format; of a photograph the coefficients are not
known and stand as NaN.

A shard is written under a hidden name and renamed when complete, so a reader never sees half of
one and a training run can pick up shards that are still being generated.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from facewright.models.arrays import Array

CROP_SIZE = 224
MARGIN = 8
IMAGE_SIZE = CROP_SIZE + 2 * MARGIN

_PEOPLE_OF_A_DIRECTORY = 1 << 32

_SHARD_NAME = re.compile(r"shard_(\d{5})")


@dataclass(frozen=True, eq=False)
class Labels:
    """What is known about n pictures; every array has n rows.

    Coefficients are either all known, as of portraits, or all NaN, as of photographs.

    Attributes:
        identity: (n, 80) float32, sigma units.
        expression: (n, 64) float32, sigma units.
        albedo: (n, 80) float32, sigma units.
        light: (n, 9) float32, spherical-harmonics coefficients.
        rotation: (n, 3) float32, pitch, yaw, roll in radians.
        translation: (n, 3) float32, units of 100 mm, under the nominal camera of the crop.
        landmarks: (n, 68, 2) float32, crop px; in the margin negative or above 224.
        landmark_visible: (n, 68) bool: seen in a portrait, known in a photograph.
        person: (n,) int64, number of the person within the data directory.
    """

    identity: Array
    expression: Array
    albedo: Array
    light: Array
    rotation: Array
    translation: Array
    landmarks: Array
    landmark_visible: Array
    person: Array

    def __len__(self) -> int:
        return len(self.identity)

    def take(self, rows: npt.ArrayLike | slice) -> Labels:
        """The labels of the given rows (indices or slice), copied."""
        return Labels(**{name: getattr(self, name)[rows].copy() for name in LABEL_SHAPES})

    @staticmethod
    def concatenate(parts: Sequence[Labels]) -> Labels:
        """Join labels row by row. `parts` must not be empty."""
        return Labels(
            **{name: np.concatenate([getattr(p, name) for p in parts]) for name in LABEL_SHAPES}
        )


LABEL_SHAPES: dict[str, tuple[int, ...]] = {
    "identity": (80,),
    "expression": (64,),
    "albedo": (80,),
    "light": (9,),
    "rotation": (3,),
    "translation": (3,),
    "landmarks": (68, 2),
    "landmark_visible": (68,),
    "person": (),
}
COEFFICIENTS = ("identity", "expression", "albedo", "light", "rotation", "translation")
assert tuple(LABEL_SHAPES) == tuple(f.name for f in fields(Labels))


def _dtype(name: str) -> type[np.generic]:
    return {"landmark_visible": np.bool_, "person": np.int64}.get(name, np.float32)


@dataclass(frozen=True)
class ShardMeta:
    """Where a shard comes from.

    Attributes:
        kind: "portraits" or "photos".
        seed: of the first portrait; the generator's own rule derives the others from it.
        generator_version: of the code that drew the portraits or prepared the photographs.
        face_model_sha256: of the morphable model whose coefficients the labels are, or whose
            template the photographs were aligned by.
        image_size, margin: px; the crop is the center `image_size - 2 margin` square.
    """

    kind: Literal["portraits", "photos"]
    seed: int
    generator_version: str
    face_model_sha256: str
    image_size: int = IMAGE_SIZE
    margin: int = MARGIN


def shard_path(directory: str | Path, index: int) -> Path:
    """Path of shard number `index` of a data directory."""
    return Path(directory) / f"shard_{index:05d}"


class ShardWriter:
    """Writes one shard picture by picture; the shard appears when the writer closes.

    >>> with ShardWriter("runs/synth", 3, capacity=1000, meta=meta) as writer:
    ...     writer.add(image_u8, attention_u8, identity=..., expression=..., ...)

    Fewer pictures than `capacity` may be added. Leaving the `with` block through an exception
    discards the shard.

    Raises:
        FileExistsError: the shard is already there.
        ValueError: a label is missing, unknown, misshapen or not finite (coefficients of
            photographs may be, and must be, NaN), or the shard is full.
    """

    def __init__(
        self, directory: str | Path, index: int, *, capacity: int, meta: ShardMeta
    ) -> None:
        self.path = shard_path(directory, index)
        if self.path.exists():
            raise FileExistsError(self.path)
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._meta = meta
        self._count = 0
        size = meta.image_size
        self._images = np.lib.format.open_memmap(
            self._partial / "images.npy", "w+", np.uint8, (capacity, size, size, 3)
        )
        self._attention = np.lib.format.open_memmap(
            self._partial / "attention.npy", "w+", np.uint8, (capacity, size, size)
        )
        self._labels: dict[str, Any] = {
            name: np.zeros((capacity, *shape), _dtype(name)) for name, shape in LABEL_SHAPES.items()
        }

    def __len__(self) -> int:
        return self._count

    def add(self, image: npt.ArrayLike, attention: npt.ArrayLike, **labels: npt.ArrayLike) -> None:
        """Append one picture.

        Args:
            image: (240, 240, 3) uint8 RGB.
            attention: (240, 240) uint8.
            labels: one row of every array of `Labels`, by name.
        """
        picture, mask = np.asarray(image), np.asarray(attention)
        if self._count == len(self._images):
            raise ValueError(f"the shard is full ({self._count} pictures)")
        if mask.dtype != np.uint8 or mask.shape != self._attention.shape[1:]:
            raise ValueError(
                f"attention must be uint8 {self._attention.shape[1:]},"
                f" got {mask.dtype} {mask.shape}"
            )
        if picture.dtype != np.uint8 or picture.shape != self._images.shape[1:]:
            raise ValueError(
                f"image must be uint8 {self._images.shape[1:]}, got {picture.dtype} {picture.shape}"
            )
        if labels.keys() != LABEL_SHAPES.keys():
            raise ValueError(f"labels differ: {sorted(labels.keys() ^ LABEL_SHAPES.keys())}")
        rows = {name: np.asarray(value) for name, value in labels.items()}
        for name, row in rows.items():
            if row.shape != LABEL_SHAPES[name]:
                raise ValueError(f"{name} must have shape {LABEL_SHAPES[name]}, got {row.shape}")
            unknown = self._meta.kind == "photos" and name in COEFFICIENTS
            if not (np.isnan(row).all() if unknown else np.isfinite(row).all()):
                raise ValueError(f"{name} is not {'NaN' if unknown else 'finite'}")
        self._images[self._count] = picture
        self._attention[self._count] = mask
        for name, row in rows.items():
            self._labels[name][self._count] = row
        self._count += 1

    def close(self) -> None:
        """Complete the shard under its final name."""
        self._images.flush()
        self._attention.flush()
        full = self._count == len(self._images)
        del self._images, self._attention
        if not full:
            for name in ("images.npy", "attention.npy"):
                pictures = np.load(self._partial / name, mmap_mode="r")
                np.save(self._partial / "cut.npy", pictures[: self._count])
                del pictures
                os.replace(self._partial / "cut.npy", self._partial / name)
        rows: dict[str, Any] = {name: value[: self._count] for name, value in self._labels.items()}
        np.savez(self._partial / "labels.npz", **rows)
        (self._partial / "meta.json").write_text(json.dumps(asdict(self._meta), indent=1) + "\n")
        os.rename(self._partial, self.path)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            shutil.rmtree(self._partial, ignore_errors=True)


class ShardReader:
    """One shard, its pictures memory-mapped.

    Attributes:
        images: (n, size, size, 3) uint8 RGB.
        attention: (n, size, size) uint8.
        labels: of the n pictures.
        meta: where the shard comes from.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.meta = ShardMeta(**json.loads((self.path / "meta.json").read_text()))
        self.images: npt.NDArray[np.uint8] = np.load(self.path / "images.npy", mmap_mode="r")
        self.attention: npt.NDArray[np.uint8] = np.load(self.path / "attention.npy", mmap_mode="r")
        with np.load(self.path / "labels.npz") as file:
            self.labels = Labels(**{name: file[name] for name in LABEL_SHAPES})
        if not len(self.images) == len(self.attention) == len(self.labels):
            raise ValueError(f"{self.path}: images, attention and labels differ in number")

    def __len__(self) -> int:
        return len(self.images)


class ShardSet:
    """Every shard of one or more data directories as one sequence with random access.

    The order is directory by directory, shard by shard; `refresh` appends shards that have
    appeared since, so the index of a picture never changes during a run.

    Raises:
        ValueError: shards of different kinds, face models or image sizes are mixed.
    """

    def __init__(self, directories: str | Path | Iterable[str | Path]) -> None:
        if isinstance(directories, (str, Path)):
            directories = [directories]
        self.directories = [Path(d) for d in directories]
        self._shards: list[ShardReader] = []
        self._starts = np.zeros(1, np.int64)
        self._labels: Labels | None = None
        self.refresh()

    @property
    def shard_paths(self) -> list[Path]:
        """Paths of the shards in the order of their indices."""
        return [shard.path for shard in self._shards]

    @property
    def meta(self) -> ShardMeta:
        """Meta data of the first shard. Raises IndexError when there is none."""
        return self._shards[0].meta

    @property
    def labels(self) -> Labels:
        """Labels of all pictures in one piece; people of different directories are different.

        Raises ValueError when there is no shard.
        """
        if self._labels is None:
            directories = list(dict.fromkeys(shard.path.parent for shard in self._shards))
            self._labels = Labels.concatenate(
                [
                    replace(
                        shard.labels,
                        person=shard.labels.person
                        + _PEOPLE_OF_A_DIRECTORY * directories.index(shard.path.parent),
                    )
                    for shard in self._shards
                ]
            )
        return self._labels

    def __len__(self) -> int:
        return int(self._starts[-1])

    def check(self, face_model_sha256: str) -> None:
        """Make sure that the pictures' labels are of a face model.

        Raises:
            ValueError: they are of another one.
        """
        if self.meta.face_model_sha256 != face_model_sha256:
            raise ValueError(
                f"{self.shard_paths[0]} is of another face model: {self.meta.face_model_sha256},"
                f" not {face_model_sha256}"
            )

    def find(self) -> list[Path]:
        """Complete shards in the directories that are not taken up yet, in order."""
        known = set(self.shard_paths)
        return [
            path
            for directory in self.directories
            for path in sorted(directory.glob("shard_*"))
            if _SHARD_NAME.fullmatch(path.name) and path not in known
        ]

    def extend(self, paths: Iterable[str | Path]) -> None:
        """Append the shards at `paths` in this order."""
        for path in paths:
            shard = ShardReader(path)
            if self._shards and (
                shard.meta.kind != self.meta.kind
                or shard.meta.face_model_sha256 != self.meta.face_model_sha256
                or shard.meta.image_size != self.meta.image_size
                or shard.meta.margin != self.meta.margin
            ):
                raise ValueError(
                    f"{path}: kind, face model or image size differs from the other shards"
                )
            self._shards.append(shard)
        self._starts = np.cumsum([0, *(len(shard) for shard in self._shards)])
        self._labels = None

    def refresh(self) -> int:
        """Append shards that have appeared since the last look; returns how many."""
        paths = self.find()
        self.extend(paths)
        return len(paths)

    def images(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Copy of the pictures of the given rows, (k, size, size, 3) uint8."""
        size = self.meta.image_size
        places = self._places(rows)
        out = np.empty((len(places), size, size, 3), np.uint8)
        for k, (shard, row) in enumerate(places):
            out[k] = shard.images[row]
        return out

    def attention(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Copy of the skin attention of the given rows, (k, size, size) uint8."""
        size = self.meta.image_size
        places = self._places(rows)
        out = np.empty((len(places), size, size), np.uint8)
        for k, (shard, row) in enumerate(places):
            out[k] = shard.attention[row]
        return out

    def crops(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The crops within the pictures of the given rows, (k, 224, 224, 3) uint8."""
        inner = slice(self.meta.margin, self.meta.image_size - self.meta.margin)
        return self.images(rows)[:, inner, inner]

    def _places(self, rows: npt.ArrayLike) -> list[tuple[ShardReader, int]]:
        """Shard and row within it of the given rows."""
        index = np.asarray(rows, np.int64)
        shards = np.searchsorted(self._starts, index, side="right") - 1
        within = index - self._starts[shards]
        return [(self._shards[k], int(row)) for k, row in zip(shards, within, strict=True)]
