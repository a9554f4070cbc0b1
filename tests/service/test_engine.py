"""The engine on the small models of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import pytest

from service.engine import Engine
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
