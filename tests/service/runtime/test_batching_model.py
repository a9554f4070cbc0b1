"""The micro-batcher against a model of its queue, and under a crowd that comes and goes."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from facewright.service.errors import DeadlinePassed, QueueFull
from facewright.service.runtime.batching import MicroBatcher
from facewright.service.runtime.deadline import Deadline

MAX_BATCH, CAPACITY, BATCH_BYTES, CAPACITY_BYTES = 4, 10, 12, 30
PATIENCE = 10

Item = tuple[int, int, bool]
"""A number of its own, its bytes, and whether the function fails on it."""


class _Request:
    def __init__(self) -> None:
        self.deadline = Deadline()
        self.waiting: list[Item] = []


class QueueMachine(RuleBasedStateMachine):
    """Holds the function at every call, so that each batch can be foretold from the model."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: queue.Queue[list[Item]] = queue.Queue()
        self.go: queue.Queue[None] = queue.Queue()
        self.batcher: MicroBatcher[Item, int] = MicroBatcher(
            self._run,
            max_batch=MAX_BATCH,
            capacity=CAPACITY,
            weigh=lambda item: item[1],
            batch_bytes=BATCH_BYTES,
            capacity_bytes=CAPACITY_BYTES,
        )
        self.turns: list[_Request] = []
        self.futures: dict[Item, Future[int]] = {}
        self.owner: dict[Item, _Request] = {}
        self.to_call: list[list[Item]] = []  # the batch in the function, then halves to come
        self.numbers = 0

    def _run(self, items: Sequence[Item]) -> list[int]:
        self.calls.put(list(items))
        self.go.get(timeout=PATIENCE)
        if any(bad for _, _, bad in items):
            raise ValueError("bad")
        return [2 * number for number, _, _ in items]

    # --- the model ----------------------------------------------------------------------------

    def _waits(self, item: Item) -> bool:
        return not self.futures[item].cancelled() and self.owner[item].deadline.remaining > 0

    def _sweep(self) -> None:
        for request in self.turns:
            request.waiting = [item for item in request.waiting if self._waits(item)]
        self.turns = [request for request in self.turns if request.waiting]

    def _full(self) -> bool:
        waiting = [item for request in self.turns for item in request.waiting]
        return len(waiting) >= CAPACITY or sum(item[1] for item in waiting) >= CAPACITY_BYTES

    def _next_batch(self) -> list[Item]:
        batch: list[Item] = []
        while self.turns and len(batch) < MAX_BATCH:
            request = self.turns[0]
            item = request.waiting[0]
            if batch and sum(i[1] for i in batch) + item[1] > BATCH_BYTES:
                break
            request.waiting.pop(0)
            if self._waits(item):
                batch.append(item)
                self.turns.append(self.turns.pop(0))
            if not request.waiting:
                self.turns.remove(request)
        return batch

    def _expect_a_call(self) -> None:
        if not self.to_call and (batch := self._next_batch()):
            self.to_call = [batch]
        if self.to_call:
            assert self.calls.get(timeout=PATIENCE) == self.to_call[0]

    # --- what may happen ----------------------------------------------------------------------

    @rule(
        sizes=st.lists(st.tuples(st.integers(1, 14), st.booleans()), min_size=1, max_size=12),
        same=st.booleans(),
    )
    def submit(self, sizes: list[tuple[int, bool]], same: bool) -> None:
        request = self.turns[-1] if same and self.turns else _Request()
        items = [(self.numbers + i, size, bad) for i, (size, bad) in enumerate(sizes)]
        self.numbers += len(items)
        idle = not self.to_call
        if request.deadline.remaining <= 0:
            with pytest.raises(DeadlinePassed):
                self.batcher.submit(items, request.deadline)
            return
        if self._full():
            self._sweep()
        if self._full():
            with pytest.raises(QueueFull) as refusal:
                self.batcher.submit(items, request.deadline)
            assert refusal.value.retry_after >= 1
            return
        if request not in self.turns:  # a new one, or swept away just now
            self.turns.append(request)
        request.waiting += items
        # The futures must be known before the dispatcher can be ahead of the model.
        for item, future in zip(items, self.batcher.submit(items, request.deadline), strict=True):
            self.futures[item], self.owner[item] = future, request
        if idle:
            self._expect_a_call()

    @precondition(lambda self: any(request.waiting for request in self.turns))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        waiting = [item for request in self.turns for item in request.waiting]
        item = data.draw(st.sampled_from(waiting))
        assert self.futures[item].cancel() or self.futures[item].done()

    @precondition(lambda self: self.turns)
    @rule(data=st.data())
    def time_out(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.turns)).deadline.cancel()

    @precondition(lambda self: self.to_call)
    @rule()
    def finish_the_call(self) -> None:
        batch = self.to_call.pop(0)
        late = [item for item in batch if self.owner[item].deadline.remaining <= 0]
        self.go.put(None)
        if not any(bad for _, _, bad in batch):
            assert [self.futures[i].result(PATIENCE) for i in batch] == [2 * i[0] for i in batch]
        elif len(batch) == 1:
            with pytest.raises(ValueError, match="bad"):
                self.futures[batch[0]].result(PATIENCE)
        else:
            middle = len(batch) // 2
            halves = [
                [item for item in half if item not in late]
                for half in (batch[:middle], batch[middle:])
            ]
            self.to_call[:0] = [half for half in halves if half]
        # A half's deadline is looked at when its turn comes: ahead of that nothing changes here,
        # because requests in the function are no longer in `turns` once they are all in it.
        while self.to_call and not (self._still(0)):
            self.to_call.pop(0)
        self._expect_a_call()

    def _still(self, index: int) -> list[Item]:
        """A half without the items that became late since it was cut."""
        half = self.to_call[index]
        half[:] = [item for item in half if self.owner[item].deadline.remaining > 0]
        return half

    # --- what always holds --------------------------------------------------------------------

    @invariant()
    def the_dispatcher_lives_and_does_not_run_ahead(self) -> None:
        assert self.batcher.alive
        assert self.calls.empty()

    def teardown(self) -> None:
        while self.to_call:
            self.finish_the_call()
        assert self.batcher.close(PATIENCE)
        for future in self.futures.values():
            assert future.done()


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestQueue = QueueMachine.TestCase


