"""R-Net and C-Net in ONNX Runtime: from crops to coefficients, confidences and descriptors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from facewright.models.agreement import STRANGER_COSINE, STRANGER_DISTANCE
from facewright.models.alignment import FixedAlignment
from facewright.models.camera import CROP_SIZE
from facewright.models.layout import LAYOUTS, CoefficientLayout
from facewright.service.errors import ModelError
from facewright.service.runtime.sessions import CPU_PROVIDERS, Provider, nchw, open_session, runner

Prediction = tuple[npt.NDArray[np.float32], ...]
"""Coefficients (N, size) and confidences (N, 80) of crops, or (size,) and (80,) of one.

Of weights that have them, descriptors (N, D) of unit length come third.
"""

INPUT = "crops"
OUTPUTS = ("coefficients", "confidences")
DESCRIPTORS = "descriptors"
"""A third output, which not all weights have: whose cosines tell people apart."""


class Regressor:
    """The regression network; safe to call from several threads.

    `onnx_path` is an exported graph: input `crops` (N, 3, 224, 224) float32 in [0, 1],
    outputs `coefficients` (N, size of its layout) and `confidences` (N, 80) float32, and maybe
    `descriptors` (N, D).  `providers` and `threads` are those of `open_session`.
    `face_model_sha256` is the checksum of the face model that the coefficients will drive;
    coefficients mean nothing to another one.  `face_model` is its file, for messages.

    Raises `ModelError` when the file is missing or no such graph, when its layout is unknown, its
    alignment none, its stranger distance no positive number or its stranger cosine none in -1..1,
    or when it was trained for another face model.
    """

    def __init__(
        self,
        onnx_path: Path,
        providers: Sequence[Provider] = CPU_PROVIDERS,
        threads: int = 1,
        *,
        face_model_sha256: str | None = None,
        face_model: Path | None = None,
    ) -> None:
        self._session = open_session(onnx_path, providers, threads)
        self._network = runner(self._session)
        self.metadata: Mapping[str, str] = MappingProxyType(
            dict(self._session.get_modelmeta().custom_metadata_map)
        )
        """What the export wrote: name, version, license, layout, face_model, stranger_distance."""
        self._path = onnx_path
        self.layout = self._read_layout()
        """Of the coefficients."""
        self.alignment = self._read_alignment()
        """How the weights want crops to be cut; None for this project's way."""
        self.confides = self.metadata.get("confidences") != "none"
        """Whether confidences are a C-Net's; without one they are all 1."""
        self.stranger_distance = _limit(
            self.metadata, "stranger_distance", STRANGER_DISTANCE, lambda d: 0 < d < math.inf
        )
        """Sigmas beyond which these weights take a photo of an album for a stranger's."""
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        self._check_signature(outputs)
        self.describes = DESCRIPTORS in outputs
        """Whether predictions have descriptors."""
        self._outputs = (*OUTPUTS, DESCRIPTORS) if self.describes else OUTPUTS
        dimension = outputs[DESCRIPTORS][1] if self.describes else 0
        self._nothing = [np.zeros((0, n), np.float32) for n in (self.layout.size, 80, dimension)]
        self.stranger_cosine = _limit(
            self.metadata, "stranger_cosine", STRANGER_COSINE, lambda cosine: -1 <= cosine <= 1
        )
        """Cosine of descriptors below which a photo of an album shows a stranger."""
        trained_for = self.metadata.get("face_model")
        if face_model_sha256 is not None and trained_for != face_model_sha256:
            raise ModelError(
                f"{onnx_path} was trained for face model {trained_for}, "
                f"but {face_model or 'the face model in use'} is {face_model_sha256}"
            )

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Run once per batch size, so that the first photo does not pay for allocations."""
        for size in batch_sizes:
            self.regress(np.zeros((size, CROP_SIZE, CROP_SIZE, 3), dtype=np.uint8))

    def regress(self, crops_u8: npt.NDArray[np.uint8]) -> Prediction:
        """The prediction for RGB crops (N, 224, 224, 3), N >= 0.

        Raises ValueError for another shape or dtype, `ModelError` when the network answers
        any of them with numbers that are not finite.
        """
        prediction = self._run(crops_u8)
        if not _finite(prediction).all():
            raise _not_finite()
        return prediction

    def regress_each(self, crops_u8: npt.NDArray[np.uint8]) -> list[Prediction | ModelError]:
        """Like `regress` for crops of different callers: an answer or an error for each crop.

        An answer is the crop's coefficients (239,), confidences (80,) and maybe descriptor (D,).
        """
        prediction = self._run(crops_u8)
        rows = zip(_finite(prediction), *prediction, strict=True)
        return [tuple(row) if finite else _not_finite() for finite, *row in rows]

    def _run(self, crops_u8: npt.NDArray[np.uint8]) -> Prediction:
        if crops_u8.dtype != np.uint8 or crops_u8.shape[1:] != (CROP_SIZE, CROP_SIZE, 3):
            raise ValueError(
                f"expected uint8 (N, {CROP_SIZE}, {CROP_SIZE}, 3), "
                f"got {crops_u8.dtype} {crops_u8.shape}"
            )
        if not len(crops_u8):
            return tuple(self._nothing[: len(self._outputs)])
        crops_nchw = nchw(crops_u8)
        crops_nchw *= np.float32(1 / 255)
        return tuple(self._network(self._outputs, {INPUT: crops_nchw}))

    def _read_layout(self) -> CoefficientLayout:
        name = self.metadata.get("layout", "")
        if name not in LAYOUTS:
            known = " or ".join(sorted(LAYOUTS))
            raise ModelError(f"{self._path}: no weights of layout {known}, but {name or 'none'}")
        return LAYOUTS[name]

    def _read_alignment(self) -> FixedAlignment | None:
        if "alignment" not in self.metadata:
            return None
        try:
            return FixedAlignment.from_text(self.metadata["alignment"])
        except ValueError as error:
            raise ModelError(f"{self._path}: {error}") from error

    def _check_signature(self, outputs: Mapping[str, list[int | str]]) -> None:
        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        identity = self.layout.identity.stop - self.layout.identity.start
        if (
            set(inputs) != {INPUT}
            or inputs[INPUT][1:] != [3, CROP_SIZE, CROP_SIZE]
            or not set(OUTPUTS) <= set(outputs)
            or outputs["coefficients"][1:] != [self.layout.size]
            or outputs["confidences"][1:] != [identity]
            or not isinstance(outputs.get(DESCRIPTORS, ["N", 0])[1], int)
        ):
            raise ModelError(f"{self._path}: no regression network: it maps {inputs} to {outputs}")


def _finite(prediction: Prediction) -> npt.NDArray[np.bool_]:
    """(N,): whether all numbers of a row are finite."""
    return np.isfinite(np.concatenate([*prediction], axis=1)).all(axis=1)


def _not_finite() -> ModelError:
    return ModelError("the network answered with numbers that are not finite")


def _limit(
    metadata: Mapping[str, str], name: str, default: float, sound: Callable[[float], bool]
) -> float:
    """A number that the export may have written; raises `ModelError` for one that is not sound."""
    text = metadata.get(name, str(default))
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not sound(limit):
        raise ModelError(f"the weights have the {name.replace('_', ' ')} {text!r}")
    return limit
