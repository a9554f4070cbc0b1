"""Filling what no photograph shows: from the other half of the face, then from the albedo.

Each of the two is brought to the colours around by a smooth factor, taken where both are known.
The factors come from a sample of the texels; every texel is then written once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel
from facewright.models.rasterizer import EMPTY
from facewright.models.texture.atlas import Atlas
from facewright.models.texture.grids import GRID, continue_smoothly, log_ratio

# How far the ratio of two pictures of the same skin usually varies over a face, in natural
# logarithms.
_USUAL_BRIGHTNESS, _USUAL_HUE = 0.5, 0.08
# Sampled texels along a cell of the grid: the factors are smooth over several cells.
_SAMPLES = 2
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_WHITE = np.float32(255.0)


class Completer:
    """Fills textures of one layout."""

    def __init__(
        self, atlas: Atlas, triangles: NDArray[np.int32], islands: NDArray[np.int8]
    ) -> None:
        """Choose the samples, and each island's part of the grid.

        islands: (T,), which island each triangle belongs to, from 0.  Factors are not carried
            from one island to another, for they may lie side by side by chance.
        """
        self._atlas = atlas
        self._triangles = triangles
        self._islands = islands
        self._cells = min(GRID, atlas.size)
        self._step = max(1, atlas.size // (self._cells * _SAMPLES))
        rows, columns = np.divmod(atlas.texels, atlas.size)
        middle = self._step // 2
        chosen = (rows % self._step == middle) & (columns % self._step == middle)
        self._samples = np.flatnonzero(chosen).astype(np.int32)
        owners = np.repeat(np.arange(len(triangles), dtype=np.int32), np.diff(atlas.starts))
        self._owners = owners[self._samples]
        texels_in_cell = atlas.size // self._cells
        self._windows = [
            _window(rows[own] // texels_in_cell, columns[own] // texels_in_cell, self._cells)
            for own in (islands[owners] == island for island in range(int(islands.max()) + 1))
        ]

    def complete(
        self,
        colours: NDArray[np.uint8],
        coverage: NDArray[np.float32],
        albedo: NDArray[np.float32],
    ) -> NDArray[np.uint8]:
        """Fill a texture where it is covered in part or not at all.

        colours: (N, N, 3).  coverage: (N, N) in [0, 1].  albedo: (V, 3), 0 to 255.
        Returns (N, N, 3), filled beyond the islands as well.
        """
        atlas = self._atlas
        shape = (len(self._windows), self._cells, self._cells, 3)
        even = np.ones((2, *shape), np.float32)
        for source in range(2):  # the mirror image, then the albedo
            sums = np.zeros((*shape[:-1], 2, 3), np.float32)
            masses = np.zeros(shape[:-1], np.float32)
            _compare(
                self._samples,
                self._owners,
                atlas.texels,
                atlas.barycentric,
                atlas.mirror,
                self._triangles,
                self._islands,
                colours,
                coverage,
                albedo,
                even[0],
                source,
                sums,
                masses,
            )
            self._find_factors(sums, masses, even[source])
        result = np.empty_like(colours)
        _write(
            atlas.starts,
            atlas.texels,
            atlas.barycentric,
            atlas.mirror,
            self._triangles,
            self._islands,
            colours,
            coverage,
            albedo,
            even,
            result,
        )
        _pad(atlas.padding, result.reshape(-1, 3))
        return result

    def _find_factors(
        self,
        sums: NDArray[np.float32],
        masses: NDArray[np.float32],
        factors: NDArray[np.float32],
    ) -> None:
        """Write the factors (islands, G, G, 3) that bring a source to the texture.

        sums: (islands, G, G, 2, 3) of colours, the texture's and the source's.
        masses: (islands, G, G) sums of the weights.
        """
        per_cell = (self._atlas.size / (self._cells * self._step)) ** 2
        for island, window in enumerate(self._windows):
            mass = masses[island][window]
            if not mass.any():
                continue
            means = sums[island][window] / np.maximum(mass, np.float32(1e-6))[..., None, None]
            ratios = log_ratio(means[:, :, 0], means[:, :, 1])
            # As a share of the texels that a cell has.
            known = np.minimum(mass * np.float32(1 / per_cell), _ONE)
            trusted = known * _likelihood(ratios, known)
            factors[island][window] = np.exp(continue_smoothly(ratios, trusted))


def _window(rows: NDArray[np.int32], columns: NDArray[np.int32], cells: int) -> tuple[slice, slice]:
    """The smallest square of a power of two of cells that holds an island and a margin."""
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    low = [max(0, int(places.min()) - 1) for places in (rows, columns)]
    high = [min(cells, int(places.max()) + 2) for places in (rows, columns)]
    side = 1 << (max(high[0] - low[0], high[1] - low[1]) - 1).bit_length()
    row, column = (min(start, cells - side) for start in low)
    return slice(row, row + side), slice(column, column + side)


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
def _factor(
    factors: NDArray[np.float32], row: int, column: int, size: int
) -> tuple[float, float, float]:
    """An island's factors (G, G, 3) at a texel, interpolated linearly."""
    last = factors.shape[0] - 1
    to_cells = np.float32(factors.shape[0] / size)
    y = min(max((np.float32(row) + _HALF) * to_cells - _HALF, _ZERO), np.float32(last))
    x = min(max((np.float32(column) + _HALF) * to_cells - _HALF, _ZERO), np.float32(last))
    i, j = int(y), int(x)
    below, right = min(i + 1, last), min(j + 1, last)
    fy, fx = y - np.float32(i), x - np.float32(j)
    one, two = (_ONE - fy) * (_ONE - fx), (_ONE - fy) * fx
    three, four = fy * (_ONE - fx), fy * fx
    a, b, c, d = factors[i, j], factors[i, right], factors[below, j], factors[below, right]
    return (
        one * a[0] + two * b[0] + three * c[0] + four * d[0],
        one * a[1] + two * b[1] + three * c[1] + four * d[1],
        one * a[2] + two * b[2] + three * c[2] + four * d[2],
    )


