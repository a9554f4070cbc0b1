"""How long an answer may take, and whether anybody still waits for it."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

from facewright.service.errors import DeadlinePassed

Result = TypeVar("Result")

LATE = "The answer was not ready within the request's time."


class Deadline:
    """A point in time that work on one request looks at between its steps.

    Thread safe.  `cancel` is for a client that went away: the work stops at its next
    `check` just as if time had run out.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self._at = time.monotonic() + seconds
        self._cancelled = threading.Event()

    @property
    def remaining(self) -> float:
        """Seconds left, never negative, `inf` without a limit."""
        return 0.0 if self._cancelled.is_set() else max(0.0, self._at - time.monotonic())

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `DeadlinePassed` when no time is left."""
        if self.remaining <= 0:
            raise DeadlinePassed(LATE)

    def wait_for(self, answer: Future[Result]) -> Result:
        """The result of `answer`, or what it raises; `DeadlinePassed` when it comes too late."""
        remaining = self.remaining
        try:
            return answer.result(None if remaining == math.inf else remaining)
        except (FutureTimeout, CancelledError):
            # It may be done by now, or a TimeoutError may be what the work raised.
            if answer.done() and not answer.cancelled():
                return answer.result()
            raise DeadlinePassed(LATE) from None
