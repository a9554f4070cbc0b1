"""Which shards a run works on, in an order that it knows again when it is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from facewright.training.data.shards import ShardSet
from facewright.training.experiment_files import ExperimentError


@dataclass(frozen=True)
class Stock:
    """Shards of a run, in their order; the same in all workers.

    Attributes:
        portraits, photos: of training.
        held_out_portraits, held_out_photos: of validation.
    """

    portraits: tuple[Path, ...] = ()
    photos: tuple[Path, ...] = ()
    held_out_portraits: tuple[Path, ...] = ()
    held_out_photos: tuple[Path, ...] = ()

    def as_dict(self) -> dict[str, list[str]]:
        """Plain values only."""
        return {name: [str(path) for path in paths] for name, paths in asdict(self).items()}

    @staticmethod
    def from_dict(plain: Mapping[str, Iterable[str]]) -> Stock:
        """Inverse of `as_dict`."""
        return Stock(**{name: tuple(map(Path, paths)) for name, paths in plain.items()})


def take_stock(
    portraits: Iterable[Path], photos: Iterable[Path], held_out: Iterable[Path], known: Stock
) -> Stock:
    """All shards of some data directories, those of `known` first and in its order.

    Args:
        portraits: directories of training data.
        photos: likewise.
        held_out: directories of validation data of either kind.
        known: what an interrupted run has used.

    Raises:
        ExperimentError: a directory has no shards, or shards of the other kind.
    """
    found: dict[str, list[Path]] = {name: [] for name in ("portraits", "photos")}
    for kind, directories in (("portraits", portraits), ("photos", photos)):
        for directory in directories:
            if _kind(directory) != kind:
                raise ExperimentError(f"{directory} holds {_kind(directory)}, not {kind}")
            found[kind] += _shards(directory)
    kept: dict[str, list[Path]] = {name: [] for name in ("portraits", "photos")}
    for directory in held_out:
        kept[_kind(directory)] += _shards(directory)
    return Stock(
        _appended(known.portraits, found["portraits"]),
        _appended(known.photos, found["photos"]),
        tuple(kept["portraits"]),
        tuple(kept["photos"]),
    )


def open_shards(paths: Iterable[Path], face_model_sha256: str) -> ShardSet | None:
    """The shards as one sequence, or None when there are none.

    Raises:
        ExperimentError: they belong to another face model.
        ValueError: they do not fit each other.
    """
    shards = ShardSet(())
    shards.extend(paths)
    if not len(shards):
        return None
    if shards.meta.face_model_sha256 != face_model_sha256:
        raise ExperimentError(f"{shards.shard_paths[0]} is of another face model")
    return shards


def _kind(directory: Path) -> str:
    """What the first shard of a directory holds."""
    shards = _shards(directory)
    if not shards:
        raise ExperimentError(f"no shards in {directory}")
    kind: str = json.loads((shards[0] / "meta.json").read_text())["kind"]
    return kind


def _shards(directory: Path) -> list[Path]:
    # Absolute, so that a run knows its shards again wherever it is resumed from.
    return ShardSet(directory.absolute()).shard_paths


def _appended(known: tuple[Path, ...], found: list[Path]) -> tuple[Path, ...]:
    return (*known, *(path for path in found if path not in set(known)))
