"""A z-buffer rasterizer on the CPU: triangles to (triangle id, barycentric, depth) buffers.

Coverage is exact.  Projected points are snapped to 1/256 px and edges are evaluated in integers,
with the top-left fill rule: of triangles that share an edge, exactly one covers a pixel center on
it, so a closed mesh has neither cracks nor pixels drawn twice.  Both windings are drawn.

Barycentric coordinates and depth are perspective-correct: they belong to the point of the triangle
in space that the pixel's center sees, not to its linear interpolation in the image.

A triangle that crosses the near plane, or that reaches far out of the image, is clipped in
homogeneous coordinates (Sutherland and Hodgman 1974), and its barycentric coordinates stay those of
the unclipped triangle.  A triangle with a NaN or infinite point is not drawn.  Where two triangles
have the same depth in float32, the one with the lower id is seen.

Everything runs on the calling thread and releases the GIL while it does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel

EMPTY = -1

_SUBPIXEL_BITS = 8
_SUBPIXELS = 1 << _SUBPIXEL_BITS
_HALF_PIXEL = _SUBPIXELS // 2
# Coordinates within the guard band keep twice a triangle's area below 2**53, so edge functions fit
# int64 and are exact in float64; what reaches out of it is clipped.
_GUARD_BAND = 1 << 17
_LARGEST_SIDE = 1 << 16
# A clipped triangle has at most three corners and one more for each of five planes.
_MOST_CORNERS = 8
# From this width on, dividing finds a row's first pixel faster than stepping to it.
_WIDE_ROW = 12

_READY, _NEEDS_CLIPPING, _NOT_FINITE = 0, 1, 2


class Fragments(NamedTuple):
    """What each pixel of N images sees.

    triangle_ids: (N, H, W) int32, -1 where nothing is seen.
    barycentric: (N, H, W, 3) float32, weights of the triangle's three corners in the order of
        `triangles`, each in [0, 1] and summing to 1; 0 where nothing is seen.
    depth: (N, H, W) float32, in the unit of the points' depth; +inf where nothing is seen.
    """

    triangle_ids: NDArray[np.int32]
    barycentric: NDArray[np.float32]
    depth: NDArray[np.float32]


def rasterize(
    points: NDArray[Any],
    triangles: NDArray[Any],
    height: int,
    width: int,
    *,
    near: float = 1.0,
) -> Fragments:
    """Rasterize one mesh topology at N sets of projected points.

    Args:
        points: (N, V, 3), read as float32: x px, y px (pixel (row i, column j) covers
            [j, j+1) x [i, i+1)), depth along the viewing direction (mm).  The projection
            must be a perspective one, x = cx + f X / depth.  Points behind the camera keep the
            x and y which this formula gives for their negative depth.
        triangles: (T, 3), read as int32, indices into V.
        height: of the image in pixels, 0 to 65536.
        width: likewise.
        near: what is nearer than this depth is cut away; > 0, same unit as the depth.

    Raises:
        ValueError: a shape is wrong, an index is out of range, `near` or the size is not usable.
    """
    points = _plain(points, np.float32)
    triangles = _plain(triangles, np.int32)
    if points.ndim != 3 or points.shape[2] != 3:
        raise ValueError(f"points must be (N, V, 3), got {points.shape}")
    if not (0 <= height <= _LARGEST_SIDE and 0 <= width <= _LARGEST_SIDE):
        raise ValueError(f"image size must be within 0 to {_LARGEST_SIDE}, got {height}x{width}")
    if not (np.isfinite(near) and near > 0):
        raise ValueError(f"near must be positive, got {near}")
    _check_triangles(triangles, points.shape[1])

    count, n_points = points.shape[:2]
    fragments = Fragments(
        np.full((count, height, width), EMPTY, np.int32),
        np.zeros((count, height, width, 3), np.float32),
        np.full((count, height, width), np.inf, np.float32),
    )
    snapped = np.empty((n_points, 2), np.int64)
    state = np.empty(n_points, np.uint8)
    for image in range(count):
        _snap(points[image], float(near), snapped, state)
        _draw(
            points[image],
            triangles,
            float(near),
            snapped,
            state,
            fragments.triangle_ids[image],
            fragments.barycentric[image],
            fragments.depth[image],
        )
    return fragments


def interpolate(
    fragments: Fragments, triangles: NDArray[Any], attributes: NDArray[Any]
) -> NDArray[np.float32]:
    """Values of per-vertex attributes at each pixel.

    Args:
        fragments: of `rasterize` with the same triangles.
        triangles: (T, 3), read as int32.
        attributes: (N, V, C), read as float32.

    Returns:
        (N, H, W, C) float32, 0 where nothing is seen.

    Raises:
        ValueError: shapes do not fit each other or an index is out of range.
    """
    attributes = _plain(attributes, np.float32)
    triangles = _plain(triangles, np.int32)
    ids = _plain(fragments.triangle_ids, np.int32)
    barycentric = _plain(fragments.barycentric, np.float32)
    if attributes.ndim != 3 or attributes.shape[0] != ids.shape[0]:
        raise ValueError(f"attributes must be ({ids.shape[0]}, V, C), got {attributes.shape}")
    _check_triangles(triangles, attributes.shape[1])
    if ids.size and int(ids.max()) >= len(triangles):
        raise ValueError("the fragments belong to another set of triangles")
    values = np.zeros((*ids.shape, attributes.shape[2]), np.float32)
    for image in range(len(ids)):
        _interpolate(ids[image], barycentric[image], triangles, attributes[image], values[image])
    return values


def warm_up() -> None:
    """Compile, or load from the cache, every kernel with the types used in earnest.

    Takes a few seconds when nothing is cached, and some milliseconds otherwise.
    """
    corners = np.array([[[0, 0, 2], [4, 0, 2], [0, 4, 0.5]]], np.float32)
    triangle = np.array([[0, 1, 2]], np.int32)
    interpolate(rasterize(corners, triangle, 4, 4), triangle, corners)


def _plain(array: NDArray[Any], dtype: type) -> NDArray[Any]:
    """The array in the one form that kernels are compiled for; copied only when it must be."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])


