"""Micro-batching: many callers, one function that is fastest on several items at once.

Callers in any thread `submit` items; one dispatcher thread gathers up to `max_batch` of
them, waiting at most `max_wait` seconds after the oldest arrived, runs the function and
hands every caller its answer.  Items keep their order of arrival.  The queue is bounded,
an item whose deadline passed or whose caller cancelled is dropped before it costs
anything, an error of the function reaches the callers of that batch and nobody else, an
error in place of an answer reaches that item's caller alone, and closing finishes what was
accepted.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from service.deadline import Deadline
from service.errors import DeadlinePassed, NotReady, QueueFull

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_LATE = "The answer was not ready within the request's time."


class BatchObserver(Protocol):
    """Is told what the batcher does; called in the batcher's threads, must be quick."""

    def batch_done(self, size: int, seconds: float) -> None:
        """A batch of `size` items took `seconds` in the function."""

    def queue_depth(self, items: int) -> None:
        """`items` wait now."""


@dataclass(eq=False)
class _Entry(Generic[Item, Answer]):
    item: Item
    deadline: Deadline
    answer: Future[Answer] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class MicroBatcher(Generic[Item, Answer]):
    """A bounded queue and a dispatcher thread in front of `run`.

    Args:
        run: answers a batch, one answer or error per item in the same order.  Called in
            the dispatcher thread only, so it needs no lock of its own.
        max_batch: most items of one call, >= 1.
        max_wait: seconds that the oldest item may wait for company, >= 0.
        capacity: items that may wait.  A group of items that arrives together is taken
            while there is room for its first, so that a group larger than the capacity
            is not refused for ever; the queue therefore exceeds `capacity` by less than
            one group.
        observer: is told batch sizes, timings and the queue's depth; its errors are logged.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Answer | Exception]],
        *,
        max_batch: int,
        max_wait: float,
        capacity: int,
        observer: BatchObserver | None = None,
    ) -> None:
        if max_batch < 1 or capacity < 1 or max_wait < 0:
            raise ValueError("max_batch and capacity must be >= 1 and max_wait >= 0")
        self._run = run
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._capacity = capacity
        self._observer = observer
        self._observer_failed = False
        self._queue: deque[_Entry[Item, Answer]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._batch_seconds = 0.0  # smoothed, for `retry_after`
        self._thread = threading.Thread(target=self._dispatch, name="batcher", daemon=True)
        self._thread.start()

    def ask(self, items: Sequence[Item], deadline: Deadline | None = None) -> list[Answer]:
        """Submit `items` and wait for all their answers, in the order of the items.

        Raises:
            QueueFull: there is no room; nothing of the group was taken.
            DeadlinePassed: the answers did not come in time; the items not yet begun are
                withdrawn.
            NotReady: the batcher is closing.
            Exception: whatever `run` raised for a batch that held one of the items, or
                answered to one of them.
        """
        deadline = deadline or Deadline()
        answers = self.submit(items, deadline)
        try:
            return [self._wait(answer, deadline) for answer in answers]
        except BaseException:
            for answer in answers:
                answer.cancel()
            raise

    def submit(self, items: Sequence[Item], deadline: Deadline) -> list[Future[Answer]]:
        """Queue `items` and return a future for each; cancel a future to withdraw its item.

        Raises:
            QueueFull: there is no room; nothing of the group was taken.
            DeadlinePassed: the deadline has passed already.
            NotReady: the batcher is closing.
        """
        deadline.check()
        entries: list[_Entry[Item, Answer]] = [_Entry(item, deadline) for item in items]
        with self._changed:
            if self._closing:
                raise NotReady("The server is shutting down.")
            if len(self._queue) >= self._capacity:
                self._sweep()
            if entries and len(self._queue) >= self._capacity:
                raise QueueFull("Too many faces are waiting.", self._retry_after())
            self._queue.extend(entries)
            self._tell(lambda observer: observer.queue_depth(len(self._queue)))
            self._changed.notify_all()
        return [entry.answer for entry in entries]

    @property
    def alive(self) -> bool:
        """Whether submitted items will be answered, or were closed off in an orderly way."""
        return self._closing or self._thread.is_alive()

    def close(self, timeout: float | None = None) -> bool:
        """Refuse new items and finish those accepted; whether that was done in `timeout`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @staticmethod
    def _wait(answer: Future[Answer], deadline: Deadline) -> Answer:
        remaining = deadline.remaining
        try:
            return answer.result(None if remaining == math.inf else remaining)
        except (FutureTimeout, CancelledError):
            # It may be done by now, or a TimeoutError may be what `run` raised.
            if answer.done() and not answer.cancelled():
                return answer.result()
            raise DeadlinePassed(_LATE) from None

    def _dispatch(self) -> None:
        # No name here holds a batch: items must not outlive their answers until the next ones.
        while self._answer(self._gather()):
            pass

    def _answer(self, batch: list[_Entry[Item, Answer]]) -> bool:
        """Run a batch and hand out its answers; False when it is empty."""
        if not batch:
            return False
        started = time.monotonic()
        try:
            answers = self._run([entry.item for entry in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to a batch of {len(batch)}")
        except BaseException as error:  # noqa: B036  a dead dispatcher would hang every caller
            for entry in batch:
                entry.answer.set_exception(error)
        else:
            for entry, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Exception):
                    entry.answer.set_exception(answer)
                else:
                    entry.answer.set_result(answer)
        seconds = time.monotonic() - started
        self._batch_seconds += (seconds - self._batch_seconds) * 0.2
        self._tell(lambda observer: observer.batch_done(len(batch), seconds))
        return True

    def _gather(self) -> list[_Entry[Item, Answer]]:
        """Wait for the next batch; empty only when closing and nothing is left."""
        batch: list[_Entry[Item, Answer]] = []
        with self._changed:
            while not batch:
                while not self._queue:
                    if self._closing:
                        return []
                    self._changed.wait()
                until = self._queue[0].arrived + self._max_wait
                while len(self._queue) < self._max_batch and not self._closing:
                    if (remaining := until - time.monotonic()) <= 0:
                        break
                    self._changed.wait(remaining)
                batch = self._take()
                self._tell(lambda observer: observer.queue_depth(len(self._queue)))
        return batch

    def _take(self) -> list[_Entry[Item, Answer]]:
        """Take the next items that somebody still wants off the queue, at most `max_batch`."""
        batch: list[_Entry[Item, Answer]] = []
        while self._queue and len(batch) < self._max_batch:
            entry = self._queue.popleft()
            if self._wanted(entry) and entry.answer.set_running_or_notify_cancel():
                batch.append(entry)
        return batch

    def _sweep(self) -> None:
        """Make room by dropping the waiting items that nobody wants any more."""
        self._queue = deque(entry for entry in self._queue if self._wanted(entry))

    @staticmethod
    def _wanted(entry: _Entry[Item, Answer]) -> bool:
        """Whether a caller still waits for this item; one who waits too long is told."""
        if entry.answer.cancelled():
            return False
        if entry.deadline.remaining > 0:
            return True
        if entry.answer.set_running_or_notify_cancel():
            entry.answer.set_exception(DeadlinePassed(_LATE))
        return False

    def _tell(self, news: Callable[[BatchObserver], None]) -> None:
        # Counting must neither end the dispatcher nor fail a request.
        if self._observer is None:
            return
        try:
            news(self._observer)
        except Exception:
            if not self._observer_failed:
                self._observer_failed = True
                log.exception("the observer of the batches fails; this is said once")

    def _retry_after(self) -> int:
        batches = math.ceil(len(self._queue) / self._max_batch)
        return max(1, math.ceil(batches * self._batch_seconds))
