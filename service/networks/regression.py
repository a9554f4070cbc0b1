"""R-Net and C-Net in ONNX Runtime: from crops to coefficients and confidences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from facewright.models.agreement import STRANGER_DISTANCE
from facewright.models.camera import CROP_SIZE
from facewright.models.layout import LAYOUT_239
from facewright.service.errors import ModelError
from facewright.service.runtime.sessions import CPU_PROVIDERS, Provider, nchw, open_session, runner

Prediction = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Coefficients (N, 239) and confidences (N, 80) of crops, or (239,) and (80,) of one."""

INPUT = "crops"
OUTPUTS = ("coefficients", "confidences")


class Regressor:
    """The regression network; safe to call from several threads.

    `onnx_path` is an exported graph: input `crops` (N, 3, 224, 224) float32 in [0, 1],
    outputs `coefficients` (N, 239) and `confidences` (N, 80) float32.  `providers` and
    `threads` are those of `open_session`.  `face_model_sha256` is the checksum of the face
    model that the coefficients will drive; coefficients mean nothing to another one.

    Raises `ModelError` when the file is missing or no such graph, when its layout is not the
    paper's 239, its stranger distance no positive number, or when it was trained for another face
    model.
    """

    def __init__(
        self,
        onnx_path: Path,
        providers: Sequence[Provider] = CPU_PROVIDERS,
        threads: int = 1,
        *,
        face_model_sha256: str | None = None,
    ) -> None:
        self._session = open_session(onnx_path, providers, threads)
        self._network = runner(self._session)
        self.metadata: Mapping[str, str] = MappingProxyType(
            dict(self._session.get_modelmeta().custom_metadata_map)
        )
        """What the export wrote: name, version, licence, layout, face_model, stranger_distance."""
        self.stranger_distance = _stranger_distance(self.metadata)
        """Sigmas beyond which these weights take a photo of an album for a stranger's."""
        self._check_signature()
        layout = self.metadata.get("layout")
        if layout != LAYOUT_239.name:
            raise ModelError(f"the weights have layout {layout}, not {LAYOUT_239.name}")
        trained_for = self.metadata.get("face_model")
        if face_model_sha256 is not None and trained_for != face_model_sha256:
            raise ModelError(
                f"the weights were trained for face model {trained_for}, "
                f"but {face_model_sha256} is loaded"
            )

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Run once per batch size, so that the first photo does not pay for allocations."""
        for size in batch_sizes:
            self.regress(np.zeros((size, CROP_SIZE, CROP_SIZE, 3), dtype=np.uint8))

    def regress(self, crops_u8: npt.NDArray[np.uint8]) -> Prediction:
        """Coefficients (N, 239) and confidences (N, 80) of RGB crops (N, 224, 224, 3), N >= 0.

        Raises ValueError for another shape or dtype, `ModelError` when the network answers
        any of them with numbers that are not finite.
        """
        coefficients, confidences = self._run(crops_u8)
        if not _finite(coefficients, confidences).all():
            raise _not_finite()
        return coefficients, confidences

    def regress_each(self, crops_u8: npt.NDArray[np.uint8]) -> list[Prediction | ModelError]:
        """Like `regress` for crops of different callers: an answer or an error for each crop.

        An answer is the crop's coefficients (239,) and confidences (80,).
        """
        coefficients, confidences = self._run(crops_u8)
        rows = zip(coefficients, confidences, _finite(coefficients, confidences), strict=True)
        return [(row[0], row[1]) if row[2] else _not_finite() for row in rows]

    def _run(self, crops_u8: npt.NDArray[np.uint8]) -> Prediction:
        if crops_u8.dtype != np.uint8 or crops_u8.shape[1:] != (CROP_SIZE, CROP_SIZE, 3):
            raise ValueError(
                f"expected uint8 (N, {CROP_SIZE}, {CROP_SIZE}, 3), "
                f"got {crops_u8.dtype} {crops_u8.shape}"
            )
        if not len(crops_u8):
            return np.zeros((0, LAYOUT_239.size), np.float32), np.zeros((0, 80), np.float32)
        crops_nchw = nchw(crops_u8)
        crops_nchw *= np.float32(1 / 255)
        coefficients, confidences = self._network(OUTPUTS, {INPUT: crops_nchw})
        return coefficients, confidences

    def _check_signature(self) -> None:
        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        identity = LAYOUT_239.identity.stop - LAYOUT_239.identity.start
        if (
            set(inputs) != {INPUT}
            or inputs[INPUT][1:] != [3, CROP_SIZE, CROP_SIZE]
            or not set(OUTPUTS) <= set(outputs)
            or outputs["coefficients"][1:] != [LAYOUT_239.size]
            or outputs["confidences"][1:] != [identity]
        ):
            raise ModelError(f"no regression network: it maps {inputs} to {outputs}")


def _finite(
    coefficients: npt.NDArray[np.float32], confidences: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """(N,): whether all numbers of a row are finite."""
    return np.isfinite(np.concatenate([coefficients, confidences], axis=1)).all(axis=1)


def _not_finite() -> ModelError:
    return ModelError("the network answered with numbers that are not finite")


def _stranger_distance(metadata: Mapping[str, str]) -> float:
    text = metadata.get("stranger_distance", str(STRANGER_DISTANCE))
    try:
        distance = float(text)
    except ValueError:
        distance = math.nan
    if not 0 < distance < math.inf:
        raise ModelError(f"the weights have the stranger distance {text!r}")
    return distance