def _check_triangles(triangles: NDArray[np.int32], n_points: int) -> None:
    """The kernels index without bounds checks, so indices are checked here."""
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"triangles must be (T, 3), got {triangles.shape}")
    if triangles.size and (int(triangles.min()) < 0 or int(triangles.max()) >= n_points):
        raise ValueError(f"triangles refer to points outside 0 to {n_points - 1}")


@kernel
def _snap(
    points: NDArray[np.float32],
    near: float,
    snapped: NDArray[np.int64],
    state: NDArray[np.uint8],
) -> None:
    """Fixed-point image coordinates of each point, and whether it can be used as it is."""
    for index in range(points.shape[0]):
        x, y, depth = np.float64(points[index, 0]), np.float64(points[index, 1]), points[index, 2]
        if not (np.isfinite(x) and np.isfinite(y) and np.isfinite(depth)):
            state[index] = _NOT_FINITE
        elif depth < near or abs(x) > _GUARD_BAND or abs(y) > _GUARD_BAND:
            state[index] = _NEEDS_CLIPPING
        else:
            state[index] = _READY
            snapped[index, 0] = np.int64(np.floor(x * _SUBPIXELS + 0.5))
            snapped[index, 1] = np.int64(np.floor(y * _SUBPIXELS + 0.5))


