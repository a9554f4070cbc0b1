"""Filling what no photograph shows, from another source of the same skin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel
from facewright.models.rasterizer import EMPTY
from facewright.models.texture.grids import GRID, continue_smoothly, log_ratio

# How far the ratio of two pictures of the same skin usually varies over a face, in natural
# logarithms.
_USUAL_BRIGHTNESS, _USUAL_HUE = 0.5, 0.08


def complete(
    colours: NDArray[np.float32],
    coverage: NDArray[np.float32],
    source: NDArray[np.float32],
    source_coverage: NDArray[np.float32],
    islands: NDArray[np.int8],
) -> None:
    """Fill a texture in place where it is covered in part or not at all, and its coverage.

    The source is brought to the colours around by a smooth factor, taken where both are covered.
    colours, source: (N, N, 3) float32, 0 to 255.  coverage, source_coverage: (N, N) in [0, 1].
    islands: (N, N), which island each texel belongs to, from 0; -1 for none.  Factors are
        not carried from one island to another, for they may lie side by side by chance.
    """
    cells = min(GRID, len(islands))
    count = int(islands.max()) + 1
    sums = np.zeros((count, cells, cells, 2, 3), np.float32)
    masses = np.zeros((count, cells, cells), np.float32)
    _add_up(colours, coverage, source, source_coverage, islands, sums, masses)
    means = sums / np.maximum(masses, np.float32(1e-6))[..., None, None]
    # As a share of the texels that a cell has.
    known = np.minimum(masses * np.float32((cells / len(islands)) ** 2), np.float32(1.0))
    factors = np.empty((count, cells, cells, 3), np.float32)
    for island in range(count):
        ratios = log_ratio(means[island, :, :, 0], means[island, :, :, 1])
        trusted = known[island] * _likelihood(ratios, known[island])
        factors[island] = np.exp(continue_smoothly(ratios, trusted))
    _blend(colours, coverage, source, source_coverage, islands, factors)
    coverage += (1.0 - coverage) * source_coverage


def _likelihood(ratios: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """(G, G) in (0, 1]: how well each cell's ratio can be a matter of light.

    Light changes brightness more than it changes hue; hair and background differ from the face
    in both, and must not tint all that lies beyond them.
    """
    sure = ratios[known > 0.5]
    if not len(sure):
        return np.ones_like(known)
    difference = ratios - np.median(sure, axis=0)
    brightness = difference.mean(axis=-1)
    hue = ((difference - brightness[..., None]) ** 2).mean(axis=-1)
    squared = (brightness / _USUAL_BRIGHTNESS) ** 2 + hue / _USUAL_HUE**2
    return 1.0 / (1.0 + squared) ** 2


@kernel
def _add_up(
    colours: NDArray[np.float32],
    coverage: NDArray[np.float32],
    source: NDArray[np.float32],
    source_coverage: NDArray[np.float32],
    islands: NDArray[np.int8],
    sums: NDArray[np.float32],
    masses: NDArray[np.float32],
) -> None:
    size = islands.shape[0]
    step = size // sums.shape[1]
    for row in range(size):
        for column in range(size):
            island = islands[row, column]
            if island < 0:
                continue
            weight = coverage[row, column] * source_coverage[row, column]
            if weight > 0.0:
                cell = sums[island, row // step, column // step]
                for channel in range(3):
                    cell[0, channel] += weight * colours[row, column, channel]
                    cell[1, channel] += weight * source[row, column, channel]
                masses[island, row // step, column // step] += weight


@kernel
def _blend(
    colours: NDArray[np.float32],
    coverage: NDArray[np.float32],
    source: NDArray[np.float32],
    source_coverage: NDArray[np.float32],
    islands: NDArray[np.int8],
    factors: NDArray[np.float32],
) -> None:
    size = islands.shape[0]
    last = factors.shape[1] - 1
    to_cells = factors.shape[1] / size
    for row in range(size):
        y = min(max((row + 0.5) * to_cells - 0.5, 0.0), float(last))
        i = int(y)
        below, fy = min(i + 1, last), np.float32(y - i)
        for column in range(size):
            own = coverage[row, column]
            added = (np.float32(1.0) - own) * source_coverage[row, column]
            island = islands[row, column]
            if island < 0 or added <= 0.0:
                continue
            x = min(max((column + 0.5) * to_cells - 0.5, 0.0), float(last))
            j = int(x)
            right, fx = min(j + 1, last), np.float32(x - j)
            share = added / (own + added)
            for channel in range(3):
                upper = factors[island, i, j, channel]
                upper += fx * (factors[island, i, right, channel] - upper)
                lower = factors[island, below, j, channel]
                lower += fx * (factors[island, below, right, channel] - lower)
                wanted = source[row, column, channel] * (upper + fy * (lower - upper))
                colours[row, column, channel] += share * (wanted - colours[row, column, channel])


@kernel
def divide(colours: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
    """Weighted sums of colours (N, N, 3) to means, in place; 0 where the weight is."""
    for row in range(colours.shape[0]):
        for column in range(colours.shape[1]):
            weight = weights[row, column]
            scale = np.float32(1.0) / weight if weight > 0.0 else np.float32(0.0)
            for channel in range(3):
                colours[row, column, channel] *= scale


@kernel
def round_colours(colours: NDArray[np.float32], result: NDArray[np.uint8]) -> None:
    """Colours (N, N, 3), 0 to 255, to whole numbers."""
    for row in range(colours.shape[0]):
        for column in range(colours.shape[1]):
            for channel in range(3):
                colour = colours[row, column, channel] + np.float32(0.5)
                colour = min(max(colour, np.float32(0.0)), np.float32(255.0))
                result[row, column, channel] = np.uint8(colour)


@kernel
def spread_over_texels(
    ids: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    triangles: NDArray[np.int32],
    values: NDArray[np.float32],
    result: NDArray[np.float32],
) -> None:
    """Interpolate values (V, 3) of the vertices to the texels (N, N, 3) within islands."""
    for row in range(ids.shape[0]):
        for column in range(ids.shape[1]):
            triangle = ids[row, column]
            if triangle == EMPTY:
                continue
            a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
            first, second = barycentric[row, column, 0], barycentric[row, column, 1]
            third = np.float32(1.0) - first - second
            for channel in range(3):
                result[row, column, channel] = (
                    first * values[a, channel]
                    + second * values[b, channel]
                    + third * values[c, channel]
                )


@kernel
def mirrored(
    mirror: NDArray[np.int32],
    colours: NDArray[np.float32],
    coverage: NDArray[np.float32],
    result: NDArray[np.float32],
    result_coverage: NDArray[np.float32],
) -> None:
    """The texture (N, N, 3) of the face's mirror image, and its coverage (N, N)."""
    size = mirror.shape[0]
    for row in range(size):
        for column in range(size):
            other = mirror[row, column]
            if other != EMPTY:
                other_row, other_column = other // size, other % size
                for channel in range(3):
                    result[row, column, channel] = colours[other_row, other_column, channel]
                result_coverage[row, column] = coverage[other_row, other_column]
