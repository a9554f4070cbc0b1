"""Taking in work: how many photos arrive, how many are admitted, and who works on them.

The event loop only moves bytes; everything that computes runs on the threads of a `WorkerPool`.
Uploads and admitted photos are bounded one by one, so memory is bounded as well as
processor time, and clients that send slowly take no slot from photos that are there.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from facewright.service.errors import DeadlinePassed, QueueFull
from facewright.service.runtime.deadline import LATE, Deadline

Item = TypeVar("Item")
Result = TypeVar("Result")

_SMOOTHING = 0.2
_LONGEST_RETRY = 60
"""Seconds; a client that waits longer has better things to do."""


class Slots:
    """A bounded number of slots; thread safe.

    Args:
        capacity: how many there are, >= 1.
        full: what to tell who finds none.
        observe: is told the number of slots taken when it changes.
    """

    def __init__(self, capacity: int, full: str, observe: Callable[[float], None]) -> None:
        self._capacity = capacity
        self._full = full
        self._observe = observe
        self._taken = 0
        self._interval = 0.0  # seconds between two that leave, smoothed
        self._since = time.monotonic()  # the last one left, or the first one came
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise `QueueFull` while all slots are taken.

        It tells to come back when those who are here now will have left, at the present rate.
        """
        if self._taken >= self._capacity:
            seconds = math.ceil(self._taken * self._interval)
            raise QueueFull(self._full, min(max(1, seconds), _LONGEST_RETRY))

    def take(self) -> None:
        """Take a slot; raises `QueueFull` when there is none."""
        with self._lock:
            self.check()
            if not self._taken:
                self._since = time.monotonic()
            self._taken += 1
            self._observe(self._taken)

    def give_back(self) -> None:
        """Leave a slot to others."""
        with self._lock:
            now = time.monotonic()
            self._interval += (now - self._since - self._interval) * _SMOOTHING
            self._since = now
            self._taken -= 1
            self._observe(self._taken)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold a slot for the length of the `with` block; raises `QueueFull`."""
        self.take()
        try:
            yield
        finally:
            self.give_back()


def map_bounded(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], parallel: int
) -> Iterator[Result]:
    """Yield the results of `work` on `items`, in order; see `WorkerPool.map`."""
    running: deque[Future[Result]] = deque()
    try:
        for item in items:
            if len(running) >= parallel:
                yield running.popleft().result()
            running.append(pool.submit(contextvars.copy_context().run, work, item))
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()
        wait(running)


class WorkerPool:
    """A thread pool that admits at most `concurrency + max_waiting` photos at a time.

    Args:
        concurrency: threads, >= 1.
        max_waiting: admitted photos beyond those that have a thread, >= 0.
        observe: is told the number of admitted photos when it changes.
        of: what is admitted, in the plural.
    """

    def __init__(
        self,
        concurrency: int,
        max_waiting: int,
        observe: Callable[[float], None],
        of: str = "photos",
    ) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix=of)
        self._slots = Slots(concurrency + max_waiting, f"Too many {of} are waiting.", observe)

    def check(self) -> None:
        """Raise `QueueFull` while no more are admitted: a photo need not even be sent."""
        self._slots.check()

    @contextmanager
    def admit(self) -> Iterator[Ticket]:
        """Admit one photo for the length of the `with` block and of the work begun in it.

        Raises:
            QueueFull: no more are admitted.
        """
        self._slots.take()
        ticket = Ticket(self._pool, self._slots.give_back)
        try:
            yield ticket
        finally:
            ticket.leave()

    def map(
        self, work: Callable[[Item], Result], items: Iterable[Item], parallel: int
    ) -> Iterator[Result]:
        """Yield the results of `work` on `items`, in order, computed on this pool's threads.

        For work that another pool has admitted, such as the photos of an album: it waits for
        threads like any other, but takes no slots.  At most `parallel` items are in hand, so
        others get their turn, and results that nobody takes hold the rest up.  When the
        iterator is closed, or an item fails, the others in hand are waited for and no more are
        begun.  Must not be called on a thread of this pool, which would wait for itself.
        """
        return map_bounded(self._pool, work, items, parallel)

    def close(self) -> None:
        """Wait for the work in hand and end the threads."""
        self._pool.shutdown(wait=True)


class Ticket:
    """The right of one photo to be worked on; see `WorkerPool.admit`."""

    def __init__(self, pool: ThreadPoolExecutor, give_back: Callable[[], object]) -> None:
        self._pool = pool
        self._give_back = give_back
        self._work: Future[object] | None = None

    async def run(self, work: Callable[[], Result], deadline: Deadline) -> Result:
        """Run `work` on a thread, in the caller's context; call once.

        When time runs out, or the caller is cancelled, `deadline` is cancelled: work that
        looks at it ends early.  Until it does, the slot stays taken.

        Raises:
            DeadlinePassed: no result in time.
            Exception: whatever `work` raised.
        """
        context = contextvars.copy_context()
        future: Future[Result] = self._pool.submit(context.run, work)
        self._work = future  # type: ignore[assignment]
        waiting = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait((waiting,), timeout=deadline.remaining)
            if not done:
                raise DeadlinePassed(LATE)
            return waiting.result()
        finally:
            future.cancel()
            waiting.cancel()
            deadline.cancel()

    def leave(self) -> None:
        """Give the slot back, at once or when the thread lets go of the work."""
        if self._work is None:
            self._give_back()
        else:
            self._work.add_done_callback(lambda _: self._give_back())
