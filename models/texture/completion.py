"""Filling what no photograph shows: from the other half of the face, then from the albedo.

Each of the two is brought to the colors around by a smooth factor, taken where both are known.
The factors come from a sample of the texels; every texel is then written once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel
from facewright.models.rasterizer import EMPTY
from facewright.models.texture.atlas import Atlas
from facewright.models.texture.grids import DARK, MOST, continue_smoothly

# Cells along a side of the factors' grid: 4 mm on the skin.
_CELLS = 64
# How far the ratio of two pictures of the same skin usually varies over a face, in natural
# logarithms.
_USUAL_BRIGHTNESS, _USUAL_HUE = np.float32(0.5), np.float32(0.08)
# Sampled texels along a cell of the grid: the factors are smooth over several cells.
_SAMPLES = 4
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_THIRD = np.float32(1.0 / 3.0)
_WHITE, _FULL = np.float32(255.0), np.float32(1.0 / 255.0)


class Completer:
    """Fills textures of one layout."""

    def __init__(
        self,
        atlas: Atlas,
        triangles: NDArray[np.int32],
        islands: NDArray[np.int8],
        uv: NDArray[np.float32],
    ) -> None:
        """Choose the samples, and each island's part of the grid.

        islands: (T,), which island each triangle belongs to, from 0.  Factors are not carried
            from one island to another, for they may lie side by side by chance.
        uv: (V, 2).
        """
        self._uv = np.array(uv, np.float32)
        self._vertex_islands = np.zeros(len(uv), np.int8)
        self._vertex_islands[triangles.ravel()] = np.repeat(islands, 3)
        self._atlas = atlas
        self._triangles = triangles
        self._islands = islands
        self._cells = min(_CELLS, atlas.size)
        self._step = max(1, atlas.size // (self._cells * _SAMPLES))
        rows, columns = atlas.places.astype(np.int32).T
        middle = self._step // 2
        chosen = (rows % self._step == middle) & (columns % self._step == middle)
        self._samples = np.flatnonzero(chosen).astype(np.int32)
        owners = np.repeat(atlas.owners, np.diff(atlas.starts))
        self._owners = owners[self._samples]
        texels_in_cell = atlas.size // self._cells
        self._windows = [
            _window(rows[own] // texels_in_cell, columns[own] // texels_in_cell, self._cells)
            for own in (islands[owners] == island for island in range(int(islands.max()) + 1))
        ]

    def complete(
        self,
        colors: NDArray[np.uint8],
        coverage: NDArray[np.uint8],
        covered: NDArray[np.bool_],
        albedo: NDArray[np.float32],
    ) -> None:
        """Fill a texture where it is covered in part or not at all, and beyond its islands.

        colors: (N, N, 3), filled in place.  coverage: (N, N), 255 where nothing is to be filled.
        covered: (R,) the atlas' runs where it is 255 throughout.  albedo: (V, 3), 0 to 255.
        """
        atlas = self._atlas
        flat, known = colors.reshape(-1, 3), coverage.ravel()
        shape = (len(self._windows), self._cells, self._cells)
        factors = np.empty((2, len(albedo), 3), np.float32)
        for source in range(2):  # the mirror image, then the albedo
            sums = np.zeros((*shape, 2, 3), np.float32)
            masses = np.zeros(shape, np.float32)
            _compare(
                self._samples,
                self._owners,
                atlas.places,
                atlas.barycentric,
                atlas.mirror,
                atlas.size,
                self._triangles,
                self._islands,
                flat,
                known,
                factors[0],
                albedo,
                source,
                sums,
                masses,
            )
            _to_vertices(
                self._factors(sums, masses), self._vertex_islands, self._uv, factors[source]
            )
        _write(
            atlas.owners,
            atlas.starts,
            atlas.places,
            atlas.barycentric,
            atlas.mirror,
            atlas.size,
            self._triangles,
            flat,
            known,
            covered,
            factors[0],
            factors[1] * albedo,
        )
        _pad(atlas.padding, flat)

    def _factors(
        self, sums: NDArray[np.float32], masses: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The factors (islands, G, G, 3) that bring a source to the texture.

        sums: (islands, G, G, 2, 3) of colors, the texture's and the source's.
        masses: (islands, G, G) sums of the weights.
        """
        factors = np.ones((*masses.shape, 3), np.float32)
        per_cell = (self._atlas.size / (self._cells * self._step)) ** 2
        for island, window in enumerate(self._windows):
            mass = masses[island][window]
            if not mass.any():
                continue
            # Kernels take arrays in one form only.
            ratios, known = np.zeros((*mass.shape, 3), np.float32), np.zeros_like(mass)
            own = np.ascontiguousarray(sums[island][window])
            _ratios(own, np.ascontiguousarray(mass), np.float32(1 / per_cell), ratios, known)
            sure = ratios[known > 0.5]
            if len(sure):
                # NumPy is slow along the short side of an array.
                middle = np.median(np.ascontiguousarray(sure.T), axis=1).astype(np.float32)
                _distrust(ratios, middle, known)
            factors[island][window] = np.exp(continue_smoothly(ratios, known))
        return factors


