"""What the batchers tell whoever counts for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, Protocol

log = logging.getLogger(__name__)

DropReason = Literal["cancelled", "late", "full"]


class BatchObserver(Protocol):
    """Is told what the batcher of a `stage` does; called in many threads, must be quick."""

    def batch_done(self, stage: str, size: int, seconds: float) -> None:
        """A batch of `size` items took `seconds` in the function."""

    def queue_depth(self, stage: str, items: int) -> None:
        """`items` wait now."""

    def dropped(self, stage: str, reason: DropReason, items: int) -> None:
        """`items` were dropped before they ran, or refused because the queue was full."""


class SafeObserver:
    """Tells an observer, if there is one, of one stage.

    An observer that fails neither ends a dispatcher nor fails a request: it is logged, once.
    """

    def __init__(self, stage: str, observer: BatchObserver | None) -> None:
        self._stage = stage
        self._observer = observer
        self._failed = False

    def batch_done(self, size: int, seconds: float) -> None:
        """See `BatchObserver`."""
        self._tell(lambda to: to.batch_done(self._stage, size, seconds))

    def queue_depth(self, items: int) -> None:
        """See `BatchObserver`."""
        self._tell(lambda to: to.queue_depth(self._stage, items))

    def dropped(self, reason: DropReason, items: int = 1) -> None:
        """See `BatchObserver`."""
        self._tell(lambda to: to.dropped(self._stage, reason, items))

    def _tell(self, call: Callable[[BatchObserver], None]) -> None:
        if self._observer is None:
            return
        try:
            call(self._observer)
        except Exception:
            if not self._failed:
                self._failed = True
                log.exception("the observer of the batches fails; this is said once")
