"""The line that tells how far a run is; on a terminal only."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class BulkProgress:
    """Counts what is done and shows it; used in a `with` block.

    Args:
        console: nothing is shown while the run goes on unless it is a terminal.
        photos: how many there are in all.
    """

    def __init__(self, console: Console, photos: int) -> None:
        self.photos = self.faces = 0
        self.failed: Counter[str] = Counter()
        self._before = 0
        self._began = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} photos"),
            BarColumn(None),
            TextColumn("{task.fields[rate]:.1f} photos/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}", style="yellow"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=photos, rate=0.0, failed="")

    def __enter__(self) -> BulkProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def rate(self) -> float:
        """Photos per second of this start."""
        return (self.photos - self._before) / max(time.monotonic() - self._began, 1e-9)

    def count(self, summary: dict[str, Any], *, before: bool = False) -> None:
        """Count a part that has been done, now or before this start."""
        self.photos += summary["photos"]
        self._before += summary["photos"] if before else 0
        self.faces += summary["faces"]
        self.failed.update(summary["failed"])
        self._bar.update(self._task, completed=self.photos, rate=self.rate, failed=self.failures())

    def failures(self) -> str:
        """How many photos failed, by code."""
        by_code = ", ".join(f"{code} {count:,}" for code, count in self.failed.most_common())
        return f"{self.failed.total():,} failed{f' ({by_code})' if by_code else ''}"
