"""How many processors this process may use, in a container as well as on a machine."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_processors(quota_file: Path = _CGROUP_QUOTA) -> int:
    """The processors that the scheduler offers, or a container's quota if that is less; >= 1.

    A container sees all cores of its node; what it may use of them is in `quota_file`, in the
    form of cgroup v2: microseconds (or `max`) and the period they are granted in.  A part of
    a processor counts as a whole one.
    """
    if hasattr(os, "sched_getaffinity"):
        offered = len(os.sched_getaffinity(0))
    else:
        offered = os.cpu_count() or 1
    return max(1, min(offered, math.ceil(_quota(quota_file) or offered)))


class Processors:
    """Who computes on how many of `count` processors; thread safe."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._waiting: deque[object] = deque()  # who comes first is served first
        self._changed = threading.Condition()

    @contextmanager
    def take(self, wanted: int) -> Iterator[None]:
        """Hold so many of them, 1..`count`, for the length of the `with` block; waits its turn.

        In the order of coming: else who wants all of them would wait while others come and go.
        """
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            self._changed.wait_for(lambda: self._waiting[0] is turn and self._free >= wanted)
            self._waiting.popleft()
            self._free -= wanted
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


def _quota(file: Path) -> float | None:
    """Processors granted; None without a quota or where cgroup v2 is not in use."""
    try:
        granted, period = file.read_text("ascii").split()
        return int(granted) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
