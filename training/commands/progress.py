"""What the commands that draw portraits show of it, and how they are stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def portraits_progress(count: int, completed: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a bar of `count` portraits; gives what is called with the number of new ones.

    Ctrl-C and SIGTERM end the command with one line and exit code 130.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    columns = (
        TextColumn("portraits"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns) as progress:
            bar = progress.add_task("portraits", total=count, completed=completed)
            yield lambda n: progress.advance(bar, n)
    except KeyboardInterrupt:
        typer.echo("Stopped; the same command goes on from the complete shards.", err=True)
        raise typer.Exit(130) from None
