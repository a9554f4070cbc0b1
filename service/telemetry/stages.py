"""Timing the stages of one photo's way through the service.

In order: `decode` (bytes to pixels), `detect` (faces), `regress` (coefficients), `recognize`
(embeddings, of albums, if there is a network for them), `reconstruct` (geometry), `segment` (what
hides the skin), `texture` (image of the skin), `mesh` (files), `overlay` (picture of all faces),
`encode` (answer).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

StageSpan = Callable[[str], AbstractContextManager[object]]

stage_span: ContextVar[StageSpan] = ContextVar("stage_span", default=lambda name: nullcontext())
"""What surrounds each stage of the present request, given its name: a trace's span, if there is
one.  Threads that work on a request run in a copy of its context."""


class StageClock:
    """Seconds spent per stage; a stage inside another is not counted twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time inside the `with` block to the stage `name`."""
        outer_inner, self._inner = self._inner, 0.0
        started = time.perf_counter()
        try:
            with stage_span.get()(name):
                yield
        finally:
            elapsed = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed - self._inner
            self._inner = outer_inner + elapsed

    def server_timing(self) -> str:
        """The header `Server-Timing`: every stage in milliseconds."""
        return ", ".join(f"{name};dur={1000 * s:.1f}" for name, s in self.seconds.items())


class SharedClock(StageClock):
    """The sum of the clocks of works that run side by side; thread safe but for `stage`.

    Each work has a clock of its own, which is shown to `observe` when the work ends.
    """

    def __init__(self, observe: Callable[[StageClock], None] = lambda clock: None) -> None:
        super().__init__()
        self._observe = observe
        self._lock = threading.Lock()

    @contextmanager
    def child(self) -> Iterator[StageClock]:
        """A clock for the work inside the `with` block."""
        clock = StageClock()
        try:
            yield clock
        finally:
            with self._lock:
                for name, seconds in clock.seconds.items():
                    self.seconds[name] = self.seconds.get(name, 0.0) + seconds
            self._observe(clock)