@kernel
def _fill(
    x0: int,
    y0: int,
    x1: int,
    y1: int,
    x2: int,
    y2: int,
    nearness0: float,
    nearness1: float,
    nearness2: float,
    triangle: int,
    clipped: bool,
    corners: NDArray[np.float64],
    ids: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    depth: NDArray[np.float32],
) -> None:
    """Draw one triangle given in fixed point, with 1 / depth of its corners.

    `corners` (3, 3) are the barycentric coordinates of the corners in the triangle of which this
    is a piece; read only when `clipped`.
    """
    # Pixel centers lie at 256 j + 128: the first at or after the minimum, the last at or before
    # the maximum.
    left = max((min(x0, x1, x2) + _HALF_PIXEL - 1) >> _SUBPIXEL_BITS, 0)
    right = min((max(x0, x1, x2) - _HALF_PIXEL) >> _SUBPIXEL_BITS, depth.shape[1] - 1)
    top = max((min(y0, y1, y2) + _HALF_PIXEL - 1) >> _SUBPIXEL_BITS, 0)
    bottom = min((max(y0, y1, y2) - _HALF_PIXEL) >> _SUBPIXEL_BITS, depth.shape[0] - 1)
    if left > right or top > bottom:
        return
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    if area == 0:
        return
    second, third = 1, 2
    if area < 0:
        area = -area
        x1, x2 = x2, x1
        y1, y2 = y2, y1
        nearness1, nearness2 = nearness2, nearness1
        second, third = 2, 1

    # Edge i lies opposite corner i.  Its function is positive inside; a center that lies on the
    # edge counts as inside where the edge is a left one (going up) or a top one (going right),
    # and the bias of -1 makes "not negative" the test for either.
    dx0, dy0 = x2 - x1, y2 - y1
    dx1, dy1 = x0 - x2, y0 - y2
    dx2, dy2 = x1 - x0, y1 - y0
    bias0 = 0 if dy0 < 0 or (dy0 == 0 and dx0 > 0) else -1
    bias1 = 0 if dy1 < 0 or (dy1 == 0 and dx1 > 0) else -1
    bias2 = 0 if dy2 < 0 or (dy2 == 0 and dx2 > 0) else -1
    start_x = (left << _SUBPIXEL_BITS) + _HALF_PIXEL
    start_y = (top << _SUBPIXEL_BITS) + _HALF_PIXEL
    row0 = dx0 * (start_y - y1) - dy0 * (start_x - x1) + bias0
    row1 = dx1 * (start_y - y2) - dy1 * (start_x - x2) + bias1
    row2 = dx2 * (start_y - y0) - dy2 * (start_x - x0) + bias2
    step0, step1, step2 = -dy0 * _SUBPIXELS, -dy1 * _SUBPIXELS, -dy2 * _SUBPIXELS
    wide = right - left >= _WIDE_ROW

    for row in range(top, bottom + 1):
        column = left
        if wide:
            if row0 < 0 < step0:
                column = max(column, left + (step0 - 1 - row0) // step0)
            if row1 < 0 < step1:
                column = max(column, left + (step1 - 1 - row1) // step1)
            if row2 < 0 < step2:
                column = max(column, left + (step2 - 1 - row2) // step2)
        edge0 = row0 + (column - left) * step0
        edge1 = row1 + (column - left) * step1
        edge2 = row2 + (column - left) * step2
        entered = wide
        while column <= right:
            if (edge0 | edge1 | edge2) >= 0:
                entered = True
                weight0 = (edge0 - bias0) * nearness0
                weight1 = (edge1 - bias1) * nearness1
                weight2 = (edge2 - bias2) * nearness2
                scale = 1.0 / (weight0 + weight1 + weight2)
                fragment_depth = np.float32(area * scale)
                if fragment_depth < depth[row, column]:
                    depth[row, column] = fragment_depth
                    ids[row, column] = triangle
                    weight0 *= scale
                    weight1 *= scale
                    weight2 *= scale
                    if clipped:
                        for corner in range(3):
                            barycentric[row, column, corner] = (
                                weight0 * corners[0, corner]
                                + weight1 * corners[second, corner]
                                + weight2 * corners[third, corner]
                            )
                    else:
                        barycentric[row, column, 0] = weight0
                        barycentric[row, column, second] = weight1
                        barycentric[row, column, third] = weight2
            elif entered:
                break
            column += 1
            edge0 += step0
            edge1 += step1
            edge2 += step2
        row0 += dx0 * _SUBPIXELS
        row1 += dx1 * _SUBPIXELS
        row2 += dx2 * _SUBPIXELS


@kernel
def _cut(
    polygon: NDArray[np.float64],
    count: int,
    a: float,
    b: float,
    c: float,
    d: float,
    result: NDArray[np.float64],
) -> int:
    """Keep the part of a polygon with a x' + b y' + c depth + d >= 0; returns its corner count.

    Rows are x', y', depth, three barycentric coordinates, and the index of the triangle's own
    corner (-1 for a corner made by cutting).  A new corner is always computed from the end inside
    towards the end outside, so that both triangles of an edge get the very same one.
    """
    kept = 0
    for index in range(count):
        here = polygon[index]
        there = polygon[(index + 1) % count]
        here_side = a * here[0] + b * here[1] + c * here[2] + d
        there_side = a * there[0] + b * there[1] + c * there[2] + d
        if here_side >= 0:
            for field in range(7):
                result[kept, field] = here[field]
            kept += 1
        if (here_side >= 0) != (there_side >= 0):
            inside, outside = here, there
            inside_side, outside_side = here_side, there_side
            if here_side < 0:
                inside, outside = there, here
                inside_side, outside_side = there_side, here_side
            share = inside_side / (inside_side - outside_side)
            for field in range(6):
                result[kept, field] = inside[field] + share * (outside[field] - inside[field])
            result[kept, 6] = -1
            kept += 1
    return kept


@kernel
def _draw_clipped(
    points: NDArray[np.float32],
    triangles: NDArray[np.int32],
    triangle: int,
    near: float,
    snapped: NDArray[np.int64],
    state: NDArray[np.uint8],
    ids: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    depth: NDArray[np.float32],
) -> None:
    """Draw a triangle of which a corner is nearer than `near` or outside the guard band."""
    first = np.zeros((_MOST_CORNERS, 7))
    other = np.zeros((_MOST_CORNERS, 7))
    for corner in range(3):
        point = points[triangles[triangle, corner]]
        corner_depth = np.float64(point[2])
        first[corner, 0] = point[0] * corner_depth
        first[corner, 1] = point[1] * corner_depth
        first[corner, 2] = corner_depth
        first[corner, 3 + corner] = 1.0
        first[corner, 6] = corner

    count = _cut(first, 3, 0.0, 0.0, 1.0, -near, other)
    count = _cut(other, count, 1.0, 0.0, _GUARD_BAND, 0.0, first)
    count = _cut(first, count, -1.0, 0.0, _GUARD_BAND, 0.0, other)
    count = _cut(other, count, 0.0, 1.0, _GUARD_BAND, 0.0, first)
    count = _cut(first, count, 0.0, -1.0, _GUARD_BAND, 0.0, other)

    fixed = np.empty((_MOST_CORNERS, 2), np.int64)
    for index in range(count):
        # Cutting an edge that is very long in depth rounds the new corner to any side of `near`.
        other[index, 2] = max(other[index, 2], near)
        own = np.int64(other[index, 6])
        # A corner that neighbors draw unclipped must be snapped from the same numbers as theirs.
        ready = own >= 0 and state[triangles[triangle, own]] == _READY
        for axis in range(2):
            if ready:
                fixed[index, axis] = snapped[triangles[triangle, own], axis]
            else:
                place = other[index, axis] / other[index, 2]
                fixed[index, axis] = np.int64(np.floor(place * _SUBPIXELS + 0.5))
    corners = np.empty((3, 3))
    for index in range(1, count - 1):
        for axis in range(3):
            corners[0, axis] = other[0, 3 + axis]
            corners[1, axis] = other[index, 3 + axis]
            corners[2, axis] = other[index + 1, 3 + axis]
        _fill(
            fixed[0, 0],
            fixed[0, 1],
            fixed[index, 0],
            fixed[index, 1],
            fixed[index + 1, 0],
            fixed[index + 1, 1],
            1.0 / other[0, 2],
            1.0 / other[index, 2],
            1.0 / other[index + 1, 2],
            triangle,
            True,
            corners,
            ids,
            barycentric,
            depth,
        )


@kernel
def _draw(
    points: NDArray[np.float32],
    triangles: NDArray[np.int32],
    near: float,
    snapped: NDArray[np.int64],
    state: NDArray[np.uint8],
    ids: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    depth: NDArray[np.float32],
) -> None:
    """Draw every triangle in the order of ids, so that the first of equals stays."""
    unused = np.empty((3, 3))
    for triangle in range(triangles.shape[0]):
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        worst = max(state[a], state[b], state[c])
        if worst == _READY:
            _fill(
                snapped[a, 0],
                snapped[a, 1],
                snapped[b, 0],
                snapped[b, 1],
                snapped[c, 0],
                snapped[c, 1],
                1.0 / np.float64(points[a, 2]),
                1.0 / np.float64(points[b, 2]),
                1.0 / np.float64(points[c, 2]),
                triangle,
                False,
                unused,
                ids,
                barycentric,
                depth,
            )
        elif worst == _NEEDS_CLIPPING:
            _draw_clipped(
                points, triangles, triangle, near, snapped, state, ids, barycentric, depth
            )


@kernel
def _interpolate(
    ids: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    triangles: NDArray[np.int32],
    attributes: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:
    for row in range(ids.shape[0]):
        for column in range(ids.shape[1]):
            triangle = ids[row, column]
            if triangle >= 0:
                a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
                weight0 = barycentric[row, column, 0]
                weight1 = barycentric[row, column, 1]
                weight2 = barycentric[row, column, 2]
                for channel in range(attributes.shape[1]):
                    values[row, column, channel] = (
                        weight0 * attributes[a, channel]
                        + weight1 * attributes[b, channel]
                        + weight2 * attributes[c, channel]
                    )
