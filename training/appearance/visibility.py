"""Which vertices of a mesh a distant light reaches: orthographic depth maps on the CPU."""

from __future__ import annotations

import numba
import numpy as np

from facewright.models.arrays import FloatArray, IntArray


@numba.njit(cache=True, fastmath=True)
def fill_depth_map(points, triangles, both_sides, depth):  # type: ignore[no-untyped-def]
    """Keep in `depth` (S, S) the largest z per pixel of `triangles` (x px, y px up, z up).

    Without `both_sides` only counter-clockwise triangles count: enough for a closed mesh.
    """
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        a = triangles[t, 0]
        b = triangles[t, 1]
        c = triangles[t, 2]
        xa = points[a, 0]
        ya = points[a, 1]
        xb = points[b, 0]
        yb = points[b, 1]
        xc = points[c, 0]
        yc = points[c, 1]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if abs(area) < 1e-9 or (area < 0 and not both_sides):
            continue
        inverse = np.float32(1.0) / area
        first_column = max(0, int(np.ceil(min(xa, xb, xc) - 0.5)))
        last_column = min(width - 1, int(np.floor(max(xa, xb, xc) - 0.5)))
        first_row = max(0, int(np.ceil(min(ya, yb, yc) - 0.5)))
        last_row = min(height - 1, int(np.floor(max(ya, yb, yc) - 0.5)))
        for row in range(first_row, last_row + 1):
            y = np.float32(row) + np.float32(0.5)
            for column in range(first_column, last_column + 1):
                x = np.float32(column) + np.float32(0.5)
                wb = ((x - xa) * (yc - ya) - (xc - xa) * (y - ya)) * inverse
                wc = ((xb - xa) * (y - ya) - (x - xa) * (yb - ya)) * inverse
                wa = np.float32(1.0) - wb - wc
                if wa < -1e-5 or wb < -1e-5 or wc < -1e-5:
                    continue
                z = wa * points[a, 2] + wb * points[b, 2] + wc * points[c, 2]
                if z > depth[row, column]:
                    depth[row, column] = z


@numba.njit(cache=True, fastmath=True)
def lit_fractions(points, depth, bias, out):  # type: ignore[no-untyped-def]
    """Fraction of the 3x3 depth-map pixels around each point that do not hide it."""
    height, width = depth.shape
    for i in range(points.shape[0]):
        column = min(max(int(points[i, 0]), 1), width - 2)
        row = min(max(int(points[i, 1]), 1), height - 2)
        lit = 0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                if points[i, 2] > depth[row + dy, column + dx] - bias:
                    lit += 1
        out[i] = np.float32(lit) / np.float32(9.0)


def light_frame(direction: FloatArray) -> FloatArray:
    """Orthonormal (3, 3) rows x, y, z with z along `direction` (towards the light)."""
    z = np.asarray(direction, np.float64)
    z = z / np.linalg.norm(z)
    helper = np.array([0.0, 1.0, 0.0]) if abs(z[1]) < 0.95 else np.array([1.0, 0.0, 0.0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z]).astype(np.float32)


def visible_fractions(
    points: FloatArray,
    triangles: IntArray,
    direction: FloatArray,
    size: int = 192,
    bias_mm: float = 3.0,
) -> FloatArray:
    """How much of a distant light from `direction` reaches each vertex.

    Args:
        points: (V, 3) float32 mm.
        triangles: (T, 3) int32 that cast shadows.
        direction: (3,) towards the light.
        size: depth map pixels per side.
        bias_mm: depth margin against self-shadowing.

    Returns:
        (V,) float32 in [0, 1]; the 3x3 filter softens the edge.
    """
    seen = points @ light_frame(direction).T
    low = seen[:, :2].min(axis=0)
    scale = np.float32((size - 2) / float((seen[:, :2].max(axis=0) - low).max()))
    seen[:, :2] = (seen[:, :2] - low) * scale + np.float32(1.0)
    depth = np.full((size, size), -1e9, np.float32)
    fill_depth_map(seen, triangles, True, depth)
    out = np.empty(len(points), np.float32)
    lit_fractions(seen, depth, np.float32(bias_mm), out)
    return out


def ambient_occlusion(
    points: FloatArray, normals: FloatArray, triangles: IntArray, directions: int = 96
) -> FloatArray:
    """Cosine-weighted visible part of the sky at each vertex, (V,) float32 in [0, 1]."""
    rng = np.random.default_rng(7)
    reached = np.zeros(len(points), np.float32)
    total = np.full(len(points), 1e-6, np.float32)
    for sample in rng.standard_normal((directions, 3)):
        direction = (sample / np.linalg.norm(sample)).astype(np.float32)
        weight = np.maximum(normals @ direction, 0)
        reached += weight * visible_fractions(points, triangles, direction)
        total += weight
    return reached / total
