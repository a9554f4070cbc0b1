"""One photograph as a source of texels: what of the face it shows, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CAMERA_DISTANCE
from facewright.models.jit import kernel
from facewright.models.morphable_model import PART_CAVITY, PART_TEETH, PART_TONGUE, MorphableModel
from facewright.models.normals import vertex_normals
from facewright.models.resampling import halve
from facewright.models.segmentation import Segmentation
from facewright.models.texture.atlas import Atlas
from facewright.models.texture.occlusion import hide
from facewright.models.texture.rims import continue_rims, find_rims
from facewright.models.texture.visibility import depth_buffer, safety

_NEAR_MM = 1.0
# Longer side of the face in the depth buffer: 0.8 mm a pixel, whatever the photo's size.
_DEPTH_PIXELS = 256
# Along the face's longer side the photo has between these many pixels per texel: it is halved while
# it has more than the first, or large photos would alias, and enlarged while it has fewer than the
# second, or small ones would show squares.
_FINEST, _COARSEST = 1.6, 0.5
# Cosine of the viewing angle from which on a point is taken, and from which on entirely.
_GRAZING, _FRANK = np.float32(0.1), np.float32(0.35)
_BIAS_MM = np.float32(0.6)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_TWO, _THREE, _WHITE = np.float32(2.0), np.float32(3.0), np.float32(255.0)
# Steps between two pixels; every other byte of a pixel, and half a step for each.
_FRACTIONS, _EVEN, _ROUND = np.float32(256.0), 0x00FF00FF, 0x00800080
# Of a vertex whose triangles a photo does not hold entirely.
_OUTSIDE = np.float32(-1.0)


@dataclass(frozen=True, eq=False)
class TextureView:
    """A photograph and the face in it.  Raises ValueError for shapes or values out of range."""

    photo: NDArray[np.uint8]
    """(H, W, 3) RGB, of any size."""
    posed: NDArray[np.float32]
    """(V, 3) mm: vertices in camera-aligned space, the camera at (0, 0, 1000)."""
    points: NDArray[np.float32]
    """(V, 3): the same in the photo, x and y in px (continuous), depth in mm."""
    weight: float = 1.0
    """How far the view is trusted beside others, >= 0; 0 leaves it out."""
    segmentation: Segmentation | None = None
    """What the photo shows around the face, if it was asked: only skin is taken."""

    def __post_init__(self) -> None:
        photo = self.photo
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or not photo.size:
            raise ValueError(f"expected a (H, W, 3) uint8 photo, got {photo.shape} {photo.dtype}")
        if (
            self.posed.ndim != 2
            or self.posed.shape[1] != 3
            or self.points.shape != self.posed.shape
        ):
            raise ValueError(
                f"expected two times (V, 3) points, got {self.posed.shape} and {self.points.shape}"
            )
        if not (np.isfinite(self.posed).all() and np.isfinite(self.points).all()):
            raise ValueError("a view's points must be finite")
        if not (np.isfinite(self.weight) and self.weight >= 0.0):
            raise ValueError(f"a view's weight must be >= 0, got {self.weight}")


class Surface:
    """What of a face model decides which of its points a photo shows."""

    def __init__(self, model: MorphableModel) -> None:
        self.n_vertices = model.n_vertices
        # Kernels take arrays in one form only, and the model's own are frozen.
        self.triangles = np.array(model.triangles)
        self.uv: NDArray[np.float32] = np.array(model.uv)
        self.landmarks: NDArray[np.int32] = np.array(model.landmarks)
        self.rims = find_rims(model)
        self.inner: NDArray[np.bool_] = np.isin(model.parts, (PART_CAVITY, PART_TEETH, PART_TONGUE))
        """(V,): vertices that a photo colors however flat they are seen."""
        self.mouth: NDArray[np.bool_] = np.any(self.inner[self.triangles], axis=1)
        """(T,): triangles within the mouth."""


@dataclass(frozen=True, eq=False)
class PreparedView:
    """A view's part of the photo at a fitting resolution, and what each vertex has of it."""

    pixels: NDArray[np.uint8]
    """(h + 2, w + 2, 4): the part of the photo around the face, framed by its border; RGB, 255."""
    places: NDArray[np.float32]
    """(V, 2): the vertices in it, counted from the first pixel's center, and never beyond it."""
    share: NDArray[np.float32]
    """(V,): how far a vertex is taken from this photo, in [0, 1]; -1 for one beyond its border."""
    facing: NDArray[np.float32]
    """(V,): cosine between the normal and the direction to the camera."""
    extent: float
    """Longer side of the face in px of the photo."""