@kernel
def _with_mirror(
    colours: NDArray[np.uint8],
    coverage: NDArray[np.float32],
    texel: int,
    mirror: int,
    factors: NDArray[np.float32],
) -> tuple[float, float, float, float]:
    """A texel's colour and coverage once its mirror image has been added."""
    size = coverage.shape[0]
    row, column = texel // size, texel % size
    own = coverage[row, column]
    red = np.float32(colours[row, column, 0])
    green = np.float32(colours[row, column, 1])
    blue = np.float32(colours[row, column, 2])
    if mirror != EMPTY:
        i, j = mirror // size, mirror % size
        added = (_ONE - own) * coverage[i, j]
        if added > _ZERO:
            share = added / (own + added)
            factor = _factor(factors, row, column, size)
            red += share * (factor[0] * np.float32(colours[i, j, 0]) - red)
            green += share * (factor[1] * np.float32(colours[i, j, 1]) - green)
            blue += share * (factor[2] * np.float32(colours[i, j, 2]) - blue)
            own += added
    return red, green, blue, own


@kernel
def _compare(
    samples: NDArray[np.int32],
    owners: NDArray[np.int32],
    texels: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    mirror: NDArray[np.int32],
    triangles: NDArray[np.int32],
    islands: NDArray[np.int8],
    colours: NDArray[np.uint8],
    coverage: NDArray[np.float32],
    albedo: NDArray[np.float32],
    mirror_factors: NDArray[np.float32],
    source: int,
    sums: NDArray[np.float32],
    masses: NDArray[np.float32],
) -> None:
    """Add up the colours of the texture and of a source (0: its mirror image, 1: the albedo)."""
    size = coverage.shape[0]
    texels_in_cell = size // masses.shape[1]
    for sample in range(len(samples)):
        at, triangle = samples[sample], owners[sample]
        texel = texels[at]
        row, column = texel // size, texel % size
        island = islands[triangle]
        cell_row, cell_column = row // texels_in_cell, column // texels_in_cell
        cell = sums[island, cell_row, cell_column]
        if source == 0:
            if mirror[at] == EMPTY:
                continue
            i, j = mirror[at] // size, mirror[at] % size
            weight = coverage[row, column] * coverage[i, j]
            if weight <= _ZERO:
                continue
            for channel in range(3):
                cell[0, channel] += weight * np.float32(colours[row, column, channel])
                cell[1, channel] += weight * np.float32(colours[i, j, channel])
        else:
            filled = _with_mirror(colours, coverage, texel, mirror[at], mirror_factors[island])
            weight = filled[3]
            if weight <= _ZERO:
                continue
            a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
            first, second = barycentric[at, 0], barycentric[at, 1]
            third = _ONE - first - second
            cell[0, 0] += weight * filled[0]
            cell[0, 1] += weight * filled[1]
            cell[0, 2] += weight * filled[2]
            for channel in range(3):
                cell[1, channel] += weight * (
                    first * albedo[a, channel]
                    + second * albedo[b, channel]
                    + third * albedo[c, channel]
                )
        masses[island, cell_row, cell_column] += weight


@kernel
def _write(
    starts: NDArray[np.int32],
    texels: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    mirror: NDArray[np.int32],
    triangles: NDArray[np.int32],
    islands: NDArray[np.int8],
    colours: NDArray[np.uint8],
    coverage: NDArray[np.float32],
    albedo: NDArray[np.float32],
    factors: NDArray[np.float32],
    result: NDArray[np.uint8],
) -> None:
    """Every texel within the islands: as it is, or filled; factors (2, islands, G, G, 3)."""
    size = coverage.shape[0]
    for triangle in range(triangles.shape[0]):
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        island = islands[triangle]
        for at in range(starts[triangle], starts[triangle + 1]):
            texel = texels[at]
            row, column = texel // size, texel % size
            if coverage[row, column] >= _ONE:
                result[row, column, 0] = colours[row, column, 0]
                result[row, column, 1] = colours[row, column, 1]
                result[row, column, 2] = colours[row, column, 2]
                continue
            red, green, blue, own = _with_mirror(
                colours, coverage, texel, mirror[at], factors[0, island]
            )
            share = _ONE - own
            if share > _ZERO:
                first, second = barycentric[at, 0], barycentric[at, 1]
                third = _ONE - first - second
                f = _factor(factors[1, island], row, column, size)
                skin = first * albedo[a, 0] + second * albedo[b, 0] + third * albedo[c, 0]
                red += share * (f[0] * skin - red)
                skin = first * albedo[a, 1] + second * albedo[b, 1] + third * albedo[c, 1]
                green += share * (f[1] * skin - green)
                skin = first * albedo[a, 2] + second * albedo[b, 2] + third * albedo[c, 2]
                blue += share * (f[2] * skin - blue)
            result[row, column, 0] = np.uint8(min(max(red + _HALF, _ZERO), _WHITE))
            result[row, column, 1] = np.uint8(min(max(green + _HALF, _ZERO), _WHITE))
            result[row, column, 2] = np.uint8(min(max(blue + _HALF, _ZERO), _WHITE))


@kernel
def _pad(padding: NDArray[np.int32], flat: NDArray[np.uint8]) -> None:
    for at in range(padding.shape[1]):
        for channel in range(3):
            flat[padding[0, at], channel] = flat[padding[1, at], channel]
