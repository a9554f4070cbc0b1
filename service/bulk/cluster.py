"""The parts of a run on Ray Data: on this machine, or on the cluster that `RAY_ADDRESS` names.

Ray schedules, restarts and spreads.  What passes through its object store are numbers of parts
and their summaries; photos and faces go from and to their files where they are worked on.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort

from facewright.service.bulk.manifest import Run
from facewright.service.bulk.worker import PartWorker
from facewright.service.runtime.processors import usable_processors
from facewright.service.runtime.sessions import CUDA
from facewright.service.settings import Settings

# Read when Ray is imported: it sends statistics of its use elsewhere, and writes pages of log.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import ray  # noqa: E402
import ray.data  # noqa: E402
from ray.exceptions import RayError  # noqa: E402

OBJECT_STORE_BYTES = 100_000_000
"""Of an embedded Ray, which holds little more than numbers of parts."""
_WORKER_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
"""As `facewright.service` has it, but Ray imports NumPy before; photos are side by side already."""
_PART_RETRIES = 3
"""After the death of its worker; a photo that kills its worker must not do so for ever."""

Done = Callable[[int, dict[str, Any]], None]
"""Is told the number of a part that is done and its summary."""


class _Worker:
    """An actor of the pool."""

    def __init__(self, run: Run, processors: int) -> None:
        logging.getLogger("facewright").setLevel(logging.ERROR)
        self._worker = PartWorker(run, processors)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Work on a batch of one part."""
        (part,) = batch["part"].tolist()
        summary = json.dumps(self._worker.work(part))
        return {"part": batch["part"], "summary": np.array([summary], object)}


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Ray for the length of the `with` block: the cluster of `RAY_ADDRESS`, or one of its own.

    Raises:
        ConnectionError: the cluster is not there.
    """
    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {}
    if not os.environ.get("RAY_ADDRESS"):
        own = {
            "address": "local",
            "num_cpus": usable_processors(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    with _silence():
        ray.init(
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": _WORKER_ENVIRONMENT},
            **own,
        )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _silence() -> Iterator[None]:
    """Standard error goes nowhere: Ray's core writes there without asking any logger."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def work_on_parts(run: Run, parts: Iterable[int], processors: int, done: Done) -> str | None:
    """Work on parts of a run, in any order, on all machines of the cluster.

    Args:
        run: what they belong to.
        parts: their numbers.
        processors: of one worker without a GPU.
        done: see `Done`.

    Returns:
        Why some of them may not be done, if so.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # the other parts go on
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    numbers = [{"part": part} for part in parts]
    pool = _pool(run.settings, processors, len(numbers))
    with warnings.catch_warnings():
        # The number of retries of a task has no other name yet.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        summaries = ray.data.from_items(numbers, override_num_blocks=len(numbers)).map_batches(
            _Worker,
            batch_size=1,
            fn_constructor_args=(run, pool.processors),
            compute=ray.data.ActorPoolStrategy(
                # One is enough to go on with when machines are lost.
                min_size=1,
                initial_size=pool.workers,
                max_size=pool.workers,
                # A part waits for the first worker that is free, not for a certain one.
                max_tasks_in_flight_per_actor=1,
            ),
            max_task_retries=_PART_RETRIES,
            num_cpus=pool.processors,
            num_gpus=pool.gpus,
        )
    try:
        for row in summaries.iter_rows():
            done(int(row["part"]), json.loads(row["summary"]))
    except RayError as error:
        return _reason(error)
    return None


class _Pool(NamedTuple):
    """The workers that fit into the cluster, and what each takes of it."""

    workers: int
    processors: int
    gpus: int


def _pool(settings: Settings, processors: int, parts: int) -> _Pool:
    """One worker per GPU where there are any to be used, else one per so many processors."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    with_gpus = settings.device in ("cuda", "tensorrt") or (
        settings.device == "auto" and CUDA in ort.get_available_providers()
    )
    if gpus and with_gpus:
        share = min(node["CPU"] // node["GPU"] for node in nodes if node.get("GPU"))
        return _Pool(min(gpus, parts), max(1, int(share)), 1)
    each = min(processors, int(max(node.get("CPU", 0) for node in nodes)))
    fitting = int(sum(node.get("CPU", 0) // each for node in nodes))
    return _Pool(min(fitting, parts), each, 0)


def _reason(error: BaseException) -> str:
    """The last line of an error that came through Ray, which is the cause's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
