"""The engine on the small models of these tests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from skimage import data as pictures

from facewright.models.layout import LAYOUT_239
from facewright.models.segmentation import CLASSES, OCCLUDER, SEGMENTATION_SIDE, SKIN
from facewright.models.texture.views import TextureView
from facewright.service.errors import ModelError
from facewright.service.networks.regression import Regressor
from facewright.service.pipeline.engine import Engine, Scene
from facewright.service.pipeline.job import Job
from facewright.service.runtime.sessions import CPU_PROVIDERS, CUDA
from facewright.service.settings import Settings


@pytest.fixture(scope="module")
def engine(assets: Any) -> Iterator[Engine]:
    settings = Settings(
        face_model=assets.face_model, weights=assets.weights, inference_threads=1, batch_size=2
    )
    engine = Engine(settings)
    yield engine
    engine.close(5)


def test_pictures_do_not_compete_for_the_processors(engine: Engine) -> None:
    assert cv2.getNumThreads() == 1


def test_without_a_usable_gpu_auto_says_so_once_and_takes_the_cpu(
    assets: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installed = [CUDA, *ort.get_available_providers()]
    monkeypatch.setattr(ort, "get_available_providers", lambda: installed)
    files: Any = {"face_model": assets.face_model, "weights": assets.weights}
    with caplog.at_level(logging.WARNING):
        engine = Engine(Settings(**files))
    engine.close(5)
    assert engine.providers == CPU_PROVIDERS
    assert [
        record.message for record in caplog.records if record.name.startswith("facewright.service")
    ] == ["no usable GPU, running on the CPU"]
    with pytest.raises(ModelError):
        Engine(Settings(**files, device="cuda"))
    with pytest.raises(ModelError, match="Tensorrt"):
        Engine(Settings(**files, device="tensorrt"))


@pytest.mark.parametrize("content", ["noise", "half", None], ids=["corrupt", "cut off", "missing"])
@pytest.mark.parametrize("name", ["weights", "face_model"])
def test_an_unusable_model_is_named(
    assets: Any, tmp_path: Path, name: str, content: str | None
) -> None:
    sound = getattr(assets, name).read_bytes()
    file = tmp_path / "unusable"
    if content is not None:
        file.write_bytes(b"no model" if content == "noise" else sound[: len(sound) // 2])
    files: Any = {"face_model": assets.face_model, "weights": assets.weights, name: file}
    with pytest.raises(ModelError) as refused:
        Engine(Settings(**files))
    assert str(file) in refused.value.detail
    assert "\n" not in refused.value.detail


class _Held(Job):
    """A job whose photo stops at its first step until the gate opens."""

    begun, gate = threading.Event(), threading.Event()

    def check(self) -> None:
        self.begun.set()
        assert self.gate.wait(30)


def test_with_a_photo_for_each_processor_calls_take_one(
    assets: Any, portrait_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        face_model=assets.face_model, weights=assets.weights, inference_threads=2, concurrency=2
    )
    engine = Engine(settings)
    asked: list[str] = []
    for name in ("regressor", "lone_regressor"):

        def note(crops: Any, name: str = name, real: Any = getattr(engine, name)) -> Any:
            asked.append(name)
            return Regressor.regress_each(real, crops)

        monkeypatch.setattr(getattr(engine, name), "regress_each", note)
    held = _Held()
    with ThreadPoolExecutor(1) as pool:
        _, (alone,) = engine.observe(portrait_jpeg, "largest", Job())
        assert set(asked) == {"regressor"}
        asked.clear()
        other = pool.submit(engine.observe, portrait_jpeg, "largest", held)
        assert held.begun.wait(30)
        _, (beside,) = engine.observe(portrait_jpeg, "largest", Job())
        assert set(asked) == {"lone_regressor"}
        held.gate.set()
        other.result(30)
    engine.close(5)
    np.testing.assert_allclose(beside.coefficients, alone.coefficients, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_one_session_will_do_where_there_cannot_be_a_photo_for_each_processor(
    assets: Any, threads: int
) -> None:
    files: Any = {"face_model": assets.face_model, "weights": assets.weights}
    engine = Engine(Settings(**files, inference_threads=threads, concurrency=2))
    engine.close(5)
    assert engine.lone_regressor is engine.regressor
    assert engine.processors.count == 1


def large_jpeg(zoom: int, width: int) -> bytes:
    """The astronaut enlarged, on the left of a gray picture so wide."""
    astronaut = pictures.astronaut()
    size = zoom * astronaut.shape[0]
    photo = np.full((size, width, 3), 128, np.uint8)
    photo[:, :size] = cv2.resize(astronaut, (size, size), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", photo[..., ::-1])[1].tobytes()


def scenes(engine: Engine, photo: bytes, faces: Any) -> tuple[Scene, Scene]:
    """With all pixels, and reduced."""
    whole, reduced = (
        engine.reconstruct(photo, faces, Job(), reduced=reduced) for reduced in (False, True)
    )
    assert (reduced.width, reduced.height) == (whole.width, whole.height)
    assert len(reduced.faces) == len(whole.faces) == 1
    np.testing.assert_array_equal(reduced.photo, whole.photo)
    return whole, reduced


def test_a_reduced_photo_gives_the_same_face(engine: Engine) -> None:
    # Of a width at which no two cells of the detector's map come near each other: where they do,
    # the processor's rounding decides which one's points are taken.
    whole, reduced = scenes(engine, large_jpeg(5, 2700), "all")
    expected, face = whole.faces[0], reduced.faces[0]
    assert not np.array_equal(face.face.points, expected.face.points), "it was reduced"
    assert np.ptp(expected.face.box) > 500
    np.testing.assert_allclose(face.face.points, expected.face.points, atol=6)
    np.testing.assert_allclose(face.landmarks_px, expected.landmarks_px, atol=8)
    corners = np.array([[0, 0, 1], [2700, 2560, 1]])
    np.testing.assert_allclose(
        corners @ face.crop_transform.T, corners @ expected.crop_transform.T, atol=4
    )
    for part in (LAYOUT_239.identity, LAYOUT_239.expression):
        np.testing.assert_allclose(face.coefficients[part], expected.coefficients[part], atol=0.01)


@pytest.mark.parametrize("faces", ["all", "largest"])
def test_a_face_with_too_few_pixels_is_looked_at_in_the_whole_photo(
    engine: Engine, faces: Any
) -> None:
    whole, reduced = scenes(engine, large_jpeg(1, 2600), faces)
    np.testing.assert_array_equal(reduced.faces[0].coefficients, whole.faces[0].coefficients)
    np.testing.assert_array_equal(reduced.faces[0].landmarks_px, whole.faces[0].landmarks_px)


def test_what_hides_the_face_stays_out_of_textures_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that takes the crop's lower half for something before the face."""
    asked = []

    def halves(crops: Any) -> list[Any]:
        asked.append(len(crops))
        shares = np.zeros((len(CLASSES), SEGMENTATION_SIDE, SEGMENTATION_SIDE), np.float32)
        shares[SKIN, : SEGMENTATION_SIDE // 2] = 1
        shares[OCCLUDER, SEGMENTATION_SIDE // 2 :] = 1
        return [shares] * len(crops)

    monkeypatch.setattr(engine.segmenter, "segment", halves)
    scene = scenes(engine, large_jpeg(1, 512), "largest")[0]
    assert asked == []
    (face,) = scene.faces
    job = Job()
    found = engine.texture(scene, face, 256, job)
    assert asked == [1]
    assert "segment" in job.clock.seconds
    seen = engine.segment(scene.photo, face.landmarks_px, job)
    assert seen is not None
    shown = seen.at(SKIN, face.projected()[:, :2]) > 0.9
    assert 0.2 < shown.mean() < 0.8
    view = TextureView(scene.photo, face.posed_vertices(), face.projected())
    free = engine.baker.bake([view], face.albedo, 256)
    hidden = engine.baker.bake([replace(view, segmentation=seen)], face.albedo, 256)
    assert np.array_equal(hidden.rgb_u8, found)
    assert 0.2 < hidden.coverage.sum() / free.coverage.sum() < 0.8


def test_landmarks_that_are_no_face_leave_nothing_out(engine: Engine) -> None:
    photo = np.zeros((50, 50, 3), np.uint8)
    assert engine.segment(photo, np.zeros((68, 2), np.float32), Job()) is None
