"""The segmentation network: which pixels around a face show its skin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facewright.models.arrays import ByteArray, FloatArray
from facewright.models.segmentation import CLASSES, INPUT, OUTPUT, SEGMENTATION_SIDE
from facewright.service.errors import ModelError
from facewright.service.runtime.sessions import nchw, open_session, runner

_IMAGE = [3, SEGMENTATION_SIDE, SEGMENTATION_SIDE]


class Segmenter:
    """Segments crops of faces, on one thread of the CPU: it takes milliseconds; thread safe.

    `onnx_path` maps `crops` (N, 3, 128, 128), RGB in [0, 1], to `shares` (N, 4, 128, 128), the
    probabilities of the classes of `models.segmentation`.  Raises `ModelError` for another file.
    """

    def __init__(self, onnx_path: Path) -> None:
        session = open_session(onnx_path)
        inputs = {value.name: value.shape[1:] for value in session.get_inputs()}
        outputs = {value.name: value.shape[1:] for value in session.get_outputs()}
        if inputs != {INPUT: _IMAGE} or outputs != {OUTPUT: [len(CLASSES), *_IMAGE[1:]]}:
            raise ModelError(f"{onnx_path}: no segmentation network: it maps {inputs} to {outputs}")
        self._network = runner(session)

    def warm_up(self) -> None:
        """Run once, so that the first photo does not pay for allocations."""
        self.segment([np.zeros((SEGMENTATION_SIDE, SEGMENTATION_SIDE, 3), np.uint8)])

    def segment(self, crops_u8: Sequence[ByteArray]) -> list[FloatArray]:
        """Shares (4, 128, 128) of each of N >= 1 RGB crops (128, 128, 3)."""
        crops_nchw = nchw(crops_u8)
        crops_nchw *= np.float32(1 / 255)
        return list(self._network([OUTPUT], {INPUT: crops_nchw})[0])
