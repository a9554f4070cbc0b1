"""What blendshapes are worth: a map from coefficients to what Face Landmarker tells of photos."""

from __future__ import annotations

import numpy as np

from facewright.models.arrays import Array
from facewright.models.blendshape_calibration import BlendshapeCalibration
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.layout import CoefficientLayout
from facewright.training.evaluation.blendshapes import LANDMARKER_ORDER

RIDGE = 0.03
FOLDS = 5
#: What Face Landmarker moves less than this by itself (standard deviation), or the map agrees less
#: with in people it has not seen (correlation), stays as the least squares have it.
LEAST_MOVED, LEAST_AGREEMENT = 0.02, 0.4
#: A linear regression moves less than what it learned from; it is scaled up to as much, at most by
#: this.
MOST_GAIN = 2.0


def calibrate(
    layout: CoefficientLayout, coefficients: Array, landmarker: Array, weights_sha256: str
) -> BlendshapeCalibration:
    """Learn the map from n photos of people, one photo each.

    Args:
        layout: of the coefficients.
        coefficients: (n, layout.size).
        landmarker: (n, 52) in `LANDMARKER_ORDER`.
        weights_sha256: of the file whose coefficients they are.
    """
    parts = layout.split(coefficients.astype(np.float64))
    known = np.concatenate([parts.expression, parts.identity], axis=1)
    names = [name for name in ARKIT_BLENDSHAPES if name in LANDMARKER_ORDER]
    told = landmarker[:, [LANDMARKER_ORDER.index(name) for name in names]]
    mean, spread = told.mean(axis=0), told.std(axis=0)

    apart = np.empty_like(told)
    fold = np.arange(len(told)) % FOLDS
    for k in range(FOLDS):
        matrix, offset = _ridge(known[fold != k], told[fold != k])
        apart[fold == k] = known[fold == k] @ matrix.T + offset
    off = apart - apart.mean(axis=0)
    norm = np.maximum(np.linalg.norm(off, axis=0) * np.linalg.norm(told - mean, axis=0), 1e-9)
    agreement = (off * (told - mean)).sum(axis=0) / norm
    gain = np.minimum(spread / np.maximum(apart.std(axis=0), 1e-9), MOST_GAIN)
    kept = (spread > LEAST_MOVED) & (agreement > LEAST_AGREEMENT)

    matrix, offset = _ridge(known, told)
    return BlendshapeCalibration(
        (gain[:, None] * matrix)[kept].astype(np.float32),
        (mean + gain * (offset - mean))[kept].astype(np.float32),
        tuple(name for name, keep in zip(names, kept, strict=True) if keep),
        weights_sha256,
    )


def _ridge(known: Array, told: Array) -> tuple[Array, Array]:
    """(k, m) and (k,): ridge regression of (n, k) on (n, m), whose scale does not matter."""
    mean, spread = known.mean(axis=0), known.std(axis=0) + 1e-9
    even = (known - mean) / spread
    normal = even.T @ even + RIDGE * len(even) * np.eye(even.shape[1])
    matrix = np.linalg.solve(normal, even.T @ (told - told.mean(axis=0))).T / spread
    return matrix, told.mean(axis=0) - matrix @ mean
