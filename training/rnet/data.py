"""The data of a training run: shards, and the stream of batches drawn from them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning

from facewright.models.mirror import MirrorMatrices
from facewright.training.data.shards import ShardSet
from facewright.training.rnet.batches import Batch, BatchMaker
from facewright.training.rnet.experiment import Experiment, ExperimentError
from facewright.training.rnet.plan import Cursor, Pass, Step, plan_step
from facewright.training.rnet.schedule import stage_at


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
        """Inverse of :meth:`as_dict`."""
        return Stock(**{name: tuple(map(Path, paths)) for name, paths in plain.items()})


def take_stock(
    portraits: Iterable[Path], photos: Iterable[Path], held_out: Iterable[Path], known: Stock
) -> Stock:
    """All shards of some data directories, those of ``known`` first and in its order.

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


def check_stock(experiment: Experiment, stock: Stock, face_model_sha256: str) -> None:
    """Make sure that a run has the data its experiment asks for.

    Raises:
        ExperimentError: a kind of training data is missing, or shards are of another face model.
        ValueError: shards do not fit each other.
    """
    for needed, name in (
        (experiment.uses_portraits, "portraits"),
        (experiment.uses_photos, "photos"),
    ):
        if needed and not getattr(stock, name):
            raise ExperimentError(f"the experiment trains on {name}, but none are given")
    for paths in (stock.portraits, stock.photos, stock.held_out_portraits, stock.held_out_photos):
        open_shards(paths, face_model_sha256)


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


class RNetData(lightning.LightningDataModule):
    """Batches in an order that can be resumed exactly, prepared in the background.

    The run is one pass over :meth:`train_dataloader`, whose batches are planned from the cursor;
    the owner moves the cursor on when a batch has been trained on. Lightning keeps it in
    checkpoints.

    Args:
        experiment: settings.
        stock: shards of the run.
        face_model_sha256: of the face model that the shards must be of.
        mirror: mirror matrices of that model.
        rank, workers: this process's number and the number of processes.
        progress: of the run, 0 to 1, after a number of images; the run ends at 1.
        threads: that prepare batches, and batches prepared ahead.

    Attributes:
        cursor: of the run: what has been trained on.
        held_out_portraits, held_out_photos: validation data, None where there is none.
    """

    def __init__(
        self,
        experiment: Experiment,
        stock: Stock,
        face_model_sha256: str,
        mirror: MirrorMatrices,
        *,
        rank: int,
        workers: int,
        progress: Callable[[int], float],
        threads: int,
    ) -> None:
        super().__init__()
        opened = {
            name: open_shards(getattr(stock, name), face_model_sha256) for name in stock.as_dict()
        }
        portraits, photos = opened["portraits"], opened["photos"]
        self.held_out_portraits = opened["held_out_portraits"]
        self.held_out_photos = opened["held_out_photos"]
        self.cursor = Cursor()
        self._experiment = experiment
        self._stock = stock
        self._pools = tuple(0 if shards is None else len(shards) for shards in (portraits, photos))
        self._make = BatchMaker(experiment, portraits, photos, mirror, rank)
        self._workers = workers
        self._progress = progress
        self._threads = threads

    def train_dataloader(self) -> Iterable[Batch]:
        """Batches from the cursor to the end of the run."""
        return _Stream(self._steps, self._make, self._threads)

    def calibration_batches(self, images: int) -> Iterator[Batch]:
        """Fresh batches of the last stage, of about so many images over all workers."""
        last = self._experiment.stages[-1]
        end = self.cursor.images + images

        def steps() -> Iterator[Step]:
            cursor = self.cursor
            while cursor.images < end:
                step = plan_step(cursor, last, 1.0, self._workers, *self._pools)
                yield step
                cursor = step.after

        return iter(_Stream(steps, self._make, self._threads))

    def state_dict(self) -> dict[str, Any]:
        """Cursor and shards, plain values only."""
        return {"cursor": asdict(self.cursor), "stock": self._stock.as_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the state was taken; the shards are the launcher's business."""
        plain = state_dict["cursor"]
        passes = {name: Pass(**plain[name]) for name in ("portraits", "photos")}
        self.cursor = Cursor(plain["step"], plain["images"], **passes)

    def _steps(self) -> Iterator[Step]:
        cursor = self.cursor
        while (progress := self._progress(cursor.images)) < 1:
            stage = stage_at(self._experiment, progress)
            step = plan_step(cursor, stage, progress, self._workers, *self._pools)
            yield step
            cursor = step.after


class _Stream:
    """Batches of planned steps, prepared in the background; each iteration starts anew."""

    def __init__(
        self, steps: Callable[[], Iterator[Step]], make: Callable[[Step], Batch], ahead: int
    ) -> None:
        self._steps, self._make, self._ahead = steps, make, ahead

    def __iter__(self) -> Iterator[Batch]:
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self._ahead, thread_name_prefix="batches") as pool:
            for step in self._steps():
                waiting.append(pool.submit(self._make, step))
                if len(waiting) > self._ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


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
