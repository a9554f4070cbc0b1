"""The engine on the small models of these tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import cv2
import onnxruntime as ort
import pytest

from service.engine import Engine
from service.errors import ModelError
from service.inference import CPU_PROVIDERS, CUDA
from service.settings import Settings


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
    assert [record.message for record in caplog.records if record.name.startswith("service")] == [
        "no usable GPU, running on the CPU"
    ]
    with pytest.raises(ModelError):
        Engine(Settings(**files, device="cuda"))
    with pytest.raises(ModelError, match="Tensorrt"):
        Engine(Settings(**files, device="tensorrt"))
