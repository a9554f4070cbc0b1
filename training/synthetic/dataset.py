"""Writing portraits to shards: several processes, resumable, the same bytes for the same seed."""

from __future__ import annotations

import multiprocessing as mp
import os
import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from facewright.models.morphable_model import MorphableModel
from facewright.training.data.shards import ShardMeta, ShardReader, ShardWriter, shard_path
from facewright.training.face_model.heads import HeadModel
from facewright.training.synthetic.generate import PortraitGenerator
from facewright.training.synthetic.head import Head

GENERATOR_VERSION = "3"
LARGEST_SEED = 10**9 - 1
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                     "NUMBA_NUM_THREADS")  # fmt: skip

Split = Literal["train", "val"]


def split_seed(split: Split, seed: int) -> int:
    """The seed that shards record; the splits' seeds never coincide.

    Raises:
        ValueError: `seed` is not in 0..999,999,999.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"the seed must be in 0..{LARGEST_SEED}, got {seed}")
    return seed + (LARGEST_SEED + 1 if split == "val" else 0)


@dataclass(frozen=True)
class Job:
    """What to write where.

    Attributes:
        directory: gets `shard_00000`, `shard_00001`, ...
        head_path: file of `training.face_model.heads.HeadModel`.
        model_path: file of `models.morphable_model.MorphableModel`.
        seed: as `split_seed` gives it.
        count: portraits in all; shard_size: portraits per shard; per_person: of every person.
    """

    directory: Path
    head_path: Path
    model_path: Path
    seed: int
    count: int
    shard_size: int
    per_person: int = 1

    def sizes(self) -> list[int]:
        """Number of portraits of every shard."""
        whole, rest = divmod(self.count, self.shard_size)
        return [self.shard_size] * whole + ([rest] if rest else [])

    def numbers(self, index: int) -> range:
        """Numbers of the portraits in shard `index`."""
        start = index * self.shard_size
        return range(start, min(start + self.shard_size, self.count))

    def load_head(self) -> Head:
        """Read the two models."""
        return Head.build(HeadModel.load(self.head_path), MorphableModel.load(self.model_path))


def missing_shards(job: Job, meta: ShardMeta) -> list[int]:
    """Indices of the shards that are still to be written.

    Raises:
        ValueError: a shard that is there has another origin or size than the job asks for.
    """
    missing = []
    for index, size in enumerate(job.sizes()):
        path = shard_path(job.directory, index)
        if not path.exists():
            missing.append(index)
            continue
        shard = ShardReader(path)
        people = np.asarray(job.numbers(index)) // job.per_person
        if (
            shard.meta != meta
            or len(shard) != size
            or not np.array_equal(shard.labels.person, people)
        ):
            raise ValueError(f"{path} was made with other settings; choose another directory")
    return missing


def write_shard(
    generator: PortraitGenerator, job: Job, meta: ShardMeta, index: int, tick: Callable[[], None]
) -> None:
    """Write one shard; `tick` is called after every portrait and may raise to abandon it."""
    numbers = job.numbers(index)
    with ShardWriter(job.directory, index, capacity=len(numbers), meta=meta) as writer:
        for portrait in generator.portraits(job.seed, numbers, job.per_person):
            writer.add(portrait.image, portrait.attention, **portrait.labels)
            tick()


class _Stopped(Exception):
    """The parent asked to stop."""


def _work(
    job: Job, meta: ShardMeta, indices: list[int], taken: Any, done: Any, stop: Event
) -> None:
    """Body of one worker process: write shards until none is left."""
    parent = os.getppid()
    # Ctrl-C reaches the whole process group; the parent decides and sets `stop`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    generator = PortraitGenerator(job.load_head())

    def tick() -> None:
        done.put(1)
        # A parent that was killed could not set it.
        if stop.is_set() or os.getppid() != parent:
            raise _Stopped

    while True:
        with taken.get_lock():
            turn = taken.value
            taken.value += 1
        if turn >= len(indices) or stop.is_set():
            return
        try:
            write_shard(generator, job, meta, indices[turn], tick)
        except _Stopped:
            return


@contextmanager
def _one_thread_per_process() -> Iterator[None]:
    """Environment in which child processes start numeric libraries with one thread."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def write_shards(
    job: Job, meta: ShardMeta, indices: list[int], workers: int, advance: Callable[[int], None]
) -> None:
    """Write shards with single-threaded processes.

    Args:
        job: what to write.
        meta: recorded with every shard.
        indices: of the shards to write.
        workers: number of processes, at least 1.
        advance: called with the number of portraits finished since the last call.

    Raises:
        RuntimeError: a worker failed.
        KeyboardInterrupt: passed on after the workers have stopped; whole shards are kept.
    """
    context = mp.get_context("spawn")
    taken, done, stop = context.Value("i", 0), context.Queue(), context.Event()
    processes = [
        context.Process(target=_work, args=(job, meta, indices, taken, done, stop))
        for _ in range(min(workers, len(indices)))
    ]
    with _one_thread_per_process():
        for process in processes:
            process.start()
    try:
        remaining = sum(job.sizes()[i] for i in indices)
        while remaining > 0:
            try:
                finished = done.get(timeout=1.0)
            except queue.Empty:
                if any(process.exitcode for process in processes):
                    raise RuntimeError("a portrait worker failed; its message is above") from None
                continue
            remaining -= finished
            advance(finished)
    except BaseException:
        stop.set()
        raise
    finally:
        # A process does not end before what it put in the queue has been read.
        while any(process.is_alive() for process in processes):
            try:
                done.get(timeout=0.1)
            except queue.Empty:
                continue
