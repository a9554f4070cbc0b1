"""The parts of a run on Ray Data: on this machine, or on the cluster that `RAY_ADDRESS` names.

Ray schedules, restarts and spreads.  What passes through its object store are numbers of parts
and their summaries; photos and faces go from and to their files where they are worked on.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnxruntime as ort

from facewright.service.bulk.runs import Run
from facewright.service.bulk.worker import PartWorker
from facewright.service.runtime.processors import usable_processors
from facewright.service.runtime.sessions import CUDA
from facewright.service.settings import Settings

# Read when Ray is imported: it sends statistics of its use elsewhere, and writes pages of log.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray  # noqa: E402
import ray.data  # noqa: E402
from ray.exceptions import RayError  # noqa: E402

OBJECT_STORE_BYTES = 100_000_000
"""Of an embedded Ray, which holds little more than numbers of parts."""
_PART_ATTEMPTS = 3
"""After a worker has died; a photo that kills its worker must not do so for ever."""

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
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if ray.is_initialized():
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        ray.init(
            "local",
            num_cpus=usable_processors(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **quiet,
        )
    try:
        yield
    finally:
        ray.shutdown()


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
    each, workers = _pool(run.settings, processors, len(numbers))
    summaries = ray.data.from_items(numbers, override_num_blocks=len(numbers)).map_batches(
        _Worker,
        batch_size=1,
        fn_constructor_args=(run, int(each["num_cpus"])),
        compute=ray.data.ActorPoolStrategy(
            # One is enough to go on with when machines are lost.
            min_size=1,
            initial_size=workers,
            max_size=workers,
            # A part waits for the first worker that is free, not for a certain one.
            max_tasks_in_flight_per_actor=1,
        ),
        max_restarts=-1,
        max_task_retries=_PART_ATTEMPTS,
        **each,
    )
    try:
        for row in summaries.iter_rows():
            done(int(row["part"]), json.loads(row["summary"]))
    except RayError as error:
        return _reason(error)
    return None


def _pool(settings: Settings, processors: int, parts: int) -> tuple[dict[str, float], int]:
    """What a worker takes of the cluster, and how many fit into it."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    with_gpus = settings.device in ("cuda", "tensorrt") or (
        settings.device == "auto" and CUDA in ort.get_available_providers()
    )
    if gpus and with_gpus:
        share = min(node["CPU"] // node["GPU"] for node in nodes if node.get("GPU"))
        return {"num_cpus": max(1, share), "num_gpus": 1}, min(gpus, parts)
    largest = max(node.get("CPU", 0) for node in nodes)
    each = max(1, min(processors, int(largest)))
    fitting = int(sum(node.get("CPU", 0) // each for node in nodes))
    return {"num_cpus": each}, max(1, min(fitting, parts))


def _reason(error: BaseException) -> str:
    """The last line of an error that came through Ray, which is the cause's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
