"""Detectors of the insightface library, for those who have a model pack.

The library is MIT-licensed, but the model packs its makers publish (buffalo_l and others)
are for NON-COMMERCIAL RESEARCH ONLY.  None is shipped or fetched here: the user installs the
`insightface` extra and puts a pack into `ROOT/models/NAME`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.detection import DetectedFace
from service.errors import ModelError
from service.inference import CPU_PROVIDERS, Provider


class InsightFace:
    """The detection network of an insightface model pack.

    `pack` is the name of a directory in `root`/models that holds the pack's .onnx files.
    Faces that score below `score_threshold` are dropped.  Raises `ModelError` when the
    library or the pack is missing, or the pack has no detector that gives five points.
    """

    name = "insightface"

    def __init__(
        self,
        pack: str,
        root: Path,
        providers: Sequence[Provider] = CPU_PROVIDERS,
        *,
        score_threshold: float = 0.5,
        input_side: int = 640,
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
                allowed_modules=["detection"],
                providers=list(providers),
            )
            self._analysis.prepare(
                ctx_id=-1 if tuple(providers) == CPU_PROVIDERS else 0,
                det_thresh=score_threshold,
                det_size=(input_side, input_side),
            )
        except Exception as error:  # the library checks its files with bare assertions
            raise ModelError(f"insightface cannot load the pack {pack}: {error}") from error

    def detect(self, rgb_u8: npt.NDArray[np.uint8]) -> list[DetectedFace]:
        """Find the faces of a photo (H, W, 3), best score first.

        Raises `ModelError` when the pack's detector gives no points.
        """
        found = self._analysis.get(np.ascontiguousarray(rgb_u8[..., ::-1]))
        faces = []
        for face in found:
            if face.kps is None:
                raise ModelError("the insightface pack's detector gives no facial points")
            faces.append(
                DetectedFace(
                    box=np.asarray(face.bbox, dtype=np.float32),
                    points=np.asarray(face.kps, dtype=np.float32),
                    score=float(face.det_score),
                )
            )
        return sorted(faces, key=lambda face: face.score, reverse=True)
