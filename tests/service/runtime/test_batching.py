"""The micro-batcher: what is promised to callers, under load and when things go wrong."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.service.errors import DeadlinePassed, NotReady, QueueFull
from facewright.service.runtime.batching import MicroBatcher
from facewright.service.runtime.deadline import Deadline

pytestmark = pytest.mark.xdist_group("clock")


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
    values = {"max_batch": 4, "max_delay": 0.0, "capacity": 8, **options}
    return MicroBatcher(run, **values)  # type: ignore[arg-type]


def occupy(batcher: MicroBatcher[int, int], run: Doubler) -> Future[int]:
    """Hold the dispatcher inside the function with one item until the gate opens."""
    run.gate.clear()
    run.entered.clear()
    (future,) = batcher.submit([1000], Deadline())
    assert run.entered.wait(5)
    return future


def until(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.001)


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
    batcher = batcher_for(run, max_batch=max_batch, max_delay=0.001, capacity=1000)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(batcher.ask, groups))
    assert answers == [[2 * item for item in group] for group in groups]
    assert all(1 <= len(batch) <= max_batch for batch in run.batches)
    assert sorted(i for b in run.batches for i in b) == sorted(i for g in groups for i in g)
    assert batcher.close(5)


def test_callers_share_a_batch_within_the_wait(run: Doubler) -> None:
    batcher = batcher_for(run, max_delay=1.0)
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert sorted(f for [f] in pool.map(lambda i: batcher.ask([i]), range(4))) == [0, 2, 4, 6]
    assert len(run.batches) == 1
    assert time.monotonic() - started < 0.9  # a full batch does not wait
    assert batcher.close(5)


def test_a_lone_item_waits_no_longer_than_told(run: Doubler) -> None:
    batcher = batcher_for(run, max_delay=0.05)
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


def test_a_bad_item_fails_alone(run: Doubler) -> None:
    batcher = batcher_for(run, max_batch=4)
    held = occupy(batcher, run)
    answers = batcher.submit([1, -1, 2, 3], Deadline())
    run.gate.set()
    assert held.result(5) == 2000
    with pytest.raises(ValueError, match="negative"):
        answers[1].result(5)
    assert [answers[i].result(5) for i in (0, 2, 3)] == [2, 4, 6]
    assert run.batches == [[1000], [1, -1, 2, 3], [1, -1], [1], [-1], [2, 3]]
    with pytest.raises(ValueError, match="negative"):
        batcher.ask([-1])
    assert batcher.close(5)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])  # NumPy's and ONNX Runtime's
def test_a_batch_out_of_memory_is_halved_until_it_fits(error: type[Exception]) -> None:
    sizes: list[int] = []
    alive: list[weakref.ref[Scratch]] = []

    class Scratch:
        """What a call allocates; it must be gone before the next one needs the room."""

    def run(items: Sequence[int]) -> list[int]:
        assert not any(scratch() for scratch in alive)
        scratch = Scratch()
        alive.append(weakref.ref(scratch))
        sizes.append(len(items))
        if len(items) > 2:
            raise error("Failed to allocate memory")
        return [2 * item for item in items]

    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_batch=8, capacity=8)
    assert batcher.ask(list(range(8))) == [2 * i for i in range(8)]
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    assert batcher.close(5)


def test_what_became_late_meanwhile_is_not_tried_again(run: Doubler) -> None:
    batcher = batcher_for(run)
    held = occupy(batcher, run)
    kept, left = Deadline(), Deadline()
    first, second = batcher.submit([-1], kept)[0], batcher.submit([5], left)[0]

    class Leaving(Doubler):
        def __call__(self, items: Sequence[int]) -> list[int]:
            if len(items) > 1:
                left.cancel()
            return run(items)

    batcher._run = Leaving()
    run.gate.set()
    assert held.result(5) == 2000
    with pytest.raises(ValueError, match="negative"):
        first.result(5)
    with pytest.raises(DeadlinePassed):
        second.result(5)
    assert run.batches == [[1000], [-1, 5], [-1]]
    assert batcher.close(5)


def test_requests_take_turns(run: Doubler) -> None:
    """An album of 64 faces does not hold up photos that come after it."""
    batcher = batcher_for(run, max_batch=4, capacity=100)
    occupy(batcher, run)
    album = batcher.submit(list(range(64)), Deadline())
    photos = [batcher.submit([100 + i], Deadline())[0] for i in range(3)]
    run.gate.set()
    assert [photo.result(5) for photo in photos] == [200, 202, 204]
    assert [face.result(5) for face in album] == [2 * i for i in range(64)]
    assert run.batches[1] == [0, 100, 101, 102]
    assert run.batches[2] == [1, 2, 3, 4]
    assert batcher.close(5)


def test_dispatchers_share_what_waits(run: Doubler) -> None:
    batcher = batcher_for(run, dispatchers=2, capacity=100)
    run.gate.clear()
    answers = batcher.submit([1, 2, 3], Deadline())
    until(lambda: batcher._items == 0)
    more = batcher.submit([4, 5], Deadline())
    run.gate.set()
    assert [answer.result(5) for answer in (*answers, *more)] == [2, 4, 6, 8, 10]
    assert sorted(run.batches) == [[1, 2], [3], [4], [5]]
    assert batcher.close(5)


def test_a_call_that_hangs_holds_up_its_own_dispatcher_only() -> None:
    gate = threading.Event()

    def run(items: Sequence[int]) -> list[int]:
        assert items != [13] or gate.wait(10)
        return [2 * item for item in items]

    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_batch=4, capacity=8, dispatchers=2)
    (hanging,) = batcher.submit([13], Deadline())
    assert [batcher.ask([item]) for item in range(5)] == [[0], [2], [4], [6], [8]]
    time.sleep(0.05)
    assert 0.04 < batcher.call_seconds < 5
    assert not batcher.close(0.01)
    gate.set()
    assert hanging.result(5) == 26
    assert batcher.close(5)
    assert batcher.call_seconds == 0


def test_batches_and_the_queue_are_bounded_by_bytes(run: Doubler) -> None:
    batcher = MicroBatcher(
        run, max_batch=4, capacity=100, weigh=int, batch_bytes=10, capacity_bytes=40
    )
    held = occupy(batcher, run)
    answers = batcher.submit([4, 6, 1, 25, 3], Deadline())
    more = batcher.submit([2], Deadline())
    with pytest.raises(QueueFull):
        batcher.submit([1], Deadline())
    answers[3].cancel()
    more += batcher.submit([1], Deadline())
    run.gate.set()
    assert [a.result(5) for a in (held, answers[4], *more)] == [2000, 6, 4, 2]
    assert run.batches == [[1000], [4, 2, 1], [6, 1, 3]]
    assert batcher.close(5)


def test_no_one_waits_for_company_unless_told(run: Doubler) -> None:
    batcher = batcher_for(run)
    for number in range(20):
        batcher.ask([number])
    assert [len(batch) for batch in run.batches] == [1] * 20
    assert batcher.close(5)


def test_a_call_that_hangs_is_seen_from_outside(run: Doubler) -> None:
    batcher = batcher_for(run)
    assert batcher.call_seconds == 0
    held = occupy(batcher, run)
    time.sleep(0.05)
    assert 0.04 < batcher.call_seconds < 5
    run.gate.set()
    held.result(5)
    assert batcher.close(5)
    assert batcher.call_seconds == 0


def test_an_error_for_an_answer_reaches_its_own_caller_only() -> None:
    def run(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError("negative") if item < 0 else 2 * item for item in items]

    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_batch=3, max_delay=5, capacity=8)
    first, bad, last = batcher.submit([1, -1, 2], Deadline())
    assert (first.result(5), last.result(5)) == (2, 4)
    with pytest.raises(ValueError, match="negative"):
        bad.result(5)
    assert batcher.close(5)


def test_a_timeout_raised_by_the_function_is_not_taken_for_a_deadline() -> None:
    def run(items: Sequence[int]) -> list[int]:
        raise TimeoutError("of the function")

    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_batch=1, max_delay=0, capacity=1)
    with pytest.raises(TimeoutError, match="of the function"):
        batcher.ask([1], Deadline(5))
    assert batcher.close(5)


def test_a_wrong_number_of_answers_is_an_error_and_not_a_hang() -> None:
    batcher: MicroBatcher[int, int] = MicroBatcher(
        lambda items: [], max_batch=1, max_delay=0, capacity=1
    )
    with pytest.raises(RuntimeError, match="0 answers"):
        batcher.ask([1])
    assert batcher.close(5)


def test_closing_finishes_what_was_accepted(run: Doubler) -> None:
    batcher = batcher_for(run, capacity=20)
    occupied = occupy(batcher, run)
    waiting = batcher.submit(list(range(10)), Deadline())
    assert not batcher.close(0.05)
    with pytest.raises(NotReady, match="The engine is closing"):
        batcher.ask([1])
    run.gate.set()
    assert batcher.close(5)
    assert occupied.result(0) == 2000
    assert [future.result(0) for future in waiting] == [2 * i for i in range(10)]


def test_closing_does_not_wait_for_company(run: Doubler) -> None:
    batcher = batcher_for(run, max_delay=60)
    (answer,) = batcher.submit([1], Deadline())
    assert batcher.close(5)
    assert answer.result(0) == 2


def test_the_observer_sees_batches_and_depth(run: Doubler) -> None:
    class Observer:
        def __init__(self) -> None:
            self.sizes: list[int] = []
            self.depths: list[int] = []
            self.drops: list[tuple[str, int]] = []

        def batch_done(self, stage: str, size: int, seconds: float) -> None:
            assert seconds >= 0
            self.sizes.append(size)

        def queue_depth(self, stage: str, items: int) -> None:
            self.depths.append(items)

    observer = Observer()
    batcher = batcher_for(run, observer=observer)  # type: ignore[arg-type]
    batcher.ask(list(range(6)))
    assert batcher.close(5)
    assert observer.sizes == [4, 2]
    assert observer.depths == [6, 2, 0]


def test_a_failing_observer_harms_nobody(run: Doubler, caplog: pytest.LogCaptureFixture) -> None:
    class Observer:
        def batch_done(self, stage: str, size: int, seconds: float) -> None:
            raise OSError("disk full")

        def queue_depth(self, stage: str, items: int) -> None:
            raise OSError("disk full")

        def dropped(self, stage: str, reason: str, items: int) -> None:
            raise OSError("disk full")

    batcher = batcher_for(run, observer=Observer())  # type: ignore[arg-type]
    for number in range(3):
        assert batcher.ask([number], Deadline(5)) == [2 * number]
    assert batcher.alive
    assert len(caplog.records) == 1
    assert batcher.close(5)


def test_who_asks_while_nobody_waits_runs_the_call_itself() -> None:
    threads: list[threading.Thread] = []

    def run(items: Sequence[int]) -> list[int]:
        threads.append(threading.current_thread())
        return [2 * item for item in items]

    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_batch=4, capacity=8)
    assert batcher.ask([1, 2]) == [2, 4]
    assert threads == [threading.current_thread()]
    assert batcher.submit([3], Deadline())[0].result(5) == 6
    assert threads[1] is not threads[0]
    with pytest.raises(TypeError):
        batcher.ask([None])  # type: ignore[list-item]
    assert batcher.ask([4]) == [8]
    assert batcher.close(5)


@pytest.mark.parametrize("dispatchers", [1, 2, 3])
def test_there_are_never_more_calls_than_dispatchers(dispatchers: int) -> None:
    lock = threading.Lock()
    running, most = 0, 0

    def run(items: Sequence[int]) -> list[int]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
        return [2 * item for item in items]

    batcher: MicroBatcher[int, int] = MicroBatcher(
        run, max_batch=2, capacity=1000, dispatchers=dispatchers
    )

    def caller(number: int) -> None:
        for item in range(30):
            if (item + number) % 3:
                assert batcher.ask([item, number]) == [2 * item, 2 * number]
            else:
                assert batcher.submit([item], Deadline())[0].result(10) == 2 * item

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(caller, range(8)))
    assert most == dispatchers
    assert batcher.close(5)


def test_closing_waits_for_a_call_in_the_thread_that_asked(run: Doubler) -> None:
    batcher = batcher_for(run)
    run.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(batcher.ask, [7])
        assert run.entered.wait(5)
        assert not batcher.close(0.05)
        run.gate.set()
        assert asked.result(5) == [14]
    assert batcher.close(5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_dispatcher_is_noticed(run: Doubler, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = batcher_for(run, dispatchers=2)
    assert batcher.alive

    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(batcher, "_take", fail)
    batcher.submit([1], Deadline())
    until(lambda: not batcher.alive)


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

    batcher: MicroBatcher[Crop, int] = MicroBatcher(run, max_batch=1, max_delay=0, capacity=8)
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


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"capacity": 0}, {"max_delay": -1}])
def test_limits_must_make_sense(run: Doubler, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        batcher_for(run, **wrong)