@pytest.mark.parametrize("dispatchers", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_that_comes_and_goes(seed: int, dispatchers: int) -> None:
    """Eight callers submit, cancel and run out of time; nobody waits in vain or is mixed up."""
    calls = threading.Semaphore(0)

    def run(items: Sequence[int]) -> list[int]:
        calls.release()
        if any(item % 50 == 0 for item in items):
            raise MemoryError
        return [2 * item for item in items]

    batcher: MicroBatcher[int, int] = MicroBatcher(
        run,
        max_batch=8,
        capacity=40,
        weigh=lambda item: 100,
        capacity_bytes=5000,
        dispatchers=dispatchers,
    )

    def caller(number: int) -> dict[str, int]:
        dice = random.Random(1000 * seed + number)
        seen = dict.fromkeys(("answered", "failed", "cancelled", "late", "full"), 0)
        for _ in range(150):
            items = [dice.randrange(1, 1000) for _ in range(dice.choice((1, 1, 1, 16)))]
            deadline = Deadline(dice.choice((PATIENCE, PATIENCE, 0.0005)))
            try:
                futures = batcher.submit(items, deadline)
            except (QueueFull, DeadlinePassed) as refusal:
                seen["full" if isinstance(refusal, QueueFull) else "late"] += len(items)
                continue
            if dice.random() < 0.3:
                dice.choice(futures).cancel()
            if dice.random() < 0.1:
                deadline.cancel()
            for item, future in zip(items, futures, strict=True):
                try:
                    assert future.result(PATIENCE) == 2 * item
                    assert item % 50
                    seen["answered"] += 1
                except MemoryError:
                    assert item % 50 == 0
                    seen["failed"] += 1
                except CancelledError:
                    seen["cancelled"] += 1
                except DeadlinePassed:
                    seen["late"] += 1
        return seen

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(caller, range(8)))
    assert batcher.close(PATIENCE)
    total = {name: sum(each[name] for each in seen) for name in seen[0]}
    assert min(total.values()) > 0, total
    assert batcher._items == batcher._bytes == 0
