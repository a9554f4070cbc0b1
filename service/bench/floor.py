"""The floor: the same networks on the same pixels, in a bare ONNX Runtime loop."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from facewright.service.networks.centerface import CenterFace, Maps
from facewright.service.networks.centerface_graph import centerface_graph
from facewright.service.networks.regression import INPUT, Prediction
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.reconstruction import Reconstructor
from facewright.service.runtime.deadline import Deadline
from facewright.service.runtime.processors import usable_processors
from facewright.service.runtime.sessions import open_session
from facewright.service.settings import Settings
from facewright.service.telemetry.stages import StageClock

Float32 = npt.NDArray[np.float32]
RgbU8 = npt.NDArray[np.uint8]


class Floor:
    """What one photo asks of the networks, ready to be asked again and again.

    The inputs are recorded from one way of the photo through `engine`, which must use the
    embedded detector on the CPU.  Sessions are opened as the server opens them.
    """

    def __init__(self, engine: Engine, photo: bytes) -> None:
        settings: Settings = engine.settings
        threads = settings.inference_threads or usable_processors()
        detector = open_session(centerface_graph(), threads=threads)
        regressor = open_session(engine.weights, threads=threads)
        self._calls: list[tuple[ort.InferenceSession, list[str] | None, str, Float32]] = []

        def detect(images: Sequence[RgbU8]) -> Sequence[Maps]:
            batch = _nchw(np.stack(images))
            self._calls.append((detector, None, "photo", batch))
            return engine.detector.network(images)  # type: ignore[attr-defined]

        def regress(crops_u8: RgbU8) -> Prediction:
            batch = _nchw(crops_u8) / np.float32(255)
            self._calls.append((regressor, None, INPUT, batch))
            return engine.regressor.regress(crops_u8)

        assert isinstance(engine.detector, CenterFace)
        rgb_u8 = engine.decode(photo, Deadline(), StageClock())
        Reconstructor(engine.model, engine.detector.asking(detect), regress).reconstruct(
            rgb_u8, "largest"
        )

    def once(self) -> float:
        """Seconds that all the networks together take for the photo, one after the other."""
        began = time.perf_counter()
        for session, outputs, name, batch in self._calls:
            session.run(outputs, {name: batch})
        return time.perf_counter() - began

    def run(self, seconds: float) -> list[float]:
        """The times of as many rounds as begin within `seconds`, one at least."""
        times = [self.once()]
        while sum(times) < seconds:
            times.append(self.once())
        return times


def _nchw(images: RgbU8) -> Float32:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
