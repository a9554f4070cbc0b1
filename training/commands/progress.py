"""What commands show of their work, how they are stopped, and how they end when it fails."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    track,
)

from facewright.training.trainer.signals import LOG_FORMAT, handling_signals


@contextmanager
def failing_in_one_line(command: str) -> Iterator[None]:
    """What is wrong with the input ends the command with one line and exit code 1."""
    try:
        yield
    except (KeyError, ValueError, OSError) as error:
        typer.echo(f"{command} failed: {error}", err=True)
        raise typer.Exit(1) from error


def showing(description: str) -> Callable[[Iterable[int]], Iterable[int]]:
    """What wraps a loop over rows to show its progress."""
    return lambda rows: track(rows, description=description, console=Console(stderr=True))


@contextmanager
def asked_to_stop() -> Iterator[Event]:
    """Whether Ctrl-C or SIGTERM has asked a run to stop; its log goes to the terminal."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    stop = Event()
    with handling_signals(lambda number, frame: stop.set()):
        yield stop


@contextmanager
def run_progress() -> Iterator[Callable[[float, str], None]]:
    """Show a bar of a run; gives what is called with the part that is done and a remark."""
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=1.0)
        yield lambda done, remark: progress.update(task, completed=done, description=remark)


@contextmanager
def kept_when_stopped() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the making of shards with one line and exit code 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped; the same command goes on from the complete shards.", err=True)
        raise typer.Exit(130) from None


@contextmanager
def portraits_progress(count: int, completed: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a bar of `count` portraits; gives what is called with the number of new ones."""
    columns = (
        TextColumn("portraits"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with kept_when_stopped(), Progress(*columns) as progress:
        bar = progress.add_task("portraits", total=count, completed=completed)
        yield lambda n: progress.advance(bar, n)
