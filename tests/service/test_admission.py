"""Admission: the house is never fuller than told, and every place is given back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from service.admission import Places, WorkRoom
from service.deadline import Deadline
from service.errors import DeadlinePassed, QueueFull


class Room:
    def __init__(self, concurrency: int = 1, max_waiting: int = 1) -> None:
        self.counts: list[float] = []
        self.room = WorkRoom(concurrency, max_waiting, self.counts.append)


def test_the_house_is_bounded_and_places_come_back() -> None:
    house = Room(concurrency=1, max_waiting=1)
    with house.room.admit(), house.room.admit(), pytest.raises(QueueFull), house.room.admit():
        pass
    with house.room.admit():
        pass
    assert house.counts == [1, 2, 1, 0, 1, 0]


def test_a_full_house_says_so_beforehand() -> None:
    room = Room(concurrency=1, max_waiting=0).room
    room.check()
    with room.admit(), pytest.raises(QueueFull):
        room.check()
    room.check()


def test_places_are_given_back_when_something_goes_wrong() -> None:
    counts: list[float] = []
    places = Places(1, "full", counts.append)
    for _ in range(3):
        with pytest.raises(QueueFull, match="full"), places.one(), places.one():
            pass
    assert counts == [1, 0] * 3


def test_a_place_stays_taken_while_the_thread_is_at_work() -> None:
    house = Room()
    gate = threading.Event()
    deadline = Deadline(0.05)

    async def call() -> None:
        with house.room.admit() as ticket:
            await ticket.run(lambda: gate.wait(10), deadline)

    with pytest.raises(DeadlinePassed):
        asyncio.run(call())
    assert house.counts == [1]
    assert deadline.remaining == 0
    gate.set()
    house.room.close()
    assert house.counts == [1, 0]


def test_work_that_waits_for_a_thread_is_withdrawn_in_time() -> None:
    house = Room(concurrency=1, max_waiting=5)
    gate = threading.Event()
    ran: list[int] = []

    async def hold() -> None:
        with house.room.admit() as ticket:
            await ticket.run(lambda: gate.wait(10), Deadline(10))

    async def late() -> None:
        with house.room.admit() as ticket:
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
    house.room.close()
    assert ran == []
    assert house.counts[-1] == 0


def test_cancelling_the_caller_cancels_the_work() -> None:
    house = Room()
    ended = threading.Event()
    deadline = Deadline(60)

    def work() -> None:
        try:
            while True:
                deadline.check()
        finally:
            ended.set()

    async def call() -> None:
        with house.room.admit() as ticket:
            await ticket.run(work, deadline)

    async def cancel() -> None:
        task = asyncio.create_task(call())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())
    assert ended.wait(5)
    house.room.close()
    assert house.counts[-1] == 0


@pytest.mark.parametrize("error", [TimeoutError("own"), ValueError("own")])
def test_errors_of_the_work_are_its_own(error: Exception) -> None:
    house = Room()

    def work() -> None:
        raise error

    async def call() -> None:
        with house.room.admit() as ticket:
            await ticket.run(work, Deadline(5))

    with pytest.raises(type(error), match="own"):
        asyncio.run(call())
    house.room.close()
    assert house.counts[-1] == 0
