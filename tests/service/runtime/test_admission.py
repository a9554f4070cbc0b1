"""Admission: the house is never fuller than told, and every slot is given back."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from facewright.service.errors import DeadlinePassed, QueueFull
from facewright.service.runtime.admission import Slots, WorkerPool
from facewright.service.runtime.deadline import Deadline

pytestmark = pytest.mark.xdist_group("clock")


class House:
    def __init__(self, concurrency: int = 1, max_waiting: int = 1) -> None:
        self.counts: list[float] = []
        self.pool = WorkerPool(concurrency, max_waiting, self.counts.append)


def test_the_house_is_bounded_and_places_come_back() -> None:
    house = House(concurrency=1, max_waiting=1)
    with house.pool.admit(), house.pool.admit(), pytest.raises(QueueFull), house.pool.admit():
        pass
    with house.pool.admit():
        pass
    assert house.counts == [1, 2, 1, 0, 1, 0]


def test_a_full_house_says_so_beforehand() -> None:
    pool = House(concurrency=1, max_waiting=0).pool
    pool.check()
    with pool.admit(), pytest.raises(QueueFull):
        pool.check()
    pool.check()


def test_places_are_given_back_when_something_goes_wrong() -> None:
    counts: list[float] = []
    slots = Slots(1, "full", counts.append)
    for _ in range(3):
        with pytest.raises(QueueFull, match="full"), slots.hold(), slots.hold():
            pass
    assert counts == [1, 0] * 3


def test_a_place_stays_taken_while_the_thread_is_at_work() -> None:
    house = House()
    gate = threading.Event()
    deadline = Deadline(0.05)

    async def call() -> None:
        with house.pool.admit() as ticket:
            await ticket.run(lambda: gate.wait(10), deadline)

    with pytest.raises(DeadlinePassed):
        asyncio.run(call())
    assert house.counts == [1]
    assert deadline.remaining == 0
    gate.set()
    house.pool.close()
    assert house.counts == [1, 0]


def test_work_that_waits_for_a_thread_is_withdrawn_in_time() -> None:
    house = House(concurrency=1, max_waiting=5)
    gate = threading.Event()
    ran: list[int] = []

    async def hold() -> None:
        with house.pool.admit() as ticket:
            await ticket.run(lambda: gate.wait(10), Deadline(10))

    async def late() -> None:
        with house.pool.admit() as ticket:
            await ticket.run(lambda: ran.append(1), Deadline(0.05))

    async def both() -> None:
        holding = asyncio.create_task(hold())
        await asyncio.sleep(0.05)
        with pytest.raises(DeadlinePassed):
            await late()
        assert house.counts[-1] == 1
        gate.set()
        await holding

    asyncio.run(both())
    house.pool.close()
    assert ran == []
    assert house.counts[-1] == 0


def test_cancelling_the_caller_cancels_the_work() -> None:
    house = House()
    ended = threading.Event()
    deadline = Deadline(60)

    def work() -> None:
        try:
            while True:
                deadline.check()
        finally:
            ended.set()

    async def call() -> None:
        with house.pool.admit() as ticket:
            await ticket.run(work, deadline)

    async def cancel() -> None:
        task = asyncio.create_task(call())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())
    assert ended.wait(5)
    house.pool.close()
    assert house.counts[-1] == 0


@pytest.mark.parametrize("error", [TimeoutError("own"), ValueError("own")])
def test_errors_of_the_work_are_its_own(error: Exception) -> None:
    house = House()

    def work() -> None:
        raise error

    async def call() -> None:
        with house.pool.admit() as ticket:
            await ticket.run(work, Deadline(5))

    with pytest.raises(type(error), match="own"):
        asyncio.run(call())
    house.pool.close()
    assert house.counts[-1] == 0


def test_a_map_keeps_the_order_and_has_few_in_hand() -> None:
    pool = WorkerPool(8, 0, lambda count: None)
    lock = threading.Lock()
    begun: list[int] = []
    in_hand: list[int] = []

    def work(item: int) -> int:
        with lock:
            begun.append(item)
            in_hand.append(item)
            assert len(in_hand) <= 2
        time.sleep(0.02 if item % 2 else 0.001)
        with lock:
            in_hand.remove(item)
        return 10 * item

    results = pool.map(work, range(9), 2)
    assert begun == []
    assert next(results) == 0
    time.sleep(0.1)
    assert begun == [0, 1]  # what nobody takes holds the rest up
    assert list(results) == [10 * item for item in range(1, 9)]
    assert list(pool.map(work, [], 2)) == []
    pool.close()


@pytest.mark.parametrize("how", ["error", "close"])
def test_a_map_that_ends_early_leaves_nothing_running(how: str) -> None:
    pool = WorkerPool(4, 0, lambda count: None)
    running = threading.Semaphore(0)
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        running.release()
        if item == 1 and how == "error":
            raise ValueError("own")
        time.sleep(0.05)
        begun.append(-item)
        return item

    results = pool.map(work, range(100), 3)
    assert next(results) == 0
    if how == "error":
        with pytest.raises(ValueError, match="own"):
            list(results)
    else:
        results.close()  # type: ignore[attr-defined]
    assert max(begun) < 6
    begun_then = list(begun)
    time.sleep(0.1)
    assert begun == begun_then
    pool.close()


def test_albums_get_turns_beside_single_photos() -> None:
    """A long album has few photos in hand, so somebody else's need not wait for all of them."""
    pool = WorkerPool(1, 5, lambda count: None)
    order: list[str] = []

    def album() -> None:
        for _ in pool.map(lambda item: time.sleep(0.01), range(30), 1):
            order.append("album")

    async def call() -> None:
        thread = threading.Thread(target=album)
        thread.start()
        await asyncio.sleep(0.05)
        with pool.admit() as ticket:
            await ticket.run(lambda: order.append("single"), Deadline(5))
        thread.join()

    asyncio.run(call())
    pool.close()
    assert order.index("single") < 29


def test_a_full_place_tells_when_it_will_have_emptied() -> None:
    slots = Slots(3, "full", lambda taken: None)
    for _ in range(3):
        slots.take()
    with pytest.raises(QueueFull) as refusal:
        slots.check()
    assert refusal.value.retry_after == 1  # nobody has left yet: no rate
    for _ in range(12):
        time.sleep(0.2)
        slots.give_back()
        slots.take()
    with pytest.raises(QueueFull) as refusal:
        slots.check()
    # Three at one in 0.2 s; a busy machine may be slower.
    assert 1 <= refusal.value.retry_after <= 3
    slots._interval = 1.5
    with pytest.raises(QueueFull) as refusal:
        slots.check()
    assert refusal.value.retry_after == 5
    slots._interval = 1000.0
    with pytest.raises(QueueFull) as refusal:
        slots.check()
    assert refusal.value.retry_after == 60


def test_an_idle_time_does_not_count_as_slowness() -> None:
    slots = Slots(1, "full", lambda taken: None)
    time.sleep(0.3)
    slots.take()
    slots.give_back()
    assert slots._interval < 0.05
