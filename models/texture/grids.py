"""Smooth fields over a texture, on a coarse grid: what joins pieces without a seam.

Colors of two sources of the same skin differ by light and exposure, which change slowly over a
face.  Their ratio, known where both sources show the skin, is continued to where only one does
as a membrane that is held by the known values (Perez et al. 2003, "Poisson Image Editing", give
the idea: a correction that is harmonic beyond the known leaves no edge).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel

GRID = 128
"""Cells along a side: 2 mm on the skin, coarser than pores and finer than shading."""

# Pull of the neighbors against a cell's own value of weight 1.
_TENSION = np.float32(0.25)
_SWEEPS = 12
DARK = np.float32(6.0)
"""Added to colors (0 to 255) before their ratio is taken, or black would have any."""
MOST = np.float32(1.4)
"""No light changes skin more than this between two sources, in natural logarithms."""


def continue_smoothly(
    values: NDArray[np.float32], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Fill a grid from the cells that have weight, and smooth it a little there.

    values: (G, G, C), G a power of two.  weights: (G, G) in [0, 1].  Minimizes the weighted
    squared distance from the values plus the squared differences between neighbors.
    Returns (G, G, C) float32; 0 everywhere when no cell has weight.
    """
    if not weights.any():
        return np.zeros_like(values)
    # Kernels take arrays in one form only.
    values, weights = np.ascontiguousarray(values), np.ascontiguousarray(weights)
    field = _push_pull(values * weights[..., None], weights)
    _relax(field, values, weights, _SWEEPS)
    return field


def log_color(colors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colors (0 to 255) on a scale where a change of light is a shift."""
    return np.log(colors + DARK)


def _push_pull(weighted: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Averages over ever larger cells, taken where the smaller ones have no weight."""
    if len(weights) == 1:
        return weighted / np.maximum(weights, np.float32(1e-12))[..., None]
    half = len(weights) // 2
    sums = np.empty((half, half, weighted.shape[2]), np.float32)
    masses = np.empty((half, half), np.float32)
    _push(weighted, weights, sums, masses)
    field = np.empty_like(weighted)
    _pull(weighted, weights, _push_pull(sums, masses), field)
    return field


@kernel
def _push(
    weighted: NDArray[np.float32],
    weights: NDArray[np.float32],
    sums: NDArray[np.float32],
    masses: NDArray[np.float32],
) -> None:
    for row in range(masses.shape[0]):
        for column in range(masses.shape[1]):
            i, j = 2 * row, 2 * column
            masses[row, column] = (
                weights[i, j] + weights[i, j + 1] + weights[i + 1, j] + weights[i + 1, j + 1]
            )
            for channel in range(sums.shape[2]):
                sums[row, column, channel] = (
                    weighted[i, j, channel]
                    + weighted[i, j + 1, channel]
                    + weighted[i + 1, j, channel]
                    + weighted[i + 1, j + 1, channel]
                )


@kernel
def _pull(
    weighted: NDArray[np.float32],
    weights: NDArray[np.float32],
    coarse: NDArray[np.float32],
    field: NDArray[np.float32],
) -> None:
    one = np.float32(1.0)
    for row in range(weights.shape[0]):
        for column in range(weights.shape[1]):
            weight = weights[row, column]
            share = min(weight, one)
            scale = share / max(weight, np.float32(1e-12))
            for channel in range(field.shape[2]):
                beneath = coarse[row // 2, column // 2, channel]
                own = scale * weighted[row, column, channel]
                field[row, column, channel] = own + (one - share) * beneath


@kernel
def _relax(
    field: NDArray[np.float32],
    values: NDArray[np.float32],
    weights: NDArray[np.float32],
    sweeps: int,
) -> None:
    """Gauss-Seidel, up and down in turn."""
    size, channels = field.shape[0], field.shape[2]
    scales = np.float32(1.0) / (weights + np.float32(4.0) * _TENSION)
    for sweep in range(sweeps):
        for i in range(size):
            row = i if sweep % 2 == 0 else size - 1 - i
            above, below = max(row - 1, 0), min(row + 1, size - 1)
            for j in range(size):
                column = j if sweep % 2 == 0 else size - 1 - j
                left, right = max(column - 1, 0), min(column + 1, size - 1)
                scale = scales[row, column]
                own, others = scale * weights[row, column], scale * _TENSION
                for channel in range(channels):
                    around = (
                        field[above, column, channel]
                        + field[below, column, channel]
                        + field[row, left, channel]
                        + field[row, right, channel]
                    )
                    field[row, column, channel] = (
                        own * values[row, column, channel] + others * around
                    )
