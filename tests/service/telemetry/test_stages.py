"""Adding up what runs side by side."""

from __future__ import annotations

import threading

import pytest

from facewright.service.telemetry.stages import SharedClock, StageClock


def test_works_side_by_side_are_added_up_and_shown_one_by_one() -> None:
    shown: list[StageClock] = []
    clock = SharedClock(shown.append)

    def work() -> None:
        with clock.child() as own:
            own.seconds["detect"] = 0.5

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.seconds["encode"] = 1.0
    assert clock.seconds == {"detect": 4.0, "encode": 1.0}
    assert [own.seconds for own in shown] == [{"detect": 0.5}] * 8
    assert clock.server_timing() == "detect;dur=4000.0, encode;dur=1000.0"


def test_work_that_fails_is_counted_as_well() -> None:
    clock = SharedClock()

    def work() -> None:
        with clock.child() as own:
            own.seconds["decode"] = 1.0
            raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        work()
    assert clock.seconds == {"decode": 1.0}
