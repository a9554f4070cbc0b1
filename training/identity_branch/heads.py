"""From recognition features and R-Net's coefficients to the identity: ridge regression.

Fitted to some people and judged by others. Targets are in sigmas, and an error is measured in mm:
the square root of a quadratic form of `losses.quadratic_forms.face_forms`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facewright.models.arrays import DoubleArray

RIDGES = tuple(10.0 ** (k / 2) for k in range(-2, 11))
"""Penalties on standardized inputs, in portraits."""


@dataclass(frozen=True, eq=False)
class Head:
    """A linear map.

    Attributes:
        weight: (D, 80).
        bias: (80,).
        ridge: the penalty that it was fitted with.
        error: root mean square distance in mm on the people that chose it.
    """

    weight: DoubleArray
    bias: DoubleArray
    ridge: float
    error: float

    def predict(self, seen: npt.NDArray[np.float32]) -> DoubleArray:
        """(N, 80) of inputs (N, D)."""
        predicted: DoubleArray = seen @ self.weight + self.bias
        return predicted


def distance(difference: DoubleArray, form: DoubleArray) -> float:
    """Root mean square distance, mm, of coefficient differences (N, 80)."""
    return float(np.sqrt(np.einsum("ni,ij,nj->n", difference, form, difference).mean()))


def fit_head(
    seen: npt.NDArray[np.float32],
    identity: DoubleArray,
    choosing: npt.NDArray[np.bool_],
    form: DoubleArray,
) -> Head:
    """The ridge regression whose penalty does best on the people that choose it.

    Args:
        seen: (N, D), features and coefficients.
        identity: (N, 80), true.
        choosing: (N,): whose error chooses the penalty; not fitted to.
        form: (80, 80) mm².
    """
    mean, spread = seen[~choosing].mean(0), seen[~choosing].std(0) + 1e-6
    x = ((seen[~choosing] - mean) / spread).astype(np.float64)
    middle = identity[~choosing].mean(0)
    gram, moments = x.T @ x, x.T @ (identity[~choosing] - middle)
    heads = []
    for ridge in RIDGES:
        weight = np.linalg.solve(gram + ridge * np.eye(len(gram)), moments) / spread[:, None]
        bias = middle - mean @ weight
        error = distance(seen[choosing] @ weight + bias - identity[choosing], form)
        heads.append(Head(weight, bias, ridge, error))
    return min(heads, key=lambda head: head.error)
