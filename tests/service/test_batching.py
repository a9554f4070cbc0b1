"""The micro-batcher: what is promised to callers, under load and when things go wrong."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching import MicroBatcher
from service.deadline import Deadline
from service.errors import DeadlinePassed, NotReady, QueueFull


class Doubler:
    """Doubles numbers, remembers its batches, and can be held until `gate` opens."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.entered.set()
        assert self.gate.wait(10)
        self.batches.append(list(items))
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [2 * item for item in items]


@pytest.fixture
def run() -> Doubler:
    return Doubler()


def batcher_for(run: Doubler, **options: float) -> MicroBatcher[int, int]:
    values = {"max_batch": 4, "max_wait": 0.01, "capacity": 8, **options}
    return MicroBatcher(run, **values)  # type: ignore[arg-type]


def occupy(batcher: MicroBatcher[int, int], run: Doubler) -> Future[int]:
    """Hold the dispatcher inside the function with one item until the gate opens."""
    run.gate.clear()
    run.entered.clear()
    (future,) = batcher.submit([1000], Deadline())
    assert run.entered.wait(5)
    return future


def test_answers_come_in_the_order_of_the_items(run: Doubler) -> None:
    batcher = batcher_for(run)
    assert batcher.ask([3, 1, 2, 5, 4, 6]) == [6, 2, 4, 10, 8, 12]
    assert run.batches == [[3, 1, 2, 5], [4, 6]]
    assert batcher.close(5)


def test_no_items_no_answers(run: Doubler) -> None:
    batcher = batcher_for(run)
    assert batcher.ask([]) == []
    assert batcher.close(5)
    assert run.batches == []


@settings(max_examples=25, deadline=None)
@given(
    groups=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=6), max_size=12),
    max_batch=st.integers(1, 5),
)
def test_every_caller_gets_its_own_answers(groups: list[list[int]], max_batch: int) -> None:
    run = Doubler()
    batcher = batcher_for(run, max_batch=max_batch, max_wait=0.001, capacity=1000)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(batcher.ask, groups))
    assert answers == [[2 * item for item in group] for group in groups]
    assert all(1 <= len(batch) <= max_batch for batch in run.batches)
    assert sorted(i for b in run.batches for i in b) == sorted(i for g in groups for i in g)
    assert batcher.close(5)


def test_callers_share_a_batch_within_the_wait(run: Doubler) -> None:
    batcher = batcher_for(run, max_wait=1.0)
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert sorted(f for [f] in pool.map(lambda i: batcher.ask([i]), range(4))) == [0, 2, 4, 6]
    assert len(run.batches) == 1
    assert time.monotonic() - started < 0.9  # a full batch does not wait
    assert batcher.close(5)


def test_a_lone_item_waits_no_longer_than_told(run: Doubler) -> None:
    batcher = batcher_for(run, max_wait=0.05)
    started = time.monotonic()
    batcher.ask([1])
    assert 0.04 < time.monotonic() - started < 1
    assert batcher.close(5)


def test_full_queue_is_refused_with_time_to_retry_and_recovers(run: Doubler) -> None:
    batcher = batcher_for(run, capacity=2)
    occupy(batcher, run)
    waiting = batcher.submit([1, 2], Deadline())
    with pytest.raises(QueueFull) as refusal:
        batcher.ask([3])
    assert refusal.value.retry_after >= 1
    run.gate.set()
    assert [future.result(5) for future in waiting] == [2, 4]
    assert batcher.ask([3]) == [6]
    assert [3] in run.batches
    assert batcher.close(5)


def test_a_group_larger_than_the_queue_is_taken_when_there_is_room(run: Doubler) -> None:
    batcher = batcher_for(run, capacity=2)
    assert batcher.ask(list(range(10))) == [2 * i for i in range(10)]
    assert batcher.close(5)


def test_a_passed_deadline_costs_nothing(run: Doubler) -> None:
    batcher = batcher_for(run)
    occupy(batcher, run)
    started = time.monotonic()
    with pytest.raises(DeadlinePassed):
        batcher.ask([7], Deadline(0.05))
    assert time.monotonic() - started < 1
    (late,) = batcher.submit([8], Deadline(0.05))
    time.sleep(0.1)
    run.gate.set()
    with pytest.raises(DeadlinePassed):
        late.result(5)
    assert batcher.ask([9]) == [18]
    assert run.batches == [[1000], [9]]
    with pytest.raises(DeadlinePassed):
        batcher.submit([1], Deadline(0))
    assert batcher.close(5)


def test_cancelled_and_late_items_make_room(run: Doubler) -> None:
    batcher = batcher_for(run, capacity=2)
    occupy(batcher, run)
    withdrawn, _ = batcher.submit([1], Deadline())[0], batcher.submit([2], Deadline(0.01))
    assert withdrawn.cancel()
    time.sleep(0.05)
    kept = batcher.submit([3, 4], Deadline())
    run.gate.set()
    assert [future.result(5) for future in kept] == [6, 8]
    assert run.batches == [[1000], [3, 4]]
    assert batcher.close(5)


def test_a_cancelled_item_is_dropped_from_its_batch(run: Doubler) -> None:
    batcher = batcher_for(run)
    occupy(batcher, run)
    first, second = batcher.submit([1, 2], Deadline())
    assert first.cancel()
    run.gate.set()
    assert second.result(5) == 4
    assert run.batches == [[1000], [2]]
    assert batcher.close(5)