def _window(rows: NDArray[np.int32], columns: NDArray[np.int32], cells: int) -> tuple[slice, slice]:
    """The smallest square of a power of two of cells that holds an island and a margin."""
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    low = [max(0, int(places.min()) - 1) for places in (rows, columns)]
    high = [min(cells, int(places.max()) + 2) for places in (rows, columns)]
    side = 1 << (max(high[0] - low[0], high[1] - low[1]) - 1).bit_length()
    row, column = (min(start, cells - side) for start in low)
    return slice(row, row + side), slice(column, column + side)


@kernel
def _ratios(
    sums: NDArray[np.float32],
    masses: NDArray[np.float32],
    scale: float,
    ratios: NDArray[np.float32],
    known: NDArray[np.float32],
) -> None:
    """Logarithms of the ratios (G, G, 3) of a source to the texture where there is mass.

    known: (G, G), the mass as a share of the texels that a cell has.
    """
    for row in range(len(masses)):
        for column in range(masses.shape[1]):
            mass = masses[row, column]
            if mass <= _ZERO:
                continue
            known[row, column] = min(mass * scale, _ONE)
            for channel in range(3):
                wanted = sums[row, column, 0, channel] / mass
                source = sums[row, column, 1, channel] / mass
                ratio = np.log((wanted + DARK) / (source + DARK))
                ratios[row, column, channel] = min(max(ratio, -MOST), MOST)


@kernel
def _distrust(
    ratios: NDArray[np.float32], middle: NDArray[np.float32], known: NDArray[np.float32]
) -> None:
    """Weigh each cell by how well its ratio can be a matter of light, in place.

    Light changes brightness more than it changes hue; hair and background differ from the face
    in both, and must not tint all that lies beyond them.
    """
    for row in range(len(known)):
        for column in range(known.shape[1]):
            if known[row, column] <= _ZERO:
                continue
            red = ratios[row, column, 0] - middle[0]
            green = ratios[row, column, 1] - middle[1]
            blue = ratios[row, column, 2] - middle[2]
            brightness = (red + green + blue) * _THIRD
            hue = (red - brightness) ** 2 + (green - brightness) ** 2 + (blue - brightness) ** 2
            squared = (brightness / _USUAL_BRIGHTNESS) ** 2 + hue * _THIRD / _USUAL_HUE**2
            known[row, column] /= (_ONE + squared) ** 2


@kernel
def _to_vertices(
    grids: NDArray[np.float32],
    islands: NDArray[np.int8],
    uv: NDArray[np.float32],
    factors: NDArray[np.float32],
) -> None:
    """Factors (V, 3) of the vertices from grids (islands, G, G, 3), interpolated linearly."""
    cells = np.float32(grids.shape[1])
    last = grids.shape[1] - 1
    for vertex in range(len(islands)):
        x = min(max(uv[vertex, 0] * cells - _HALF, _ZERO), np.float32(last))
        y = min(max((_ONE - uv[vertex, 1]) * cells - _HALF, _ZERO), np.float32(last))
        i, j = int(y), int(x)
        below, right, island = min(i + 1, last), min(j + 1, last), islands[vertex]
        fy, fx = y - np.float32(i), x - np.float32(j)
        for channel in range(3):
            upper, lower = grids[island, i, j, channel], grids[island, below, j, channel]
            upper += fx * (grids[island, i, right, channel] - upper)
            lower += fx * (grids[island, below, right, channel] - lower)
            factors[vertex, channel] = upper + fy * (lower - upper)


