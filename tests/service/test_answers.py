"""The writer of answers, on an engine that only counts what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from service.answers import AnswerWriter
from service.deadline import Deadline
from service.engine import Scene
from service.errors import DeadlinePassed
from service.schemas import ReconstructOptions
from service.stages import StageClock


class CountingEngine:
    """Makes empty files, and cancels the deadline after the given number of them."""

    def __init__(self, deadline: Deadline, last: int) -> None:
        self.made: list[str] = []
        self.model = SimpleNamespace(n_vertices=3, n_triangles=1)
        self._deadline = deadline
        self._last = last

    def mesh_file(self, face: Any, form: str, *options: Any) -> bytes:
        self._make(form)
        return b""

    def overlay(self, *options: Any) -> np.ndarray:
        self._make("overlay")
        return np.zeros((8, 8, 3), np.uint8)

    def _make(self, name: str) -> None:
        self.made.append(name)
        if len(self.made) == self._last:
            self._deadline.cancel()


def writer(
    last: int, monkeypatch: pytest.MonkeyPatch, faces: int = 4
) -> tuple[AnswerWriter, CountingEngine]:
    monkeypatch.setattr(
        AnswerWriter, "json_answer", lambda self: SimpleNamespace(body=b"{}"), raising=True
    )
    deadline = Deadline()
    engine = CountingEngine(deadline, last)
    scene = Scene(np.zeros((8, 8, 3), np.uint8), [object()] * faces)  # type: ignore[list-item]
    options = ReconstructOptions()
    return AnswerWriter(engine, scene, options, deadline, StageClock()), engine  # type: ignore[arg-type]


@pytest.mark.parametrize("last", [1, 2, 5])
def test_a_zip_file_is_given_up_when_nobody_waits(
    last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, engine = writer(last, monkeypatch)
    with pytest.raises(DeadlinePassed):
        answers.write("application/zip")
    assert engine.made == ["overlay", "glb", "obj", "glb", "obj"][:last]


@pytest.mark.parametrize(
    "make",
    [lambda w: w.write("model/obj"), lambda w: w.write("image/png")],
    ids=["mesh", "overlay"],
)
def test_nothing_is_begun_too_late(
    make: Callable[[AnswerWriter], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, engine = writer(1, monkeypatch)
    make(answers)
    with pytest.raises(DeadlinePassed):
        make(answers)
    assert len(engine.made) == 1
