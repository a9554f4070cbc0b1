"""Which pictures each step of a run trains on: a function of the settings and of a cursor.

Everything random about a step comes from the run's seed and the step's place in the run, so a
resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from facewright.training.rnet.experiment import Stage

# Apart in the seeds, so that the two kinds are drawn independently.
PORTRAITS, PHOTOS = 0, 1


@dataclass(frozen=True)
class Pass:
    """A pass over a pool of pictures in random order.

    Attributes:
        epoch: number of the pass.
        position: pictures of it already consumed, by all workers.
        pool: number of pictures it draws from.
    """

    epoch: int = 0
    position: int = 0
    pool: int = 0

    def with_room(self, count: int, pool: int) -> Pass:
        """This pass if `count` pictures are left, else the next, over `pool` pictures.

        Raises:
            ValueError: there are less than `count` pictures at all.
        """
        if self.position + count <= self.pool:
            return self
        if count > pool:
            raise ValueError(f"{pool} pictures are less than a batch of {count}")
        return Pass(self.epoch + 1, 0, pool)

    def order(self, seed: int, kind: int) -> npt.NDArray[np.int64]:
        """The (pool,) pictures in the order of this pass."""
        return _permutation(seed, kind, self.epoch, self.pool)


@dataclass(frozen=True)
class Cursor:
    """How far a run has come.

    Attributes:
        step: steps so far.
        images: pictures so far, of all kinds and workers.
        portraits, photos: the passes.
    """

    step: int = 0
    images: int = 0
    portraits: Pass = field(default_factory=Pass)
    photos: Pass = field(default_factory=Pass)


@dataclass(frozen=True)
class Step:
    """What one step trains on.

    Attributes:
        cursor: of the run before this step, its passes with room for the batch.
        stage: that the step belongs to.
        progress: of the run, 0 to 1.
        workers: number of processes that share the step.
    """

    cursor: Cursor
    stage: Stage
    progress: float
    workers: int

    @property
    def images(self) -> int:
        """Pictures of this step, of all workers."""
        return self.stage.batch * self.workers

    @property
    def after(self) -> Cursor:
        """The run's cursor when the step is done."""
        now = self.cursor
        return Cursor(
            now.step + 1,
            now.images + self.images,
            _advanced(now.portraits, self.stage.portraits * self.workers),
            _advanced(now.photos, self.stage.photos * self.workers),
        )


def plan_step(
    cursor: Cursor,
    stage: Stage,
    progress: float,
    workers: int,
    portrait_pool: int,
    photo_pool: int,
) -> Step:
    """The step at `cursor`; a pass that has too few pictures left for it is ended.

    Raises:
        ValueError: a pool is smaller than a batch.
    """
    portraits = cursor.portraits.with_room(stage.portraits * workers, portrait_pool)
    photos = cursor.photos.with_room(stage.photos * workers, photo_pool)
    place = Cursor(cursor.step, cursor.images, portraits, photos)
    return Step(place, stage, progress, workers)


@lru_cache(maxsize=4)
def _permutation(seed: int, kind: int, epoch: int, pool: int) -> npt.NDArray[np.int64]:
    order = np.random.default_rng([seed, kind, epoch]).permutation(pool)
    order.setflags(write=False)
    return order


def _advanced(old: Pass, count: int) -> Pass:
    return Pass(old.epoch, old.position + count, old.pool)
