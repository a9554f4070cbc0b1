"""Registration of a control mesh to scans: smooth displacements towards closest points.

The control mesh ("cage") is displaced so that its subdivided surface lies on the target. The
displacement bends as little as possible: the energy is the squared Laplacian of the displacement
on the dense surface, pulled back to the cage, so what is regularized is what is seen. Data are
landmarks and the curves between them (lid rims, lip lines, bridge, base of the nose) matched by
arc length, strong at first, and closest points along normals, which take over as the surface
gets stiffer at a shrinking scale (Amberg et al. 2007, "Optimal Step Nonrigid ICP", with the
bending of a thin plate in the place of per-edge affine stiffness).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from facewright.models.normals import vertex_normals
from facewright.models.rasterizer import rasterize
from facewright.training.evaluation.nearest import Surface

Array = NDArray[np.float64]
Indices = NDArray[Any]

#: Weights of the bending energy (mm^4), one per iteration, from stiff to soft.
STIFFNESS = (
    3e4, 1e4, 1e4, 3e3, 3e3, 1e3, 1e3, 300, 300, 100, 100, 30, 30, 10, 10, 3, 3, 1, 1, 0.3, 0.3,
)  # fmt: skip
#: Stiffness with which modes are carried over: linear, so one solve.
MODE_STIFFNESS = 3.0
#: Share of the umbrella energy that holds cage vertices which hardly support the dense surface.
CAGE_SHARE = 0.02
#: Weight of landmarks, mm^2 of surface each, until the given iteration.
LANDMARK_WEIGHTS = ((6, 200.0), (11, 60.0), (19, 25.0), (len(STIFFNESS), 8.0))
#: iBUG landmarks that stand for the same place everywhere (brows are vague, jaws slide).
INNER = np.arange(27, 68)
BROWS = np.arange(17, 27)
BROW_WEIGHT = 0.05
#: Chains of landmarks whose connecting curves are matched.
CURVES = (
    (36, 37, 38, 39), (36, 41, 40, 39), (42, 43, 44, 45), (42, 47, 46, 45),
    (60, 61, 62, 63, 64), (60, 67, 66, 65, 64),
    (48, 49, 50, 51, 52, 53, 54), (48, 59, 58, 57, 56, 55, 54),
    (27, 28, 29, 30), (31, 32, 33, 34, 35),
)  # fmt: skip
POINTS_PER_CURVE = 8
#: A closest point counts when its normal is within about 45 degrees and it is this near, mm.
NORMAL_AGREEMENT = 0.7
FARTHEST, NEAREST_LIMIT, STEP_LIMIT = 20.0, 3.0, 1.5
#: Distance from the target's open border within which matches do not count, mm.
BORDER = 1.2
#: Weight of the tangential distance beside that along the normal, first and later.
TANGENTIAL = (0.02, 0.005)


@dataclass(frozen=True, eq=False)
class Template:
    """The mesh that is registered.

    Attributes:
        cage: (C, 3) mm, symmetric.
        matrix: (V, C) CSR, dense vertices from cage vertices.
        triangles: (T, 3) all dense triangles; skin: (T',) bool, those that may be matched.
        landmark_rows: (68, C) CSR, landmarks from cage vertices.
        landmarks: (68,) dense vertices of the landmarks.
        mirror: (C,) mirror map of the cage.
    """

    cage: Array
    matrix: sp.csr_matrix
    triangles: Indices
    skin: NDArray[np.bool_]
    landmark_rows: sp.csr_matrix
    landmarks: Indices
    mirror: Indices


@dataclass(frozen=True, eq=False)
class Target:
    """The surface that the template is brought to.

    Attributes:
        vertices: (W, 3) mm, in the template's frame.
        triangles: (U, 3) skin.
        landmarks: (68,) vertices.
        left_out: (W,) bool, vertices that nothing is matched to.
    """

    vertices: Array
    triangles: Indices
    landmarks: Indices
    left_out: NDArray[np.bool_]


def bending_energy(points: Array, triangles: Indices, matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Quadratic form (C, C) of cage displacements: area integral of their squared Laplacian.

    Args:
        points: (V, 3) mm, dense vertices at which the Laplace-Beltrami operator is built
            (cotangent weights, clamped, so that slivers do not rule).
        triangles: (T, 3).
        matrix: (V, C), dense from cage.
    """
    n = len(points)
    corners = points[triangles]
    rows, columns, values = [], [], []
    for k in range(3):
        # The edge from i to j, seen from the corner across.
        i, j = triangles[:, k], triangles[:, (k + 1) % 3]
        across = corners[:, (k + 2) % 3]
        first, second = corners[:, k] - across, corners[:, (k + 1) % 3] - across
        sine = np.linalg.norm(np.cross(first, second), axis=1)
        cotangent = np.clip((first * second).sum(1) / np.maximum(sine, 1e-9), 0.02, 4.0) / 2
        rows += [i, j]
        columns += [j, i]
        values += [-cotangent, -cotangent]
    laplacian = sp.coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (n, n)
    ).tocsr()
    laplacian = laplacian - sp.diags(np.asarray(laplacian.sum(axis=1)).ravel())
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    mass = np.bincount(triangles.ravel(), np.repeat(area / 6, 3), n)
    mass = np.maximum(mass, 0.1 * np.median(mass))
    pulled = laplacian @ matrix
    return (pulled.T @ sp.diags(1 / mass) @ pulled).tocsr()