def test_an_error_reaches_the_callers_of_its_batch_only(run: Doubler) -> None:
    batcher = batcher_for(run, max_batch=2)
    held = occupy(batcher, run)
    bad = batcher.submit([-1, 1], Deadline())
    good = batcher.submit([2, 3], Deadline())
    run.gate.set()
    assert held.result(5) == 2000
    for future in bad:
        with pytest.raises(ValueError, match="negative"):
            future.result(5)
    assert [future.result(5) for future in good] == [4, 6]
    with pytest.raises(ValueError, match="negative"):
        batcher.ask([-1])
    assert batcher.close(5)


def test_an_error_for_an_answer_reaches_its_own_caller_only() -> None:
    def run(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError("negative") if item < 0 else 2 * item for item in items]

    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_batch=3, max_wait=5, capacity=8)
    first, bad, last = batcher.submit([1, -1, 2], Deadline())
    assert (first.result(5), last.result(5)) == (2, 4)
    with pytest.raises(ValueError, match="negative"):
        bad.result(5)
    assert batcher.close(5)


def test_a_timeout_raised_by_the_function_is_not_taken_for_a_deadline() -> None:
    def run(items: Sequence[int]) -> list[int]:
        raise TimeoutError("of the function")

    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_batch=1, max_wait=0, capacity=1)
    with pytest.raises(TimeoutError, match="of the function"):
        batcher.ask([1], Deadline(5))
    assert batcher.close(5)


def test_a_wrong_number_of_answers_is_an_error_and_not_a_hang() -> None:
    batcher: MicroBatcher[int, int] = MicroBatcher(
        lambda items: [], max_batch=1, max_wait=0, capacity=1
    )
    with pytest.raises(RuntimeError, match="0 answers"):
        batcher.ask([1])
    assert batcher.close(5)


def test_closing_finishes_what_was_accepted(run: Doubler) -> None:
    batcher = batcher_for(run, capacity=20)
    occupied = occupy(batcher, run)
    waiting = batcher.submit(list(range(10)), Deadline())
    assert not batcher.close(0.05)
    with pytest.raises(NotReady):
        batcher.ask([1])
    run.gate.set()
    assert batcher.close(5)
    assert occupied.result(0) == 2000
    assert [future.result(0) for future in waiting] == [2 * i for i in range(10)]


def test_closing_does_not_wait_for_company(run: Doubler) -> None:
    batcher = batcher_for(run, max_wait=60)
    (answer,) = batcher.submit([1], Deadline())
    assert batcher.close(5)
    assert answer.result(0) == 2


def test_the_observer_sees_batches_and_depth(run: Doubler) -> None:
    class Observer:
        def __init__(self) -> None:
            self.sizes: list[int] = []
            self.depths: list[int] = []

        def batch_done(self, size: int, seconds: float) -> None:
            assert seconds >= 0
            self.sizes.append(size)

        def queue_depth(self, items: int) -> None:
            self.depths.append(items)

    observer = Observer()
    batcher = batcher_for(run, observer=observer)  # type: ignore[arg-type]
    batcher.ask(list(range(6)))
    assert batcher.close(5)
    assert observer.sizes == [4, 2]
    assert observer.depths == [6, 2, 0]


def test_a_failing_observer_harms_nobody(run: Doubler, caplog: pytest.LogCaptureFixture) -> None:
    class Observer:
        def batch_done(self, size: int, seconds: float) -> None:
            raise OSError("disk full")

        def queue_depth(self, items: int) -> None:
            raise OSError("disk full")

    batcher = batcher_for(run, observer=Observer())  # type: ignore[arg-type]
    for number in range(3):
        assert batcher.ask([number], Deadline(5)) == [2 * number]
    assert batcher.alive
    assert len(caplog.records) == 1
    assert batcher.close(5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_dispatcher_is_noticed(run: Doubler, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = batcher_for(run)
    assert batcher.alive

    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(batcher, "_take", fail)
    batcher.submit([1], Deadline())
    batcher._thread.join(5)
    assert not batcher.alive


def test_a_closed_batcher_did_not_die(run: Doubler) -> None:
    batcher = batcher_for(run)
    assert batcher.close(5)
    assert batcher.alive


def test_an_item_is_forgotten_with_its_answer() -> None:
    """Items are crops of faces: none may stay in memory until the next request."""

    class Crop:
        pass

    gate = threading.Event()

    def run(crops: Sequence[Crop]) -> list[int]:
        assert gate.wait(10)
        return [1] * len(crops)

    batcher: MicroBatcher[Crop, int] = MicroBatcher(run, max_batch=1, max_wait=0, capacity=8)
    crops = [Crop() for _ in range(4)]
    watched = [weakref.ref(crop) for crop in crops]
    (first,) = batcher.submit([crops[0]], Deadline())
    (second,) = batcher.submit([crops[1]], Deadline())
    batcher.submit([crops[2]], Deadline())[0].cancel()
    batcher.submit([crops[3]], Deadline(0.001))
    del crops
    time.sleep(0.01)
    gate.set()
    assert (first.result(5), second.result(5)) == (1, 1)
    patience = time.monotonic() + 5
    while any(crop() for crop in watched) and time.monotonic() < patience:
        time.sleep(0.01)
    assert [crop() for crop in watched] == [None] * 4
    assert batcher.close(5)


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"capacity": 0}, {"max_wait": -1}])
def test_limits_must_make_sense(run: Doubler, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        batcher_for(run, **wrong)
