"""Starts the workers of a training run, shows how it goes and passes on the wish to stop."""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.multiprocessing as multiprocessing
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from facewright.training.data.stock import Stock
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.records import ReportTo
from facewright.training.rnet.run import RunPaths, prepare_run, train
from facewright.training.trainer.signals import LOG_FORMAT, handling_signals

POLL_SECONDS = 0.5
# Tensors of tens of megabytes come and go in every step. Left alone, the C library returns their
# pages to the system each time and faults them in again, which costs about a tenth of the speed.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
}


def launch(experiment: Experiment, paths: RunPaths, workers: int) -> None:
    """Train with `workers` processes until the run ends or SIGINT or SIGTERM asks to stop.

    Raises:
        ExperimentError: the run cannot start, see `rnet.run.prepare_run`.
        torch.multiprocessing.ProcessRaisedException: a worker failed; its traceback is in the
            message, the others have been ended.
    """
    stock = prepare_run(experiment, paths)
    os.environ.update(_environment())
    context = multiprocessing.get_context("spawn")
    stop, reports = context.Event(), context.Queue()
    on_terminal = sys.stderr.isatty()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    with handling_signals(ask_to_stop):
        processes = multiprocessing.start_processes(
            _work,
            (experiment, paths, stock, workers, stop, reports, not on_terminal),
            nprocs=workers,
            join=False,
            start_method="spawn",
        )
        with _display(on_terminal) as show:
            while not processes.join(timeout=POLL_SECONDS):
                _pass_on(reports, show)
            _pass_on(reports, show)


def _work(
    rank: int,
    experiment: Experiment,
    paths: RunPaths,
    stock: Stock,
    workers: int,
    stop: Any,
    reports: Any,
    log_to_console: bool,
) -> None:
    """Body of one worker process."""
    # Ctrl-C reaches the whole group; the launcher alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ["LOCAL_RANK"] = str(rank)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    if rank == 0:
        handlers: list[logging.Handler] = [logging.FileHandler(paths.out / "train.log")]
        if log_to_console:
            handlers.append(logging.StreamHandler())
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=handlers)
    launcher = os.getppid()

    def should_stop() -> bool:
        return stop.is_set() or os.getppid() != launcher

    train(
        experiment,
        paths,
        stock,
        rank=rank,
        workers=workers,
        should_stop=should_stop,
        report=lambda *report: reports.put(report),
    )
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _environment() -> dict[str, str]:
    """What the workers inherit: memory settings, and where they meet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return WORKER_ENVIRONMENT | meeting


@contextmanager
def _display(on_terminal: bool) -> Iterator[ReportTo]:
    """What shows how the run goes: a progress bar, or nothing."""
    if not on_terminal:
        yield lambda done, remark: None
        return
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda done, remark: progress.update(task, completed=done, description=remark)


def _pass_on(reports: Any, show: ReportTo) -> None:
    while True:
        try:
            show(*reports.get_nowait())
        except queue.Empty:
            return
