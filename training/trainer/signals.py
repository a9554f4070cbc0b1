"""How a run is asked to stop, and the form of its log."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOG_FORMAT = "%(asctime)s %(message)s"


@contextmanager
def handling_signals(handler: Any) -> Iterator[None]:
    """SIGINT and SIGTERM go to `handler` for a while."""
    old = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former in old.items():
            signal.signal(number, former)
