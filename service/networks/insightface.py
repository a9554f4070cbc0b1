"""Detectors and recognizers of the insightface library, for those who have a model pack.

The library is MIT-licensed, but the model packs its makers publish (buffalo_l and others)
are for NON-COMMERCIAL RESEARCH ONLY.  None is shipped or fetched here: the user installs the
`insightface` extra and puts a pack into `ROOT/models/NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from facewright.models.agreement import STRANGER_SIMILARITY
from facewright.models.arcface import cut_chip, of_unit_length
from facewright.models.arrays import ByteArray, FloatArray
from facewright.service.errors import ModelError
from facewright.service.networks.detection import DetectedFace
from facewright.service.networks.image_networks import Ask, ImageNetwork
from facewright.service.networks.recognition import Recognizer
from facewright.service.runtime.sessions import CPU_PROVIDERS, Provider

_THRESHOLD = 0.5
"""Faces that score below it are dropped."""
_SIDE = 640
"""Of the image that the whole photo is searched in, pixels."""


class InsightFace:
    """The detection network of an insightface model pack, and its recognition network.

    `pack` is the name of a directory in `root`/models that holds the pack's .onnx files.
    Raises `ModelError` when the library or the pack is missing, or the pack has no detector that
    gives five points.
    """

    name = "insightface"
    license = "model pack: non-commercial research only"
    networks: Mapping[str, ImageNetwork] = MappingProxyType({})

    def __init__(
        self, pack: str, root: Path, providers: Sequence[Provider] = CPU_PROVIDERS
    ) -> None:
        try:
            from insightface.app import FaceAnalysis
        except ImportError as error:
            raise ModelError(
                "the insightface detector needs the `insightface` extra to be installed"
            ) from error
        # Asked for a pack that is not there, the library would download one.
        directory = root / "models" / pack
        if pack != Path(pack).name or not any(directory.glob("*.onnx")):
            raise ModelError(f"there is no insightface model pack in {directory}")
        try:
            self._analysis = FaceAnalysis(
                name=pack,
                root=str(root),
                allowed_modules=["detection", "recognition"],
                providers=list(providers),
            )
            self._analysis.prepare(
                ctx_id=-1 if tuple(providers) == CPU_PROVIDERS else 0,
                det_thresh=_THRESHOLD,
                det_size=(_SIDE, _SIDE),
            )
        except Exception as error:  # the library checks its files with bare assertions
            raise ModelError(f"insightface cannot load the pack {pack}: {error}") from error
        network = self._analysis.models.get("recognition")
        self.recognizer: Recognizer | None = None if network is None else _ArcFace(network)

    def asking(self, ask: Ask, *, only_largest: bool = False, reduction: int = 1) -> InsightFace:
        """See `LoadedDetector`; the library asks its own networks."""
        return self

    def warm_up(self) -> None:
        """See `LoadedDetector`."""
        blank = np.zeros((_SIDE, _SIDE, 3), np.uint8)
        self.detect(blank)

    def detect(self, rgb_u8: ByteArray, *, turned: bool = False) -> list[DetectedFace]:
        """Find the faces of a photo (H, W, 3), best score first.

        Raises `ModelError` when the pack's detector gives no points.
        """
        # Not `FaceAnalysis.get`, which recognizes every face as well.
        boxes, points = self._analysis.det_model.detect(np.ascontiguousarray(rgb_u8[..., ::-1]))
        if len(boxes) and points is None:
            raise ModelError("the insightface pack's detector gives no facial points")
        faces = [
            DetectedFace(
                box=np.asarray(box[:4], dtype=np.float32),
                points=np.asarray(five, dtype=np.float32),
                score=float(box[4]),
            )
            for box, five in zip(boxes, [] if points is None else points, strict=True)
        ]
        return sorted(faces, key=lambda face: face.score, reverse=True)


class _ArcFace:
    """The recognition network of a pack, a `Recognizer`.

    `network` is the library's `ArcFaceONNX`, which knows its input's size and how to scale it.
    """

    stranger_cosine = STRANGER_SIMILARITY

    def __init__(self, network: Any) -> None:
        self._network = network

    def embed(self, rgb_u8: ByteArray, points: FloatArray) -> FloatArray:
        """See `Recognizer`."""
        side = int(self._network.input_size[0])
        # One by one: there are packs whose network takes no batches.
        embeddings = np.stack([self._embed_one(rgb_u8, five, side) for five in points])
        try:
            return of_unit_length(embeddings)
        except ValueError as error:
            raise ModelError(f"insightface's pack: {error}") from error

    def _embed_one(self, rgb_u8: ByteArray, points: FloatArray, side: int) -> FloatArray:
        # The library's own cut does not average over the pixels that it skips in large photos.
        # Its detectors count from the pixels' centers as well.
        chip = cut_chip(rgb_u8, points + 0.5, side)
        try:
            features = self._network.get_feat(np.ascontiguousarray(chip[..., ::-1]))
        except Exception as error:  # whatever the library and ONNX Runtime raise
            raise ModelError(f"insightface's recognition network failed: {error}") from error
        return np.asarray(features, dtype=np.float32).ravel()