def prepare_view(surface: Surface, view: TextureView, size: int) -> PreparedView | None:
    """Make a view ready for a texture of `size` texels; None when it shows nothing of the face.

    Raises ValueError when the view's points are not those of the model's vertices.
    """
    if len(view.points) != surface.n_vertices:
        raise ValueError(f"a view has {len(view.points)} points for {surface.n_vertices} vertices")
    points = np.ascontiguousarray(view.points, np.float32)
    low, high = np.full(2, np.inf, np.float32), np.full(2, -np.inf, np.float32)
    _measure(points, low, high)
    extent = float((high - low).max())
    if view.weight == 0.0 or extent <= 0.0:
        return None
    height, width = view.photo.shape[:2]
    left, top = np.clip(np.floor(low) - 2, 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(high) + 2, 0, (width, height)).astype(int)
    if left >= right or top >= bottom:
        return None
    window = view.photo[top:bottom, left:right]
    corner = np.array([left, top], np.float32)

    scale = _DEPTH_PIXELS / extent
    shape = max(1, round(scale * window.shape[0])), max(1, round(scale * window.shape[1]))
    factors = np.array([shape[1] / window.shape[1], shape[0] / window.shape[0]], np.float32)
    places = points.copy()
    _place(points, corner, factors, _ZERO, np.full(2, np.inf, np.float32), places)
    depth, within = depth_buffer(places, surface.triangles, surface.mouth, shape, _NEAR_MM)
    posed = np.ascontiguousarray(view.posed, np.float32)
    # Sizes as spreads of the vertices, which hold for every orientation of the photo.
    mm_per_pixel = _extent(posed) / max(_extent(places), 1e-6)
    facing = _facing(surface, posed)
    share = np.empty(len(places), np.float32)
    # What is seen between the lips lies behind them at any rate, and is wanted to their edge.
    seen = safety(depth, within, mm_per_pixel)
    _share(places, facing, depth, seen, np.float32(mm_per_pixel), share)
    if view.segmentation is not None:
        hide(view.segmentation, surface.landmarks, points, share)
    pixels, factors = _pixels(window, extent, size)
    # The frame moves everything by a pixel, of which the center's half is left.  Halving may have
    # dropped the last row or column.
    last = np.array(pixels.shape[1::-1], np.float32) - np.float32(1.01)
    placed = np.empty((len(points), 2), np.float32)
    _place(points, corner, factors, _HALF, last, placed)
    continue_rims(surface.rims, pixels, placed, share, facing)
    return PreparedView(pixels, placed, share, facing, extent)