@kernel
def _compare(
    samples: NDArray[np.int32],
    owners: NDArray[np.int32],
    texels: NDArray[np.uint16],
    barycentric: NDArray[np.float32],
    mirror: NDArray[np.int32],
    size: int,
    triangles: NDArray[np.int32],
    islands: NDArray[np.int8],
    colors: NDArray[np.uint8],
    coverage: NDArray[np.uint8],
    factors: NDArray[np.float32],
    albedo: NDArray[np.float32],
    source: int,
    sums: NDArray[np.float32],
    masses: NDArray[np.float32],
) -> None:
    """Add up the colors of the texture and of a source (0: its mirror image, 1: the albedo).

    The albedo is compared with what the mirror image, times its factors (V, 3), has filled.
    """
    texels_in_cell = size // masses.shape[1]
    for sample in range(len(samples)):
        at, triangle = samples[sample], owners[sample]
        row, column = int(texels[at, 0]), int(texels[at, 1])
        texel, island, other = row * size + column, islands[triangle], mirror[at]
        i, j = row // texels_in_cell, column // texels_in_cell
        own = _FULL * np.float32(coverage[texel])
        mirrored = _FULL * np.float32(coverage[other]) if other != EMPTY else _ZERO
        weight = own * mirrored if source == 0 else own + (_ONE - own) * mirrored
        if weight <= _ZERO:
            continue
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        first, second = barycentric[at, 0], barycentric[at, 1]
        third = _ONE - first - second
        share = (_ONE - own) * mirrored / weight
        for channel in range(3):
            color = np.float32(colors[texel, channel])
            if source == 0:
                shown = np.float32(colors[other, channel])
            else:
                shown = (
                    first * albedo[a, channel]
                    + second * albedo[b, channel]
                    + third * albedo[c, channel]
                )
                if share > _ZERO:
                    factor = (
                        first * factors[a, channel]
                        + second * factors[b, channel]
                        + third * factors[c, channel]
                    )
                    color += share * (factor * np.float32(colors[other, channel]) - color)
            sums[island, i, j, 0, channel] += weight * color
            sums[island, i, j, 1, channel] += weight * shown
        masses[island, i, j] += weight


@kernel
def _write(
    owners: NDArray[np.int32],
    starts: NDArray[np.int32],
    texels: NDArray[np.uint16],
    barycentric: NDArray[np.float32],
    mirror: NDArray[np.int32],
    size: int,
    triangles: NDArray[np.int32],
    colors: NDArray[np.uint8],
    coverage: NDArray[np.uint8],
    covered: NDArray[np.bool_],
    factors: NDArray[np.float32],
    tinted: NDArray[np.float32],
) -> None:
    """Fill every texel within the islands that is not covered entirely.

    A mirror image that is covered in part may be filled already, or not yet: its share says how
    little of it counts.

    factors: (V, 3) of the mirror image.  tinted: (V, 3), the albedo times its own.
    """
    for run in range(len(owners)):
        if covered[run]:
            continue
        triangle = owners[run]
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        for at in range(starts[run], starts[run + 1]):
            texel = int(texels[at, 0]) * size + int(texels[at, 1])
            if coverage[texel] == 255:
                continue
            own = _FULL * np.float32(coverage[texel])
            first, second = barycentric[at, 0], barycentric[at, 1]
            third = _ONE - first - second
            other = mirror[at]
            added = _ZERO
            if other != EMPTY:
                added = (_ONE - own) * _FULL * np.float32(coverage[other])
            share = added / (own + added) if added > _ZERO else _ZERO
            rest = _ONE - own - added
            for channel in range(3):
                color = (
                    first * tinted[a, channel]
                    + second * tinted[b, channel]
                    + third * tinted[c, channel]
                )
                if rest < _ONE:
                    seen = np.float32(colors[texel, channel])
                    if share > _ZERO:
                        factor = (
                            first * factors[a, channel]
                            + second * factors[b, channel]
                            + third * factors[c, channel]
                        )
                        seen += share * (factor * np.float32(colors[other, channel]) - seen)
                    color = seen + rest * (color - seen)
                colors[texel, channel] = np.uint8(min(max(color + _HALF, _ZERO), _WHITE))


@kernel
def _pad(padding: NDArray[np.int32], flat: NDArray[np.uint8]) -> None:
    for at in range(padding.shape[1]):
        for channel in range(3):
            flat[padding[0, at], channel] = flat[padding[1, at], channel]
