"""Usable processors, against quota files as Linux writes them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from facewright.service.runtime.processors import Processors, usable_processors


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("200000 100000\n", 2),
        ("250000 100000\n", 3),
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("max 100000\n", 8),
        ("", 8),
        ("100000\n", 8),
        ("100000 0\n", 8),
    ],
)
def test_the_quota_rounded_up_but_no_more_than_there_are(
    tmp_path: Path, content: str, expected: int
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(content)
    assert usable_processors(file) == expected


def test_without_a_quota_file_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_processors(tmp_path / "cpu.max") == 8


def test_without_affinity_the_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_processors(tmp_path / "cpu.max") == 6


def test_whoever_wants_all_processors_waits_for_the_last_one_and_is_not_overtaken() -> None:
    processors = Processors(2)
    order: list[str] = []

    def take(wanted: int, name: str) -> None:
        with processors.take(wanted):
            order.append(name)

    threads = []
    with processors.take(1):
        for wanted, name in ((2, "all"), (1, "one"), (1, "another")):
            threads.append(threading.Thread(target=take, args=(wanted, name)))
            threads[-1].start()
            patience = time.monotonic() + 10
            while len(processors._waiting) < len(threads):
                assert time.monotonic() < patience
                time.sleep(0.001)
        assert order == []
    for thread in threads:
        thread.join(10)
    assert order[0] == "all"
    assert sorted(order) == ["all", "another", "one"]
    with processors.take(2):
        pass
