"""Nearest points on a triangle mesh, exactly, through a tree of bounding boxes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel
from facewright.training.evaluation.errors import ScanError

LEAF_TRIANGLES = 4
# Depth-first search leaves one node per level on the stack, and halving 2^63 triangles takes 63.
_STACK = 64
# A triangle lower than this share of its longest edge has no direction, to double precision.
_FLATNESS_LIMIT = 1e-10
# A barycentric weight below this puts a point on the edge opposite to the corner.
_ON_EDGE = 1e-9


class Nearest(NamedTuple):
    """Nearest surface points of N queries."""

    points: NDArray[np.float64]
    """(N, 3)."""
    triangles: NDArray[np.int64]
    """(N,) indices into `Surface.triangles`."""
    distances: NDArray[np.float64]
    """(N,) Euclidean, in the unit of the vertices."""


class Surface:
    """A triangle mesh to measure distances to.

    Triangles without area are left out: their neighbors share their edges.

    Args:
        vertices: (V, 3), any unit.
        triangles: (T, 3) vertex indices.

    Attributes:
        vertices: (V, 3) float64.
        triangles: (T', 3) int64, those with an area.
        normals: (T', 3) unit normals.

    Raises:
        ScanError: wrong shapes, vertices that are not finite, indices out of range, or no
            triangle with an area.
    """

    def __init__(self, vertices: NDArray[Any], triangles: NDArray[Any]) -> None:
        self.vertices = finite_points(vertices, "mesh")
        every = np.ascontiguousarray(triangles, np.int64)
        if every.ndim != 2 or every.shape[1] != 3:
            raise ScanError(f"triangles must be (T, 3), got {every.shape}")
        if every.size and (every.min() < 0 or every.max() >= len(self.vertices)):
            raise ScanError("a triangle refers to a vertex that does not exist")
        corners = self.vertices[every]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        twice_area = np.linalg.norm(normals, axis=1)
        longest = np.linalg.norm(corners - corners[:, [1, 2, 0]], axis=2).max(1, initial=0)
        kept = twice_area > _FLATNESS_LIMIT * longest**2
        if not kept.any():
            raise ScanError(f"none of the mesh's {len(every)} triangles has an area")
        self.triangles = every[kept]
        self.normals: NDArray[np.float64] = normals[kept] / twice_area[kept, None]
        self._corners = np.ascontiguousarray(corners[kept])
        self._order = np.arange(len(self.triangles))
        self._boxes = np.empty((2 * len(self.triangles), 2, 3))
        self._nodes = np.empty((2 * len(self.triangles), 2), np.int64)
        _build(self._corners, self._order, self._boxes, self._nodes)

    def nearest(
        self, points: NDArray[np.float64], guess: NDArray[np.int64] | None = None
    ) -> Nearest:
        """Nearest points of the surface.

        Args:
            points: (N, 3) finite.
            guess: (N,) triangles that are near, such as those of a query a little before: the
                answer does not depend on it, the time does.
        """
        queries = np.ascontiguousarray(points, np.float64)
        start = np.full(len(queries), -1) if guess is None else guess
        found = Nearest(
            np.empty_like(queries), np.empty(len(queries), np.int64), np.empty(len(queries))
        )
        _search(queries, start, self._corners, self._order, self._boxes, self._nodes, *found)
        return found

    def on_border(self, found: Nearest) -> NDArray[np.bool_]:
        """Which nearest points (N,) lie on an edge that only one triangle has."""
        edges = np.sort(self.triangles[:, [[1, 2], [2, 0], [0, 1]]], axis=2).reshape(-1, 2)
        keys = edges[:, 0] * len(self.vertices) + edges[:, 1]
        _, which, uses = np.unique(keys, return_inverse=True, return_counts=True)
        border_edge = (uses[which] == 1).reshape(-1, 3)
        border_vertex = np.zeros(len(self.vertices), np.bool_)
        border_vertex[edges[border_edge.reshape(-1)]] = True

        corners = self._corners[found.triangles]
        weights = np.empty((len(corners), 3))
        normals = self.normals[found.triangles]
        for k in range(3):
            a, b = corners[:, (k + 1) % 3], corners[:, (k + 2) % 3]
            weights[:, k] = (np.cross(b - a, found.points - a) * normals).sum(1)
        zero = np.abs(weights) < _ON_EDGE * np.abs(weights).sum(1, keepdims=True)
        at_edge = (zero & border_edge[found.triangles]).any(1)
        # At a corner two weights vanish; the corner may be of the border though neither edge is.
        corner = (~zero).argmax(1)
        vertex = np.take_along_axis(self.triangles[found.triangles], corner[:, None], 1)[:, 0]
        at_vertex = (zero.sum(1) == 2) & border_vertex[vertex]
        result: NDArray[np.bool_] = at_edge | at_vertex
        return result


def finite_points(points: NDArray[Any], what: str) -> NDArray[np.float64]:
    """`points` as (N, 3) float64, contiguous.

    Raises:
        ScanError: another shape, no point at all, or values that are not finite.
    """
    array = np.ascontiguousarray(points, np.float64)
    if array.ndim != 2 or array.shape[1] != 3 or not len(array):
        raise ScanError(f"the {what} needs (N, 3) points, got {array.shape}")
    bad = int((~np.isfinite(array).all(1)).sum())
    if bad:
        raise ScanError(f"{bad} of the {len(array)} points of the {what} are not finite")
    return array


@kernel
def _build(
    corners: NDArray[np.float64],
    order: NDArray[np.int64],
    boxes: NDArray[np.float64],
    nodes: NDArray[np.int64],
) -> None:
    """Halve the triangles at the median of their centers along the widest axis, over and over.

    `order` is permuted in place.  `nodes[k]` is (first place in order, count) of a leaf, and
    (first of two neighboring children, 0) of another node.
    """
    centers = np.empty((corners.shape[0], 3))
    for t in range(corners.shape[0]):
        for k in range(3):
            centers[t, k] = (corners[t, 0, k] + corners[t, 1, k] + corners[t, 2, k]) / 3
    spans = np.empty((_STACK, 3), np.int64)
    spans[0, 0], spans[0, 1], spans[0, 2] = 0, 0, corners.shape[0]
    depth, used = 1, 1
    while depth > 0:
        depth -= 1
        node, first, last = spans[depth, 0], spans[depth, 1], spans[depth, 2]
        low, high = np.full(3, np.inf), np.full(3, -np.inf)
        for k in range(3):
            boxes[node, 0, k], boxes[node, 1, k] = np.inf, -np.inf
        for place in range(first, last):
            t = order[place]
            for k in range(3):
                low[k] = min(low[k], centers[t, k])
                high[k] = max(high[k], centers[t, k])
                for corner in range(3):
                    boxes[node, 0, k] = min(boxes[node, 0, k], corners[t, corner, k])
                    boxes[node, 1, k] = max(boxes[node, 1, k], corners[t, corner, k])
        if last - first <= LEAF_TRIANGLES:
            nodes[node, 0], nodes[node, 1] = first, last - first
            continue
        axis = np.argmax(high - low)
        part = order[first:last].copy()
        keys = np.empty(last - first)
        for place in range(last - first):
            keys[place] = centers[part[place], axis]
        ranked = np.argsort(keys)
        for place in range(last - first):
            order[first + place] = part[ranked[place]]
        middle = (first + last) // 2
        nodes[node, 0], nodes[node, 1] = used, 0
        for half, begin, end in ((0, first, middle), (1, middle, last)):
            spans[depth, 0], spans[depth, 1], spans[depth, 2] = used + half, begin, end
            depth += 1
        used += 2


@kernel
def _box_distance(box: NDArray[np.float64], x: float, y: float, z: float) -> float:
    """Squared distance of a point to a box."""
    dx = max(box[0, 0] - x, 0.0, x - box[1, 0])
    dy = max(box[0, 1] - y, 0.0, y - box[1, 1])
    dz = max(box[0, 2] - z, 0.0, z - box[1, 2])
    return dx * dx + dy * dy + dz * dz


@kernel
def _closest(
    corners: NDArray[np.float64], x: float, y: float, z: float
) -> tuple[float, float, float, float]:
    """Nearest point of a triangle and its squared distance, by the Voronoi region of the query.

    Ericson, Real-Time Collision Detection (2005), section 5.1.5.
    """
    ax, ay, az = corners[0, 0], corners[0, 1], corners[0, 2]
    abx, aby, abz = corners[1, 0] - ax, corners[1, 1] - ay, corners[1, 2] - az
    acx, acy, acz = corners[2, 0] - ax, corners[2, 1] - ay, corners[2, 2] - az
    apx, apy, apz = x - ax, y - ay, z - az
    d1 = abx * apx + aby * apy + abz * apz
    d2 = acx * apx + acy * apy + acz * apz
    bpx, bpy, bpz = apx - abx, apy - aby, apz - abz
    d3 = abx * bpx + aby * bpy + abz * bpz
    d4 = acx * bpx + acy * bpy + acz * bpz
    cpx, cpy, cpz = apx - acx, apy - acy, apz - acz
    d5 = abx * cpx + aby * cpy + abz * cpz
    d6 = acx * cpx + acy * cpy + acz * cpz
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    # The point is a + v ab + w ac.
    if d1 <= 0 and d2 <= 0:
        v, w = 0.0, 0.0
    elif d3 >= 0 and d4 <= d3:
        v, w = 1.0, 0.0
    elif d6 >= 0 and d5 <= d6:
        v, w = 0.0, 1.0
    elif vc <= 0 and d1 >= 0 and d3 <= 0:
        v, w = d1 / (d1 - d3), 0.0
    elif vb <= 0 and d2 >= 0 and d6 <= 0:
        v, w = 0.0, d2 / (d2 - d6)
    elif va <= 0 and d4 >= d3 and d5 >= d6:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v = 1.0 - w
    else:
        v, w = vb / (va + vb + vc), vc / (va + vb + vc)
    qx, qy, qz = ax + v * abx + w * acx, ay + v * aby + w * acy, az + v * abz + w * acz
    return qx, qy, qz, (x - qx) ** 2 + (y - qy) ** 2 + (z - qz) ** 2


@kernel
def _search(
    queries: NDArray[np.float64],
    guess: NDArray[np.int64],
    corners: NDArray[np.float64],
    order: NDArray[np.int64],
    boxes: NDArray[np.float64],
    nodes: NDArray[np.int64],
    points: NDArray[np.float64],
    triangles: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> None:
    """Depth-first, the nearer child first, past every box that is further than the best so far."""
    waiting = np.empty(_STACK, np.int64)
    bounds = np.empty(_STACK)
    for n in range(queries.shape[0]):
        x, y, z = queries[n, 0], queries[n, 1], queries[n, 2]
        best = np.inf
        if guess[n] >= 0:
            qx, qy, qz, best = _closest(corners[guess[n]], x, y, z)
            points[n, 0], points[n, 1], points[n, 2] = qx, qy, qz
            triangles[n] = guess[n]
        waiting[0], bounds[0] = 0, 0.0
        depth = 1
        while depth > 0:
            depth -= 1
            if bounds[depth] >= best:
                continue
            first, count = nodes[waiting[depth], 0], nodes[waiting[depth], 1]
            if count > 0:
                for place in range(first, first + count):
                    t = order[place]
                    qx, qy, qz, squared = _closest(corners[t], x, y, z)
                    if squared < best:
                        best = squared
                        points[n, 0], points[n, 1], points[n, 2] = qx, qy, qz
                        triangles[n] = t
                continue
            near, far = first, first + 1
            near_bound = _box_distance(boxes[near], x, y, z)
            far_bound = _box_distance(boxes[far], x, y, z)
            if far_bound < near_bound:
                near, far = far, near
                near_bound, far_bound = far_bound, near_bound
            waiting[depth], bounds[depth] = far, far_bound
            waiting[depth + 1], bounds[depth + 1] = near, near_bound
            depth += 2
        distances[n] = np.sqrt(best)
