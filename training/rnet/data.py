"""The data of a training run: shards, and the stream of batches drawn from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from facewright.models.mirror import MirrorMatrices
from facewright.training.data.stock import Stock, open_shards
from facewright.training.experiment_files import ExperimentError
from facewright.training.rnet.batches import Batch, BatchMaker
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.plan import Cursor, Pass, Step, plan_step


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


class RNetData:
    """Batches in an order that can be resumed exactly, prepared in the background.

    The run is one pass over `training_batches`, which are planned from the cursor; the owner moves
    the cursor on when a batch has been trained on.

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

    def training_batches(self) -> Iterator[Batch]:
        """Batches from the cursor to the end of the run."""
        return self._prepared(self._steps())

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

        return self._prepared(steps())

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
            stage = self._experiment.stage_at(progress)
            step = plan_step(cursor, stage, progress, self._workers, *self._pools)
            yield step
            cursor = step.after

    def _prepared(self, steps: Iterator[Step]) -> Iterator[Batch]:
        """The batches of steps, prepared in the background."""
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="batches") as pool:
            for step in steps:
                waiting.append(pool.submit(self._make, step))
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