def cage_energy(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Umbrella bi-Laplacian (C, C) over cage vertices that share dense vertices."""
    shared = (matrix.T @ matrix).tocoo()
    kept = (shared.row != shared.col) & (shared.data > 0.02)
    n = matrix.shape[1]
    links = sp.coo_matrix((shared.data[kept], (shared.row[kept], shared.col[kept])), (n, n)).tocsr()
    degree = np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1e-9)
    umbrella = sp.identity(n) - sp.diags(1 / degree) @ links
    return (umbrella.T @ umbrella).tocsr()


def stiffness_form(points: Array, triangles: Indices, matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Bending energy with the share that holds vertices without support."""
    return bending_energy(points, triangles, matrix) + CAGE_SHARE * cage_energy(matrix)


def seen_vertices(vertices: Array, triangles: Indices, center: Array) -> NDArray[np.bool_]:
    """Vertices that a camera from somewhere around the head sees: no nostrils, no insides.

    Never from so far below that the floor of the nostrils shows.
    """
    size, span = 700, 420.0
    normals = vertex_normals(vertices[None], triangles)[0]
    seen = np.zeros(len(vertices), bool)
    for yaw in (-160, -120, -75, -40, 0, 40, 75, 120, 160):
        for pitch in (-35, 0, 25):
            a, b = np.radians([yaw, pitch])
            turn = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
            turn = turn @ np.array(
                [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
            )
            placed = (vertices - center) @ turn.T
            pixels = np.stack(
                [
                    size / 2 + placed[:, 0] * size / span,
                    size / 2 - placed[:, 1] * size / span,
                    1e5 - placed[:, 2],  # so far away that perspective does not matter
                ],
                axis=1,
            )
            depth = rasterize(pixels[None], triangles, size, size).depth[0]
            x, y = (np.clip(pixels[:, k].astype(int), 0, size - 1) for k in (0, 1))
            towards = (normals @ turn.T)[:, 2] > 0.25
            seen |= (pixels[:, 2] < depth[y, x] + 0.6) & towards
    return seen


def curve_rows(vertices: Array, triangles: Indices, landmarks: Indices) -> sp.csr_matrix:
    """(P, V) points at equal arc length along the shortest edge paths between landmarks."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    n = len(vertices)
    graph = sp.coo_matrix((length, (edges[:, 0], edges[:, 1])), (n, n)).tocsr()
    rows: list[Array] = []
    columns: list[Indices] = []
    for chain in CURVES:
        for start, end in zip(chain[:-1], chain[1:], strict=True):
            _, before = dijkstra(  # type: ignore[call-overload]
                graph, directed=False, indices=int(landmarks[start]), return_predecessors=True,
                limit=60.0,
            )  # fmt: skip
            path = [int(landmarks[end])]
            while path[-1] != landmarks[start]:
                if before[path[-1]] < 0:
                    raise ValueError(f"no path between landmarks {start} and {end}")
                path.append(int(before[path[-1]]))
            nodes = np.array(path[::-1])
            steps = np.linalg.norm(np.diff(vertices[nodes], axis=0), axis=1)
            reached = np.concatenate([[0.0], np.cumsum(steps)])
            wanted = np.linspace(0, 1, POINTS_PER_CURVE + 1)[1:-1] * reached[-1]
            at = np.clip(np.searchsorted(reached, wanted) - 1, 0, len(nodes) - 2)
            share = (wanted - reached[at]) / (reached[at + 1] - reached[at])
            rows += [1 - share, share]
            columns += [nodes[at], nodes[at + 1]]
    shares, ends = np.concatenate(rows), np.concatenate(columns)
    per = POINTS_PER_CURVE - 1
    number = np.concatenate([np.tile(np.arange(per), 2) + per * k for k in range(len(rows) // 2)])
    return sp.csr_matrix((shares, (number, ends)), (per * (len(rows) // 2), n))


def landmark_shares() -> Array:
    """(68,) relative weights of the landmarks."""
    shares = np.zeros(68)
    shares[INNER] = 1.0
    shares[BROWS] = BROW_WEIGHT
    return shares


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Where dense template vertices lie on the target.

    Attributes:
        rows: (n,) dense vertices of the template's skin.
        triangle: (n,) their triangles in ``surface``; weights: (n, 3) barycentric.
        area: (n,) mm^2 that the vertex stands for, 0 where it has no counterpart.
        distance: (n,) mm along the target's normal, outward positive.
        surface: the part of the target that may be matched.
    """

    rows: Indices
    triangle: Indices
    weights: Array
    area: Array
    distance: Array
    surface: Surface

    def values(self, field: NDArray[Any]) -> Array:
        """(n, 3) of a (W, 3) field on the target's vertices."""
        corners = field[self.surface.triangles[self.triangle]].astype(np.float64)
        return np.einsum("nk,nkj->nj", self.weights, corners)


class Registration:
    """Brings a template onto a target.

    Args:
        template: in the frame and at the scale of the target, landmarks roughly in place.
        target: the scan.
    """

    def __init__(self, template: Template, target: Target) -> None:
        self.template, self.target = template, target
        start = template.matrix @ template.cage
        middle = template.landmark_rows @ template.cage
        middle = middle[30] - [0, 0, 50.0]
        self._skin = template.triangles[template.skin]
        self.stiffness = stiffness_form(start, template.triangles, template.matrix)
        corners = start[self._skin]
        area = np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        self._mass = np.bincount(self._skin.ravel(), np.repeat(area / 6, 3), len(start))
        seen = seen_vertices(start, template.triangles, middle)
        rim = np.intersect1d(np.unique(self._skin), np.unique(template.triangles[~template.skin]))
        beside_rim = cKDTree(start[rim]).query(start)[0] < 0.8
        usable = np.zeros(len(start), bool)
        usable[np.unique(self._skin)] = True
        self.rows = np.flatnonzero(usable & seen & ~beside_rim)

        seen_target = seen_vertices(target.vertices, target.triangles, middle)
        kept = (seen_target & ~target.left_out)[target.triangles].all(axis=1)
        self.surface = Surface(target.vertices, target.triangles[kept])
        edges = np.sort(self.surface.triangles[:, [[1, 2], [2, 0], [0, 1]]], axis=2).reshape(-1, 2)
        unique, uses = np.unique(edges, axis=0, return_counts=True)
        self._border = cKDTree(target.vertices[np.unique(unique[uses == 1])])
        self.curves = curve_rows(start, self._skin, template.landmarks) @ template.matrix
        self.target_curves = curve_rows(target.vertices, target.triangles, target.landmarks)

    def match(self, cage: Array, farthest: float) -> Correspondence:
        """Closest points of the seen skin, those that count with their area."""
        points = (self.template.matrix @ cage)[self.rows]
        normals = vertex_normals((self.template.matrix @ cage)[None], self._skin)[0][self.rows]
        found = self.surface.nearest(points)
        facing = self.surface.normals[found.triangles]
        counts = (
            ((normals * facing).sum(1) > NORMAL_AGREEMENT)
            & (found.distances < farthest)
            & (self._border.query(found.points)[0] > BORDER)
        )
        corners = self.target.vertices[self.surface.triangles[found.triangles]]
        return Correspondence(
            rows=self.rows,
            triangle=found.triangles,
            weights=barycentric(corners, found.points),
            area=self._mass[self.rows] * counts,
            distance=((points - found.points) * facing).sum(1),
            surface=self.surface,
        )

    def run(self, report: Callable[[str], None]) -> Array:
        """Register; returns the (C, 3) cage on the target, symmetric."""
        template, target = self.template, self.target
        cage = template.cage.copy()
        start = template.cage
        goal = target.vertices[target.landmarks]
        curve_goal = self.target_curves @ target.vertices
        rows = template.matrix[self.rows]
        shares = sp.diags(landmark_shares())
        pull_landmarks = template.landmark_rows.T @ shares
        landmark_form = (pull_landmarks @ template.landmark_rows).tocsr()
        curve_form = (self.curves.T @ self.curves).tocsr()
        n = len(cage)
        for iteration, stiffness in enumerate(STIFFNESS):
            match = self.match(cage, max(NEAREST_LIMIT, FARTHEST - STEP_LIMIT * iteration))
            normal = self.surface.normals[match.triangle]
            tangential = TANGENTIAL[iteration >= 12]
            weight = next(w for until, w in LANDMARK_WEIGHTS if iteration < until)
            shared = stiffness * self.stiffness + weight * landmark_form + weight / 4 * curve_form
            shared = shared + 1e-4 * sp.identity(n)
            blocks: list[list[sp.spmatrix]] = [[sp.csr_matrix((n, n))] * 3 for _ in range(3)]
            for a in range(3):
                for b in range(a, 3):
                    factor = normal[:, a] * normal[:, b] + (tangential if a == b else 0.0)
                    block = rows.T @ sp.diags(match.area * factor) @ rows
                    blocks[a][b] = block + shared if a == b else block
                    blocks[b][a] = blocks[a][b]
            points = rows @ cage
            closest = match.values(target.vertices)
            along = ((closest - points) * normal).sum(1, keepdims=True) * normal
            pull = match.area[:, None] * (along + tangential * (closest - points))
            right = (
                rows.T @ pull
                + weight * (pull_landmarks @ (goal - template.landmark_rows @ cage))
                + weight / 4 * (self.curves.T @ (curve_goal - self.curves @ cage))
                - stiffness * (self.stiffness @ (cage - start))
            )
            step = splu(sp.bmat(blocks).tocsc()).solve(right.T.ravel()).reshape(3, n).T
            cage = cage + step
            cage = (cage + cage[template.mirror] * [-1.0, 1.0, 1.0]) / 2
            counted = match.area > 0
            report(
                f"registration {iteration + 1}/{len(STIFFNESS)}: "
                f"{counted.sum()} of {len(counted)} matched, "
                f"mean {np.abs(match.distance[counted]).mean():.3f} mm, "
                f"step {np.abs(step).max():.2f} mm"
            )
        return cage

    def carry(self, cage: Array, modes: NDArray[Any]) -> Array:
        """Displacements (M, C, 3) of the registered cage that follow the target's (M, W, 3)."""
        template, target = self.template, self.target
        stiffness = stiffness_form(template.matrix @ cage, template.triangles, template.matrix)
        match = self.match(cage, 1.0)
        rows = template.matrix[self.rows]
        shares = landmark_shares()
        shares[BROWS] = 0
        pull_landmarks = 4.0 * template.landmark_rows.T @ sp.diags(shares)
        form = (
            rows.T @ sp.diags(match.area) @ rows
            + MODE_STIFFNESS * stiffness
            + 2.0 * (self.curves.T @ self.curves)
            + pull_landmarks @ template.landmark_rows
            + 1e-5 * sp.identity(len(cage))
        )
        right = np.concatenate(
            [
                rows.T @ (match.area[:, None] * match.values(mode))
                + 2.0 * (self.curves.T @ (self.target_curves @ mode.astype(np.float64)))
                + pull_landmarks @ mode[target.landmarks].astype(np.float64)
                for mode in modes
            ],
            axis=1,
        )
        carried = splu(form.tocsc()).solve(right)
        return carried.reshape(len(cage), len(modes), 3).transpose(1, 0, 2)


def barycentric(corners: Array, points: Array) -> Array:
    """(n, 3) barycentric coordinates of points (n, 3) in the planes of triangles (n, 3, 3)."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    offset = points - corners[:, 0]
    d00, d01, d11 = (first * first).sum(1), (first * second).sum(1), (second * second).sum(1)
    d20, d21 = (offset * first).sum(1), (offset * second).sum(1)
    determinant = np.maximum(d00 * d11 - d01 * d01, 1e-18)
    b = (d11 * d20 - d01 * d21) / determinant
    c = (d00 * d21 - d01 * d20) / determinant
    return np.stack([1 - b - c, b, c], axis=1)