def _pixels(
    window: NDArray[np.uint8], extent: float, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The window as `PreparedView.pixels` has it, and by what x and y were scaled."""
    height, width = window.shape[:2]
    if extent < _COARSEST * size:
        scale = _COARSEST * size / extent
        columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
        scaled = cv2.resize(window, (columns, rows), interpolation=cv2.INTER_CUBIC)
        factors = np.array([columns / width, rows / height], np.float32)
    else:
        scaled, shrunk = halve(window, 2 * extent / (_FINEST * size))
        factors = np.full(2, 1 / shrunk, np.float32)
    opaque = cv2.cvtColor(np.ascontiguousarray(scaled), cv2.COLOR_RGB2RGBA)
    framed = cv2.copyMakeBorder(opaque, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return framed.astype(np.uint8, copy=False), factors


# The loops over vertices are kernels, because NumPy is slow along the short side of an array.


@kernel
def _measure(
    points: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32]
) -> None:
    """Least and largest x and y of the points before the camera; low and high stay without any."""
    for vertex in range(len(points)):
        if points[vertex, 2] >= _NEAR_MM:
            for axis in range(2):
                low[axis] = min(low[axis], points[vertex, axis])
                high[axis] = max(high[axis], points[vertex, axis])


@kernel
def _place(
    points: NDArray[np.float32],
    corner: NDArray[np.float32],
    factors: NDArray[np.float32],
    shift: float,
    last: NDArray[np.float32],
    result: NDArray[np.float32],
) -> None:
    """Scale x and y to a window of the photo, shift them, and keep them from 0 to `last`."""
    for vertex in range(len(points)):
        for axis in range(2):
            place = (points[vertex, axis] - corner[axis]) * factors[axis] + shift
            if last[axis] < np.inf:
                place = min(max(place, _ZERO), last[axis])
            result[vertex, axis] = place


def _facing(surface: Surface, posed: NDArray[np.float32]) -> NDArray[np.float32]:
    normals = vertex_normals(posed[None], surface.triangles)[0]
    facing = np.empty(len(posed), np.float32)
    _face_camera(posed, normals, surface.inner, facing)
    return facing


@kernel
def _extent(points: NDArray[np.float32]) -> float:
    """Root mean square distance of points (V, >= 2) from their mean, along the first two axes."""
    count = len(points)
    x, y = 0.0, 0.0
    for index in range(count):
        x += points[index, 0]
        y += points[index, 1]
    x /= count
    y /= count
    squared = 0.0
    for index in range(count):
        squared += (points[index, 0] - x) ** 2 + (points[index, 1] - y) ** 2
    return float(np.sqrt(squared / count))


@kernel
def _face_camera(
    posed: NDArray[np.float32],
    normals: NDArray[np.float32],
    inner: NDArray[np.bool_],
    facing: NDArray[np.float32],
) -> None:
    for vertex in range(len(posed)):
        x, y, z = -posed[vertex, 0], -posed[vertex, 1], CAMERA_DISTANCE - posed[vertex, 2]
        along = normals[vertex, 0] * x + normals[vertex, 1] * y + normals[vertex, 2] * z
        cosine = np.float32(along / max(np.sqrt(x * x + y * y + z * z), 1e-6))
        # What of the mouth's inside is seen at all is taken: teeth that end midway look worse
        # than teeth that are drawn out.
        if inner[vertex] and cosine > 0.0:
            cosine = max(cosine, _FRANK)
        facing[vertex] = cosine


@kernel
def _share(
    places: NDArray[np.float32],
    facing: NDArray[np.float32],
    depth: NDArray[np.float32],
    seen: NDArray[np.float32],
    mm_per_pixel: float,
    share: NDArray[np.float32],
) -> None:
    """Which vertices (V, 3) in a depth buffer are seen, and how well: (V,)."""
    height, width = depth.shape
    for vertex in range(len(share)):
        x, y, z = places[vertex, 0], places[vertex, 1], places[vertex, 2]
        if not (x >= _ZERO and x < width and y >= _ZERO and y < height and z >= _NEAR_MM):
            share[vertex] = _OUTSIDE
            continue
        share[vertex] = _ZERO
        cosine = min(facing[vertex], _ONE)
        if cosine <= _GRAZING:
            continue
        row, column = int(y), int(x)
        own = seen[row, column]
        behind = z - depth[row, column] - _BIAS_MM
        # The buffer holds the depth of its pixel's center: a slanted surface is off by its slope
        # times half a pixel or more.
        if behind > _ZERO and behind * cosine > mm_per_pixel * np.sqrt(_ONE - cosine * cosine):
            continue
        if cosine < _FRANK:
            rise = (cosine - _GRAZING) / (_FRANK - _GRAZING)
            own *= rise * rise * (_THREE - _TWO * rise)
        share[vertex] = own


def add_views(
    atlas: Atlas,
    surface: Surface,
    views: Sequence[PreparedView],
    trust: NDArray[np.float32],
    correction: NDArray[np.float32],
    sharpness: int,
    colors: NDArray[np.uint8],
    coverage: NDArray[np.uint8],
    weights: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Color the texels that K views show, one at least, by the views' weighted mean, in place.

    Weights and factors are those of the vertices, and linear between them.

    trust: (K, g, g, 1) weight and correction: (K, g, g, 3) factor of the views' colors, over
        the whole texture at any resolution.
    sharpness: exponent of the viewing angle's cosine in the weight.
    colors: (N, N, 3).  coverage: (N, N), 255 times the largest share that a view gives.
    weights: (N, N) sums of the weights; (0, 0) where nobody asks for them.
    Texels that no view shows are left as they are.
    Returns (R,): the atlas' runs that are covered entirely.
    """
    # A view that is alone is taken as it is.
    alone = len(views) == 1 and not weights.size
    count = 0 if alone else len(surface.uv)
    weight = np.empty((len(views), count), np.float32)
    factors = np.empty((len(views), count, 3), np.float32)
    if not alone:
        for k, view in enumerate(views):
            _weigh(view.share, view.facing, sharpness, surface.uv, trust, k, weight[k])
            _spread(surface.uv, correction, k, factors[k])
    flat = [view.pixels.view(np.uint32).ravel() for view in views]
    covered = np.zeros(len(atlas.owners), np.bool_)
    _add_views(
        atlas.owners,
        atlas.starts,
        atlas.places,
        atlas.barycentric,
        surface.triangles,
        flat[0] if alone else np.concatenate(flat),
        np.array([view.pixels.shape[:2] for view in views]),
        np.stack([view.places for view in views]),
        np.stack([view.share for view in views]),
        weight,
        factors,
        atlas.size,
        colors.reshape(-1, 3),
        coverage.ravel(),
        weights.ravel(),
        covered,
    )
    return covered


@kernel
def _look_up(
    grids: NDArray[np.float32], view: int, row: float, column: float, channel: int
) -> float:
    """A view's grid of (K, g, g, C) at a continuous place in cells, interpolated linearly."""
    last = grids.shape[1] - 1
    y = min(max(row - _HALF, _ZERO), np.float32(last))
    x = min(max(column - _HALF, _ZERO), np.float32(last))
    i, j = int(y), int(x)
    below, right = min(i + 1, last), min(j + 1, last)
    fy, fx = y - np.float32(i), x - np.float32(j)
    upper, lower = grids[view, i, j, channel], grids[view, below, j, channel]
    upper += fx * (grids[view, i, right, channel] - upper)
    lower += fx * (grids[view, below, right, channel] - lower)
    return upper + fy * (lower - upper)


@kernel
def _weigh(
    share: NDArray[np.float32],
    facing: NDArray[np.float32],
    sharpness: int,
    uv: NDArray[np.float32],
    trust: NDArray[np.float32],
    view: int,
    weight: NDArray[np.float32],
) -> None:
    cells = np.float32(trust.shape[1])
    for vertex in range(len(share)):
        own = max(share[vertex], _ZERO)
        if own > _ZERO:
            cosine = min(facing[vertex], _ONE)
            for _ in range(sharpness):
                own *= cosine
            own *= _look_up(trust, view, (_ONE - uv[vertex, 1]) * cells, uv[vertex, 0] * cells, 0)
        weight[vertex] = own


@kernel
def _spread(
    uv: NDArray[np.float32], grids: NDArray[np.float32], view: int, values: NDArray[np.float32]
) -> None:
    cells = np.float32(grids.shape[1])
    for vertex in range(len(uv)):
        row, column = (_ONE - uv[vertex, 1]) * cells, uv[vertex, 0] * cells
        for channel in range(values.shape[1]):
            values[vertex, channel] = _look_up(grids, view, row, column, channel)


@kernel
def _add_views(
    owners: NDArray[np.int32],
    starts: NDArray[np.int32],
    texels: NDArray[np.uint16],
    barycentric: NDArray[np.float32],
    triangles: NDArray[np.int32],
    pixels: NDArray[np.uint32],
    shapes: NDArray[np.int64],
    places: NDArray[np.float32],
    shares: NDArray[np.float32],
    weight: NDArray[np.float32],
    factors: NDArray[np.float32],
    size: int,
    colors: NDArray[np.uint8],
    coverage: NDArray[np.uint8],
    weights: NDArray[np.float32],
    covered: NDArray[np.bool_],
) -> None:
    longest = 0
    for run in range(len(owners)):
        longest = max(longest, starts[run + 1] - starts[run])
    means = np.empty((longest, 3), np.float32)
    totals, most = np.empty(longest, np.float32), np.empty(longest, np.float32)
    alone = not weight.size
    for run in range(len(owners)):
        triangle = owners[run]
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        begin, count = starts[run], starts[run + 1] - starts[run]
        first_view, start = True, 0
        for view in range(len(shares)):
            origin, columns = start, shapes[view, 1]
            start += shapes[view, 0] * columns
            share0, share1, share2 = shares[view, a], shares[view, b], shares[view, c]
            least = min(share0, share1, share2)
            if least < _ZERO or max(share0, share1, share2) <= _ZERO:
                continue
            if least >= _ONE:
                covered[run] = True
            x0, y0 = places[view, a, 0], places[view, a, 1]
            x1, y1 = places[view, b, 0], places[view, b, 1]
            x2, y2 = places[view, c, 0], places[view, c, 1]
            if first_view and not alone:
                for k in range(count):
                    totals[k], most[k] = _ZERO, _ZERO
                    means[k, 0], means[k, 1], means[k, 2] = _ZERO, _ZERO, _ZERO
            first_view = False
            for k in range(count):
                first, second = barycentric[begin + k, 0], barycentric[begin + k, 1]
                third = _ONE - first - second
                x = first * x0 + second * x1 + third * x2
                y = first * y0 + second * y1 + third * y2
                red, green, blue = _fetch(pixels, origin, columns, x, y)
                share = first * share0 + second * share1 + third * share2
                if alone:
                    texel = int(texels[begin + k, 0]) * size + int(texels[begin + k, 1])
                    colors[texel, 0] = red
                    colors[texel, 1] = green
                    colors[texel, 2] = blue
                    coverage[texel] = np.uint8(_WHITE * min(share, _ONE) + _HALF)
                    continue
                own = first * weight[view, a] + second * weight[view, b] + third * weight[view, c]
                for channel, seen in enumerate((red, green, blue)):
                    factor = (
                        first * factors[view, a, channel]
                        + second * factors[view, b, channel]
                        + third * factors[view, c, channel]
                    )
                    means[k, channel] += own * factor * np.float32(seen)
                totals[k] += own
                most[k] = max(most[k], share)
        if first_view or alone:
            continue
        for k in range(count):
            if totals[k] > _ZERO:
                texel = int(texels[begin + k, 0]) * size + int(texels[begin + k, 1])
                scale = _ONE / totals[k]
                for channel in range(3):
                    color = means[k, channel] * scale + _HALF
                    colors[texel, channel] = np.uint8(min(color, _WHITE))
                coverage[texel] = np.uint8(_WHITE * min(most[k], _ONE) + _HALF)
                if weights.size:
                    weights[texel] = totals[k]


@kernel
def _fetch(
    pixels: NDArray[np.uint32], origin: int, columns: int, x: float, y: float
) -> tuple[int, int, int]:
    """Red, green and blue between four pixels, linearly in 256ths: two channels in one number."""
    i, j = int(y), int(x)
    corner = origin + i * columns + j
    fx = int(_FRACTIONS * (x - np.float32(j)))
    fy = int(_FRACTIONS * (y - np.float32(i)))
    both = (fx * fy) >> 8
    only_x, only_y = fx - both, fy - both
    neither = 256 - fx - only_y
    p, q = int(pixels[corner]), int(pixels[corner + 1])
    r, s = int(pixels[corner + columns]), int(pixels[corner + columns + 1])
    even = (p & _EVEN) * neither + (q & _EVEN) * only_x
    even += (r & _EVEN) * only_y + (s & _EVEN) * both
    odd = ((p >> 8) & _EVEN) * neither + ((q >> 8) & _EVEN) * only_x
    odd += ((r >> 8) & _EVEN) * only_y + ((s >> 8) & _EVEN) * both
    even = (even + _ROUND) >> 8
    odd = (odd + _ROUND) >> 8
    return even & 255, odd & 255, (even >> 16) & 255
