"""The floor: the same networks on the same pixels, in a bare ONNX Runtime loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

import numpy as np

from facewright.models.arrays import ByteArray, FloatArray
from facewright.service.networks.image_networks import Outputs, Query, answer
from facewright.service.networks.regression import INPUT, Prediction
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.job import Job
from facewright.service.pipeline.reconstruction import Reconstructor
from facewright.service.runtime.processors import usable_processors
from facewright.service.runtime.sessions import open_session
from facewright.service.settings import Settings


class Floor:
    """What one photo asks of the networks, ready to be asked again and again.

    The inputs are recorded from one way of the photo through `engine`, whose detector must have
    networks of its own, on the CPU.  The regressor's session is opened as the server opens it.
    """

    def __init__(self, engine: Engine, photo: bytes) -> None:
        settings: Settings = engine.settings
        threads = settings.inference_threads or usable_processors()
        regressor = open_session(engine.weights, threads=threads)
        networks = engine.detector.networks
        self._detection: list[Callable[[], object]] = []
        self._regression: list[Callable[[], object]] = []

        def detect(queries: Sequence[Query]) -> Sequence[Outputs]:
            for (name, _), alike in groupby(queries, key=lambda q: (q.network, q.image.shape)):
                batch = _nchw(np.stack([query.image for query in alike]))
                self._detection.append(partial(networks[name].run, batch))
            return answer(networks, queries)

        def regress(crops_u8: ByteArray) -> Prediction:
            batch = _nchw(crops_u8) / np.float32(255)
            self._regression.append(partial(regressor.run, None, {INPUT: batch}))
            return engine.regressor.regress(crops_u8)

        rgb_u8 = engine.decode(photo, Job())
        detector = engine.detector.asking(detect, only_largest=True)
        Reconstructor(engine.model, detector, regress, engine.regressor.alignment).reconstruct(
            rgb_u8, "largest"
        )

    def once(self) -> tuple[float, float]:
        """Seconds that detection and regression take for the photo, one after the other."""
        return _seconds(self._detection), _seconds(self._regression)

    def run(self, seconds: float) -> list[tuple[float, float]]:
        """The times of as many rounds as begin within `seconds`, one at least."""
        times = [self.once()]
        while sum(map(sum, times)) < seconds:
            times.append(self.once())
        return times


def _seconds(calls: Sequence[Callable[[], object]]) -> float:
    began = time.perf_counter()
    for call in calls:
        call()
    return time.perf_counter() - began


def _nchw(images: ByteArray) -> FloatArray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
