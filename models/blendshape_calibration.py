"""Blendshapes as a face tracker would tell them of the same photo, from coefficients.

The least squares of `models.blendshapes` say how far a mesh is moved.  People smile, blink and
frown with less of that than live trackers give for it, so the numbers that are to drive an avatar
come from a linear map of the coefficients, learned from photographs
(`facewright-train calibrate-blendshapes`).  It belongs to the weights that it was learned for and
lies beside their file.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewright.models.blendshape_names import ARKIT_BLENDSHAPES

_NAMES = {"matrix", "offset", "header"}
_FORMAT = "facewright-blendshape-calibration"


class CalibrationFileError(ValueError):
    """A file is not a calibration of blendshapes."""


class ForeignCalibration(CalibrationFileError):
    """A calibration belongs to other weights."""


@dataclass(frozen=True, eq=False)
class BlendshapeCalibration:
    """A linear map to some of `ARKIT_BLENDSHAPES`; raises ValueError for other shapes."""

    matrix: NDArray[np.float32]
    """(k, E + I) for the expression coefficients (E,) and the identity's (I,), in sigmas."""
    offset: NDArray[np.float32]
    """(k,)."""
    names: tuple[str, ...]
    """The k blendshapes."""
    weights_sha256: str
    """Of the file of weights whose coefficients it takes."""

    def __post_init__(self) -> None:
        k = len(self.names)
        if self.matrix.ndim != 2 or len(self.matrix) != k or self.offset.shape != (k,):
            raise ValueError(f"a calibration of {k} blendshapes has a row and an offset for each")
        if not (np.isfinite(self.matrix).all() and np.isfinite(self.offset).all()):
            raise ValueError("a calibration is finite")
        if len(set(self.names)) < k or not set(self.names) <= set(ARKIT_BLENDSHAPES):
            raise ValueError("a calibration names blendshapes of ARKit, each once")

    def calibrated(
        self,
        weights: NDArray[np.float32],
        expression: NDArray[np.float32],
        identity: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """(52,) in [0, 1], in the order of `ARKIT_BLENDSHAPES`.

        weights: (52,) of the least squares, for what no photographs tell about.
        expression: (E,).  identity: (I,).
        """
        result = weights.copy()
        told = self.matrix @ np.concatenate([expression, identity]) + self.offset
        rows = [ARKIT_BLENDSHAPES.index(name) for name in self.names]
        result[rows] = np.clip(told, 0, 1)
        return result

    def save(self, path: Path) -> None:
        """Write a file; the same calibration gives the same bytes."""
        header = {
            "format": _FORMAT,
            "names": list(self.names),
            "weights_sha256": self.weights_sha256,
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in (
                ("matrix", self.matrix.astype("<f4")),
                ("offset", self.offset.astype("<f4")),
                ("header", np.frombuffer(json.dumps(header).encode(), np.uint8)),
            ):
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
                info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
                archive.writestr(info, buffer.getvalue(), zipfile.ZIP_DEFLATED)

    @classmethod
    def load(cls, path: Path, weights_sha256: str) -> BlendshapeCalibration:
        """Read the calibration of weights.

        Raises `ForeignCalibration` for another one's, `CalibrationFileError` when the file is no
        sound calibration, OSError when it cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                if set(file.files) != _NAMES:
                    raise ValueError("missing or unknown entries")
                header = json.loads(file["header"].tobytes())
                if header.get("format") != _FORMAT:
                    raise ValueError("another format")
                result = cls(
                    file["matrix"].astype(np.float32),
                    file["offset"].astype(np.float32),
                    tuple(header["names"]),
                    str(header["weights_sha256"]),
                )
        except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise CalibrationFileError(f"not a calibration of blendshapes: {error}") from error
        if result.weights_sha256 != weights_sha256:
            raise ForeignCalibration("the calibration of blendshapes belongs to other weights")
        return result


def calibration_beside(weights: Path) -> Path:
    """Where the calibration of a file of weights lies."""
    return weights.with_suffix(".blendshapes.npz")
