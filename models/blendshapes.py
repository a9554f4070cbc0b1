"""Expression coefficients as weights of ARKit's blendshapes, which live animation takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facewright.models.blendshape_calibration import BlendshapeCalibration
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.jit import kernel
from facewright.models.landmarks import INNER_MOUTH
from facewright.models.morphable_model import PART_SKIN, MorphableModel

# Penalty on a weight's square, as a share of the mean blendshape's: blendshapes that do nearly the
# same share the work instead of fighting each other.
_RIDGE: Final = 2e-3
# The blendshape that closes lips, and the most of it that a face at rest has.
_CLOSES, _MOST_CLOSED = "mouthClose", 0.12
# Sweeps of the coordinate descent, and the largest change of a weight that ends it.
_SWEEPS, _SETTLED = 200, 1e-4


@dataclass(frozen=True, eq=False)
class Blendshapes:
    """What an expression is in blendshapes."""

    weights: NDArray[np.float32]
    """(52,) in [0, 1], in the order of `ARKIT_BLENDSHAPES`."""
    residual_mm: float
    """Root mean square of what they leave of the expression, over the skin."""
    calibrated: NDArray[np.float32] | None
    """(52,) in [0, 1]: as far as a face tracker would say; None without a calibration."""


class BlendshapeSolver:
    """Bounded least squares of the expression over the skin, by coordinate descent.

    Weights are told from a face at rest, whose lips just meet.  `tongueOut` is never found, for a
    face model's skin does not tell it.  Raises ValueError for a face model that names none of the
    blendshapes, and for a calibration of other coefficients.
    """

    def __init__(
        self, model: MorphableModel, calibration: BlendshapeCalibration | None = None
    ) -> None:
        known = [name for name in ARKIT_BLENDSHAPES if name in model.expression_units]
        if not known:
            raise ValueError("the face model names none of ARKit's blendshapes")
        n_coefficients = model.n_expression + model.n_identity
        if calibration is not None and calibration.matrix.shape[1] != n_coefficients:
            raise ValueError(f"the calibration is not of {n_coefficients} coefficients")
        self._calibration = calibration
        rows = [model.expression_units.index(name) for name in known]
        units = model.expression_unit_coefficients[rows].astype(np.float64)
        self._places = np.array([ARKIT_BLENDSHAPES.index(name) for name in known])
        basis = model.expression_basis.reshape(model.n_expression, -1).astype(np.float64)
        weights = np.repeat(_skin_weights(model), 3)
        # Of coefficients c, c @ gram @ c is the mean square displacement of the skin in mm^2.
        self._gram = (basis * weights) @ basis.T
        self._project = units @ self._gram
        normal = self._project @ units.T
        normal += _RIDGE * np.trace(normal) / len(normal) * np.eye(len(normal))
        self._normal = np.ascontiguousarray(normal)
        self._units = units
        self._closing = np.zeros(model.n_expression, np.float32)
        self._parted, self._parted_by = 0.0, np.zeros(model.n_identity, np.float32)
        if _CLOSES in known:
            self._closing[:] = units[known.index(_CLOSES)]
            self._parted, self._parted_by = _parted(model, self._closing)

    def resting(self, identity: NDArray[np.float32]) -> NDArray[np.float32]:
        """The expression (64,) at which the lips of a person (80,) just meet.

        Without expression those of the shipped face model are 1 mm apart.  Zero for a face model
        without `mouthClose`.
        """
        parted = float(self._parted + self._parted_by @ identity)
        return np.float32(np.clip(parted, 0, _MOST_CLOSED)) * self._closing

    def solve(self, expression: NDArray[np.float32], identity: NDArray[np.float32]) -> Blendshapes:
        """The weights nearest to the expression coefficients (64,) of a person (80,), in sigmas."""
        wanted = (expression - self.resting(identity)).astype(np.float64)
        found = np.zeros(len(self._places))
        _descend(self._normal, self._project @ wanted, found, _SWEEPS, _SETTLED)
        left = wanted - found @ self._units
        weights = np.zeros(len(ARKIT_BLENDSHAPES), np.float32)
        weights[self._places] = found
        calibrated = None
        if self._calibration is not None:
            calibrated = self._calibration.calibrated(weights, expression, identity)
        residual = float(np.sqrt(max(left @ self._gram @ left, 0.0)))
        return Blendshapes(weights, residual, calibrated)


def _parted(
    model: MorphableModel, closing: NDArray[np.float32]
) -> tuple[float, NDArray[np.float32]]:
    """How much of an expression (64,) closes the lips of the mean face; and per sigma (80,)."""
    upper, lower = model.landmarks[INNER_MOUTH][1:4], model.landmarks[INNER_MOUTH][7:4:-1]

    def gap(cages: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) mm, the mean of what the landmarks of the inner lips (N, C, 3) are apart."""
        points = model.refine(np.ascontiguousarray(cages, np.float32))
        return (points[:, upper, 1] - points[:, lower, 1]).mean(axis=1)

    unit = np.tensordot(closing, model.expression_basis, 1)
    closes = -float(gap(unit[None])[0])
    return float(gap(model.mean_shape[None])[0]) / closes, gap(model.identity_basis) / closes


def _skin_weights(model: MorphableModel) -> NDArray[np.float64]:
    """(C,) how much of the skin each cage vertex carries; sums to 1."""
    skin = model.parts == PART_SKIN
    if model.subdivision is None:
        return skin / skin.sum()
    rows = model.subdivision.take(np.flatnonzero(skin))
    sums = np.bincount(rows.indices, rows.data.astype(np.float64), model.n_cage_vertices)
    weights: NDArray[np.float64] = np.maximum(sums, 0.0) / skin.sum()
    return weights


@kernel
def _descend(
    normal: NDArray[np.float64],
    right: NDArray[np.float64],
    weights: NDArray[np.float64],
    sweeps: int,
    settled: float,
) -> None:
    """Minimize w N w / 2 - r w over 0 <= w <= 1, in place."""
    for _ in range(sweeps):
        largest = 0.0
        for i in range(weights.shape[0]):
            slope = right[i]
            for j in range(weights.shape[0]):
                slope -= normal[i, j] * weights[j]
            value = min(max(weights[i] + slope / normal[i, i], 0.0), 1.0)
            largest = max(largest, abs(value - weights[i]))
            weights[i] = value
        if largest < settled:
            break
