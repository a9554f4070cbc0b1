"""A network's expressions in ARKit's blendshapes, beside Face Landmarker's for the same photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facewright.models.arrays import Array
from facewright.models.blendshape_calibration import BlendshapeCalibration
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.blendshapes import BlendshapeSolver
from facewright.models.layout import CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.training.evaluation.report import Figure

# Face Landmarker's 52: the neutral face, then ARKit's names in alphabetical order but the tongue.
LANDMARKER_ORDER = ("_neutral", *sorted(set(ARKIT_BLENDSHAPES) - {"tongueOut"}))

MEASURED = {
    "jawOpen": ("jawOpen",),
    "mouthSmile": ("mouthSmileLeft", "mouthSmileRight"),
    "eyeBlink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "browInnerUp": ("browInnerUp",),
    "mouthPucker": ("mouthPucker",),
}
"""What is measured: names of figures and the blendshapes whose mean each is."""


def read_blendshapes(path: Path, names: Sequence[str]) -> Array:
    """Face Landmarker's numbers (n, 52) of photos by their names.

    path: .npz of `names` and `blendshapes52` (N, 52) in `LANDMARKER_ORDER`.
    Raises KeyError for a name or an array that the file lacks.
    """
    with np.load(path) as file:
        rows = {name: row for row, name in enumerate(file["names"].tolist())}
        return np.asarray(file["blendshapes52"][[rows[name] for name in names]], np.float64)


QUIET = 0.05
"""Face Landmarker's number below which it sees nothing of a blendshape."""


def blendshape_figures(
    model: MorphableModel,
    layout: CoefficientLayout,
    coefficients: Array,
    landmarker: Array,
    measured_on: str,
    calibration: BlendshapeCalibration | None = None,
) -> list[Figure]:
    """Slopes and correlations of `MEASURED` over Face Landmarker's, of n photos.

    The slope is that of least squares: 1 where a blendshape moves as far as Face Landmarker says.
    And what the blendshapes are on average where Face Landmarker sees nothing of them.

    coefficients: (n, layout.size).  landmarker: (n, 52).
    calibration: measure the calibrated blendshapes.
    """
    solver = BlendshapeSolver(model, calibration)
    parts = layout.split(coefficients.astype(np.float32))
    solved = [
        solver.solve(expression, identity)
        for expression, identity in zip(parts.expression, parts.identity, strict=True)
    ]
    own = np.stack([one.weights if one.calibrated is None else one.calibrated for one in solved])
    own = own.astype(np.float64)
    figures = []
    for name, units in MEASURED.items():
        told = landmarker[:, [LANDMARKER_ORDER.index(unit) for unit in units]].mean(axis=1)
        seen = own[:, [ARKIT_BLENDSHAPES.index(unit) for unit in units]].mean(axis=1)
        quiet = told < QUIET
        at_rest = float(seen[quiet].mean()) if quiet.any() else float("nan")
        told, seen = told - told.mean(), seen - seen.mean()
        slope = float(told @ seen / (told @ told))
        agreement = float(told @ seen / np.sqrt((told @ told) * (seen @ seen)))
        figures.append(Figure(measured_on, f"{name}: slope", "", slope, 0.0))
        figures.append(Figure(measured_on, f"{name}: correlation", "", agreement, 0.0))
        figures.append(Figure(measured_on, f"{name}: mean at rest", "", at_rest, 0.0))
    return figures
