"""Catmull-Clark subdivision and clipping of quad meshes, as sparse matrices acting on the cage.

A subdivided mesh is ``matrix @ cage_vertices``: the weights depend on connectivity alone, so a
basis stored on the cage gives the dense basis through the same matrix. Rules: Catmull & Clark
1978, "Recursively generated B-spline surfaces on arbitrary topological meshes", with the cubic
B-spline rule on boundary edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

#: A clipped edge is cut no nearer to its ends than this share of its length: no sliver triangles.
MINIMUM_CUT = 0.12


@dataclass(frozen=True, eq=False)
class SubdividedMesh:
    """A mesh whose vertices are blends of cage vertices.

    Attributes:
        matrix: (V, C) CSR float64, rows sum to one.
        faces: (F, 4) quads or (F, 3) triangles, int64.
        parents: (F,) int64, the cage quad every face comes from.
        mirror: (V,) int64 vertex mirror map, an involution.
    """

    matrix: sp.csr_matrix
    faces: np.ndarray
    parents: np.ndarray
    mirror: np.ndarray


def directed_edges(quads: np.ndarray) -> np.ndarray:
    """(4Q, 2) the edges as the quads run along them."""
    return np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)


def quad_edges(quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unique undirected edges (E, 2), sorted, and (Q, 4) the edge from corner k to corner k + 1."""
    directed = np.sort(directed_edges(quads), axis=1)
    edges, index = np.unique(directed, axis=0, return_inverse=True)
    return edges, index.reshape(len(quads), 4)


def boundary_edges(quads: np.ndarray) -> np.ndarray:
    """(E, 2) the undirected edges that only one quad has."""
    directed = np.sort(directed_edges(quads), axis=1)
    edges, count = np.unique(directed, axis=0, return_counts=True)
    return edges[count == 1]


def adjacency(quads: np.ndarray, n_vertices: int) -> sp.csr_matrix:
    """(V, V) CSR, 1 where an edge joins two vertices."""
    edges = directed_edges(quads)
    links = sp.csr_matrix((np.ones(len(edges)), edges.T), (n_vertices, n_vertices))
    return ((links + links.T) > 0).astype(np.float64)


def _average(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """Sparse matrix that averages, for every row, the listed columns (empty rows stay zero)."""
    matrix = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape)
    count = np.asarray(matrix.sum(axis=1)).ravel()
    return (sp.diags(1.0 / np.maximum(count, 1.0)) @ matrix).tocsr()


def _rows(selected: np.ndarray) -> sp.dia_matrix:
    return sp.diags(selected.astype(np.float64))


def catmull_clark(
    quads: np.ndarray, n_vertices: int, mirror: np.ndarray
) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """One Catmull-Clark step.

    Args:
        quads: (Q, 4) int vertex indices.
        n_vertices: number of vertices they index.
        mirror: (n_vertices,) mirror map that sends quads to quads.

    Returns:
        The (V', n_vertices) CSR matrix, the (4Q, 4) quads (old vertex first, new face point third,
        so that the diagonal 0-2 is the same on both sides of the face; children of quad i are rows
        4i..4i+3) and the (V',) mirror map.
    """
    edges, quad_edge = quad_edges(quads)
    n_quads, n_edges = len(quads), len(edges)
    face_point = _average(np.repeat(np.arange(n_quads), 4), quads.ravel(), (n_quads, n_vertices))
    midpoint = _average(np.repeat(np.arange(n_edges), 2), edges.ravel(), (n_edges, n_vertices))

    faces_of_edge = _average(
        quad_edge.ravel(), np.repeat(np.arange(n_quads), 4), (n_edges, n_quads)
    )
    boundary = np.bincount(quad_edge.ravel(), minlength=n_edges) != 2
    edge_point = (
        _rows(boundary) @ midpoint + _rows(~boundary) @ (midpoint + faces_of_edge @ face_point) / 2
    )

    on_boundary = np.zeros(n_vertices, bool)
    on_boundary[edges[boundary]] = True
    valence = np.maximum(np.bincount(quads.ravel(), minlength=n_vertices), 1)
    identity = sp.identity(n_vertices)
    around_faces = _average(quads.ravel(), np.repeat(np.arange(n_quads), 4), (n_vertices, n_quads))
    around_edges = _average(edges.ravel(), np.repeat(np.arange(n_edges), 2), (n_vertices, n_edges))
    boundary_edge = np.flatnonzero(boundary)
    around_boundary = _average(
        edges[boundary].ravel(), np.repeat(boundary_edge, 2), (n_vertices, n_edges)
    )
    interior_rule = (
        sp.diags(1 / valence) @ (around_faces @ face_point)
        + sp.diags(2 / valence) @ (around_edges @ midpoint)
        + sp.diags((valence - 3) / valence) @ identity
    )
    boundary_rule = identity / 2 + around_boundary @ midpoint / 2
    vertex_point = _rows(~on_boundary) @ interior_rule + _rows(on_boundary) @ boundary_rule

    matrix = sp.vstack([vertex_point, edge_point, face_point]).tocsr()
    matrix.eliminate_zeros()
    edge_id = n_vertices + quad_edge
    face_id = n_vertices + n_edges + np.arange(n_quads)
    children = np.stack(
        [
            np.stack([quads[:, k], edge_id[:, k], face_id, edge_id[:, k - 1]], axis=1)
            for k in range(4)
        ],
        axis=1,
    ).reshape(-1, 4)
    new_mirror = np.concatenate(
        [
            mirror,
            n_vertices + _locate(np.sort(mirror[edges], axis=1), edges),
            n_vertices + n_edges + _locate(np.sort(mirror[quads], axis=1), np.sort(quads, axis=1)),
        ]
    )
    return matrix, children, new_mirror


