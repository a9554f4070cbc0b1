"""Micro-batching: many callers, one function that is fastest on several items at once.

Callers in any thread `submit` items (a coroutine awaits them with `asyncio.wrap_future`) or `ask`
for their answers.  A dispatcher thread, or one of several, runs the function on what waits,
bounded by count and bytes, whenever it is free; batches grow by themselves while all are busy, and
nobody else waits for company.  Who asks while nobody else waits and a dispatcher is free takes its
place and runs the function in the thread that asks: to wake two sleeping threads one after the
other takes up to half a millisecond on a virtual machine.

Items submitted with the same `Deadline` belong to one request.  Requests take turns, item by
item, so that an album of 64 does not hold up a single photo; within a request items keep their
order.  An item whose deadline passed or whose caller cancelled is dropped before it costs
anything.  When the function fails on a batch, out of memory or because of one item, each half
is tried on its own: a bad item fails alone.  Closing finishes what was accepted.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from facewright.service.errors import DeadlinePassed, NotReady, QueueFull
from facewright.service.runtime.batch_events import BatchObserver, SafeObserver
from facewright.service.runtime.deadline import LATE, Deadline

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_SMOOTHING = 0.2


@dataclass(eq=False)
class _Entry(Generic[Item, Answer]):
    item: Item
    bytes: int
    deadline: Deadline
    answer: Future[Answer] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class MicroBatcher(Generic[Item, Answer]):
    """A bounded queue and dispatcher threads in front of `run`.

    Args:
        run: answers a batch, one answer or error per item in the same order.  Called in the
            dispatcher threads and in those that ask.  It is called again with parts of a batch
            when it raises.
        dispatchers: how many calls of `run` there may be at a time, >= 1; they share what waits.
        stage: name for the observer and the threads.
        max_batch: most items of one call, >= 1.
        capacity: items that may wait.
        weigh: bytes of an item; by default nothing is weighed.
        batch_bytes: most bytes of one call; an item of more goes alone.
        capacity_bytes: bytes that may wait.  A request's items that arrive together are taken
            while there is any room, so that a group larger than the queue is not refused for
            ever; the queue exceeds its bounds by less than one group.
        max_delay: seconds that the oldest item may wait for company, >= 0.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Answer | Exception]],
        *,
        max_batch: int,
        capacity: int,
        stage: str = "batch",
        weigh: Callable[[Item], int] = lambda item: 0,
        batch_bytes: float = math.inf,
        capacity_bytes: float = math.inf,
        max_delay: float = 0.0,
        dispatchers: int = 1,
        observer: BatchObserver | None = None,
    ) -> None:
        if min(max_batch, capacity, batch_bytes, capacity_bytes, dispatchers) < 1 or max_delay < 0:
            raise ValueError("limits must be >= 1 and max_delay >= 0")
        self._run, self._weigh = run, weigh
        self._max_batch, self._batch_bytes = max_batch, batch_bytes
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self._max_delay, self._observer = max_delay, SafeObserver(stage, observer)
        self._waiting: dict[Deadline, deque[_Entry[Item, Answer]]] = {}  # next turn first
        self._items = self._bytes = 0  # in `_waiting`
        self._changed = threading.Condition()
        self._closing = False
        self._item_seconds = 0.0  # smoothed, for `retry_after`
        self._running = 0  # calls of `run`, or about to be
        self._calls_began: dict[int, float] = {}  # by thread
        self._threads = [
            threading.Thread(target=self._dispatch, name=stage, daemon=True)
            for _ in range(dispatchers)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, items: Sequence[Item], deadline: Deadline | None = None) -> list[Answer]:
        """Submit `items` and wait for all their answers, in the order of the items.

        Raises:
            QueueFull: there is no room; nothing of the group was taken.
            DeadlinePassed: the answers did not come in time; the items not yet begun are
                withdrawn.  A call that runs in the caller's own thread is waited for.
            NotReady: the batcher is closing.
            Exception: whatever `run` raised for one of the items alone, or answered to it.
        """
        deadline = deadline or Deadline()
        answers, batch = self._queue(items, deadline, here=True)
        if batch:
            try:
                self._answer(batch)
            finally:
                batch.clear()
                self._leave()
        try:
            return [deadline.wait_for(answer) for answer in answers]
        except BaseException:
            for answer in answers:
                answer.cancel()
            raise

    def submit(self, items: Sequence[Item], deadline: Deadline) -> list[Future[Answer]]:
        """Queue `items` and return a future for each; cancel a future to withdraw its item.

        Raises `QueueFull`, `NotReady` and, if the time is over already, `DeadlinePassed`.
        """
        answers, _ = self._queue(items, deadline, here=False)
        return answers

    def _queue(
        self, items: Sequence[Item], deadline: Deadline, *, here: bool
    ) -> tuple[list[Future[Answer]], list[_Entry[Item, Answer]]]:
        """Queue `items`; their futures, and what the caller may answer itself if it is `here`."""
        deadline.check()
        entries = [_Entry[Item, Answer](item, self._weigh(item), deadline) for item in items]
        answers = [entry.answer for entry in entries]
        if not entries:
            return answers, []
        with self._changed:
            if self._closing:
                raise NotReady("The engine is closing.")
            if self._full():
                self._sweep()
            if self._full():
                self._observer.dropped("full", len(entries))
                seconds = math.ceil(self._items * self._item_seconds / len(self._threads))
                raise QueueFull("Too many faces are waiting.", max(1, seconds))
            self._waiting.setdefault(deadline, deque()).extend(entries)
            self._count(len(entries), sum(entry.bytes for entry in entries))
            self._observer.queue_depth(self._items)
            if here and self._free() and self._items == len(entries) and not self._max_delay:
                return answers, self._take()
            self._changed.notify()
        return answers, []

    @property
    def alive(self) -> bool:
        """Whether submitted items will be answered, or were closed off in an orderly way."""
        return self._closing or all(thread.is_alive() for thread in self._threads)

    @property
    def call_seconds(self) -> float:
        """For how long the longest present call of `run` has been going on; 0 without one."""
        with self._changed:
            began = min(self._calls_began.values(), default=math.inf)
        return max(0.0, time.monotonic() - began)

    def close(self, timeout: float | None = None) -> bool:
        """Refuse new items, finish those accepted; whether that was done in `timeout` seconds."""
        patience = Deadline(math.inf if timeout is None else timeout)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._running, timeout)
        for thread in self._threads:
            thread.join(None if timeout is None else patience.remaining)
        return not self._running and not any(thread.is_alive() for thread in self._threads)

    def _dispatch(self) -> None:
        # No name here holds a batch: items must not outlive their answers until the next ones.
        while self._answer(self._gather()):
            self._leave()

    def _free(self) -> bool:
        """Whether one more call may begin."""
        return self._running < len(self._threads)

    def _leave(self) -> None:
        """The call that `_take` began is over."""
        with self._changed:
            self._running -= 1
            self._wake()

    def _wake(self) -> None:
        """Let a dispatcher look again; and who closes, if somebody does."""
        if self._closing:
            self._changed.notify_all()
        elif self._waiting and self._free():
            self._changed.notify()

    def _answer(self, batch: list[_Entry[Item, Answer]]) -> bool:
        """Run a batch and hand out its answers, in halves if it fails; False when it is empty."""
        if not batch:
            return False
        thread = threading.get_ident()
        began = time.monotonic()
        with self._changed:
            self._calls_began[thread] = began
        answers = self._call([entry.item for entry in batch])
        seconds = time.monotonic() - began
        with self._changed:
            del self._calls_began[thread]
        if answers is None:
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                self._answer([entry for entry in half if not self._late(entry)])
            return True
        self._item_seconds += (seconds / len(batch) - self._item_seconds) * _SMOOTHING
        self._observer.batch_done(len(batch), seconds)
        for entry, answer in zip(batch, answers, strict=True):
            if isinstance(answer, BaseException):
                entry.answer.set_exception(answer)
            else:
                entry.answer.set_result(answer)
        return True

    def _call(self, items: list[Item]) -> Sequence[Answer | BaseException] | None:
        """Answers or errors for the items; None when they are better tried in halves."""
        try:
            answers = self._run(items)
            if len(answers) != len(items):
                raise RuntimeError(f"{len(answers)} answers to a batch of {len(items)}")
            return answers
        except BaseException as error:  # noqa: B036  a dead dispatcher would hang every caller
            # The error is let go before the halves are tried: its traceback holds memory.
            return None if isinstance(error, Exception) and len(items) > 1 else [error] * len(items)

    def _gather(self) -> list[_Entry[Item, Answer]]:
        """Wait for the next batch; empty only when closing and nothing is left."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._free() if self._waiting else self._closing)
                if not self._waiting:
                    return []
                if self._max_delay:
                    oldest = min(entries[0].arrived for entries in self._waiting.values())
                    self._changed.wait_for(
                        lambda: self._items >= self._max_batch or self._closing,
                        oldest + self._max_delay - time.monotonic(),
                    )
                if batch := self._take():
                    return batch

    def _take(self) -> list[_Entry[Item, Answer]]:
        """Take the next batch off the queue, an item of each request in turn, and begin a call.

        The call ends with `_leave`; there is none if the batch is empty.
        """
        batch: list[_Entry[Item, Answer]] = []
        room = self._batch_bytes
        share = math.ceil(self._items / len(self._threads))
        while self._waiting and len(batch) < min(share, self._max_batch):
            deadline, entries = next(iter(self._waiting.items()))
            if batch and entries[0].bytes > room:
                break
            entry = entries.popleft()
            self._count(-1, -entry.bytes)
            if self._wanted(entry) and entry.answer.set_running_or_notify_cancel():
                batch.append(entry)
                room -= entry.bytes
                del self._waiting[deadline]  # its next turn comes after everybody else's
                self._waiting[deadline] = entries
            if not entries:
                del self._waiting[deadline]
        self._observer.queue_depth(self._items)
        self._running += bool(batch)
        self._wake()
        return batch

    def _sweep(self) -> None:
        """Make room by dropping the waiting items that nobody wants any more."""
        for deadline, entries in list(self._waiting.items()):
            for entry in [entry for entry in entries if not self._wanted(entry)]:
                entries.remove(entry)
                self._count(-1, -entry.bytes)
            if not entries:
                del self._waiting[deadline]

    def _wanted(self, entry: _Entry[Item, Answer]) -> bool:
        """Whether a caller still waits for this item; one who waits too long is told."""
        if entry.answer.cancelled():
            self._observer.dropped("cancelled")
            return False
        return not self._late(entry)

    def _late(self, entry: _Entry[Item, Answer]) -> bool:
        if entry.deadline.remaining > 0:
            return False
        if entry.answer.running() or entry.answer.set_running_or_notify_cancel():
            entry.answer.set_exception(DeadlinePassed(LATE))
        self._observer.dropped("late")
        return True

    def _full(self) -> bool:
        return self._items >= self._capacity or self._bytes >= self._capacity_bytes

    def _count(self, items: int, weight: int) -> None:
        self._items, self._bytes = self._items + items, self._bytes + weight
