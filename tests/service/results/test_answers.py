"""The writer of answers, on an engine that only counts what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facewright.service.errors import DeadlinePassed, InvalidParameter
from facewright.service.options import ReconstructOptions
from facewright.service.pipeline.engine import Scene
from facewright.service.pipeline.job import Job
from facewright.service.results import answers as answers_module
from facewright.service.results.answers import MOST_LARGE_IN_JSON, AnswerWriter, shows_photo
from facewright.service.results.writer import Answer
from facewright.service.runtime.deadline import Deadline


class CountingEngine:
    """Makes empty files, and cancels the deadline after the given number of them."""

    def __init__(self, deadline: Deadline, last: int) -> None:
        self.made: list[str] = []
        self.model = SimpleNamespace(n_vertices=3, n_triangles=1, engine=self)
        self._deadline = deadline
        self._last = last

    def texture(self, *options: Any) -> np.ndarray:
        self.make("texture")
        return np.zeros((4, 4, 3), np.uint8)

    def make(self, name: str) -> None:
        self.made.append(name)
        if len(self.made) == self._last:
            self._deadline.cancel()


def writer(last: int = 99, faces: int = 4, **options: Any) -> tuple[AnswerWriter, CountingEngine]:
    deadline = Deadline()
    engine = CountingEngine(deadline, last)
    scene = Scene(8, 8, [object() for _ in range(faces)], lambda: np.zeros((8, 8, 3), np.uint8))  # type: ignore[misc]
    chosen = ReconstructOptions(**{"texture": "albedo", **options})
    return AnswerWriter(engine, scene, chosen, Job(deadline)), engine  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def empty_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meshes and overlays of nothing, counted by the engine."""

    def face_file(engine: CountingEngine, face: Any, form: str, *options: Any) -> bytes:
        engine.make(form)
        return b""

    def draw_overlay(photo: np.ndarray, model: Any, faces: Any, **options: Any) -> np.ndarray:
        model.engine.make("overlay")
        return photo

    monkeypatch.setattr(answers_module, "face_file", face_file)
    monkeypatch.setattr(answers_module, "draw_overlay", draw_overlay)


@pytest.fixture
def no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON of nothing: the faces of these tests have no numbers."""
    monkeypatch.setattr(AnswerWriter, "json_answer", lambda self: Answer(b"{}", "", ""))


@pytest.mark.usefixtures("no_numbers")
@pytest.mark.parametrize("last", [1, 2, 5])
def test_a_zip_file_is_given_up_when_nobody_waits(last: int) -> None:
    answers, engine = writer(last)
    with pytest.raises(DeadlinePassed):
        answers.write("application/zip")
    assert engine.made == ["overlay", "glb", "obj", "glb", "obj"][:last]


@pytest.mark.usefixtures("no_numbers")
def test_each_face_is_baked_once() -> None:
    answers, engine = writer(faces=2, texture="photo")
    answers.write("application/zip")
    assert engine.made == ["overlay", *["texture", "glb", "obj"] * 2]


@pytest.mark.usefixtures("no_numbers")
@pytest.mark.parametrize("last", [2, 3, 5])
def test_no_texture_is_begun_too_late(last: int) -> None:
    answers, engine = writer(last, faces=2, texture="photo")
    with pytest.raises(DeadlinePassed):
        answers.write("application/zip")
    assert len(engine.made) == last


@pytest.mark.parametrize(
    "make",
    [lambda w: w.write("model/obj"), lambda w: w.write("image/png")],
    ids=["mesh", "overlay"],
)
def test_nothing_is_begun_too_late(make: Callable[[AnswerWriter], Any]) -> None:
    answers, engine = writer(1)
    make(answers)
    with pytest.raises(DeadlinePassed):
        make(answers)
    assert len(engine.made) == 1


@pytest.mark.parametrize("media_type", ["application/json", "application/zip"])
def test_json_holds_no_crowd_of_obj_meshes(media_type: str) -> None:
    answers, engine = writer(faces=MOST_LARGE_IN_JSON + 1, include=["mesh"], mesh_format="obj")
    with pytest.raises(InvalidParameter, match="application/zip"):
        answers.write(media_type)
    assert not any(form == "obj" for form in engine.made)


@pytest.mark.usefixtures("no_numbers")
def test_the_zip_file_holds_a_crowd_of_them() -> None:
    answers, engine = writer(faces=MOST_LARGE_IN_JSON + 1)
    answers.write("application/zip")
    assert engine.made.count("obj") == MOST_LARGE_IN_JSON + 1


@pytest.mark.parametrize(
    ("media_type", "options", "shown"),
    [
        ("application/json", {}, False),
        ("application/json", {"include": ["confidences"]}, False),
        ("application/json", {"include": ["overlay"], "texture": "albedo"}, True),
        ("application/json", {"include": ["mesh"]}, True),
        ("application/json", {"include": ["mesh"], "texture": "albedo"}, False),
        ("application/json", {"include": ["mesh"], "mesh_format": "stl"}, False),
        ("model/gltf-binary", {}, True),
        ("model/gltf-binary", {"texture": "albedo"}, False),
        ("model/ply", {}, True),
        ("model/stl", {}, False),
        ("image/jpeg", {"texture": "albedo"}, True),
        ("application/zip", {"texture": "albedo"}, True),
    ],
)
def test_which_answers_need_all_of_the_photo(
    media_type: str, options: dict[str, Any], shown: bool
) -> None:
    assert shows_photo(media_type, ReconstructOptions(**options)) is shown


def test_stl_files_have_no_colors_to_bake() -> None:
    answers, engine = writer(faces=1, texture="photo")
    answers.write("model/stl")
    assert engine.made == ["stl"]


@pytest.mark.parametrize("mesh", ["face", "head"])
def test_files_are_named_after_what_they_hold(mesh: str) -> None:
    answers, _ = writer(faces=1, mesh=mesh)
    assert answers.write("model/stl").filename == f"{mesh}.stl"