def _locate(wanted: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Row index in ``table`` of every row of ``wanted``; raises ValueError if one is missing."""
    index = {tuple(row): i for i, row in enumerate(table.tolist())}
    try:
        return np.array([index[tuple(row)] for row in wanted.tolist()])
    except KeyError as error:
        raise ValueError("the mirror map does not send quads to quads") from error


def subdivide(
    quads: np.ndarray, n_vertices: int, mirror: np.ndarray, levels: int
) -> SubdividedMesh:
    """Apply ``levels`` Catmull-Clark steps to the cage; faces of the result are quads."""
    matrix = sp.identity(n_vertices, format="csr")
    parents = np.arange(len(quads))
    for _ in range(levels):
        step, quads, mirror = catmull_clark(quads, matrix.shape[0], mirror)
        matrix = (step @ matrix).tocsr()
        parents = np.repeat(parents, 4)
    return SubdividedMesh(matrix, quads, parents, mirror)


def clip(mesh: SubdividedMesh, field: np.ndarray) -> SubdividedMesh:
    """Keep the part of a quad mesh where ``field`` (V,) is positive, cutting along its zero level.

    Quads are split along the diagonal 0-2; a cut vertex is the blend of the two ends of its edge.
    Vertices that no triangle uses are dropped.

    Returns:
        The triangle mesh, with vertices that are still blends of the cage and a mirror map.
    """
    field = (field + field[mesh.mirror]) / 2
    quads = mesh.faces
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    parents = np.concatenate([mesh.parents, mesh.parents])
    inside = field > 0
    n_inside = inside[triangles].sum(axis=1)
    whole = n_inside == 3
    kept = triangles[whole].tolist()
    kept_parents = parents[whole].tolist()

    n_old = mesh.matrix.shape[0]
    cuts: dict[tuple[int, int], int] = {}

    def cut(a: int, b: int) -> int:
        return cuts.setdefault((min(a, b), max(a, b)), n_old + len(cuts))

    crossing = (n_inside == 1) | (n_inside == 2)
    for triangle, parent in zip(triangles[crossing].tolist(), parents[crossing], strict=True):
        lone_is_inside = int(inside[triangle].sum()) == 1
        lone = next(k for k in range(3) if inside[triangle[k]] == lone_is_inside)
        a, b, c = (triangle[(lone + k) % 3] for k in range(3))
        ab, ac = cut(a, b), cut(a, c)
        if lone_is_inside:
            kept.append([a, ab, ac])
            kept_parents.append(parent)
        elif field[b] >= field[c]:
            kept += [[b, c, ac], [b, ac, ab]]
            kept_parents += [parent, parent]
        else:
            kept += [[b, c, ab], [c, ac, ab]]
            kept_parents += [parent, parent]

    ends = np.array(list(cuts), dtype=np.int64).reshape(-1, 2)
    share = field[ends[:, 0]] / (field[ends[:, 0]] - field[ends[:, 1]])
    share = np.clip(share, MINIMUM_CUT, 1 - MINIMUM_CUT)
    row = np.arange(len(ends))
    blend = sp.csr_matrix(
        (np.concatenate([1 - share, share]), (np.tile(row, 2), ends.T.ravel())), (len(ends), n_old)
    )
    matrix = sp.vstack([mesh.matrix, blend @ mesh.matrix]).tocsr()
    mirrored_ends = np.sort(mesh.mirror[ends], axis=1)
    mirror = np.concatenate(
        [mesh.mirror, np.array([cut(a, b) for a, b in mirrored_ends.tolist()], dtype=np.int64)]
    )
    if len(mirror) != matrix.shape[0]:
        raise ValueError("the clipped boundary is not symmetric")

    faces = np.array(kept)
    used = np.unique(faces)
    new_index = np.full(matrix.shape[0], -1)
    new_index[used] = np.arange(len(used))
    return SubdividedMesh(
        matrix[used], new_index[faces], np.array(kept_parents), new_index[mirror[used]]
    )
