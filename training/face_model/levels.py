"""Coarser triangles for the face model's own vertices, cut along the same outline."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from facewright.training.face_model.cage import MM_PER_UNIT
from facewright.training.face_model.subdivision import catmull_clark, quad_edges
from facewright.training.face_model.topology import Topology

#: Points nearer than this are the same, mm.
SAME = 1e-6


def face_levels(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (T, 3) of a quarter of a quarter, and of a quarter, of the face's vertices.

    The vertices of a coarser level are those of the finer one: an edge that the outline cuts ends
    at the vertex where the outline cuts the finest edges on its way.
    """
    cage = topology.cage
    first, medium, mirror = catmull_clark(cage.quads, cage.n_vertices, cage.mirror)
    second, _, _ = catmull_clark(medium, first.shape[0], mirror)
    reference = cage.source @ topology.reference * MM_PER_UNIT - topology.origin
    points = second @ (first @ reference)
    face = topology.reference_dense
    distance, nearest = cKDTree(face).query(points)
    vertex = np.where(distance < SAME, nearest, -1)
    cuts = np.setdiff1d(np.arange(len(face)), vertex)
    middle = _middles(cage.quads, cage.n_vertices)
    finer = _middles(medium, first.shape[0])
    tree = cKDTree(face[cuts])

    def halves(a: int, b: int, tables: list[dict[tuple[int, int], int]]) -> list[int]:
        if not tables:
            return [a, b]
        between = tables[0][min(a, b), max(a, b)]
        return halves(a, between, tables[1:])[:-1] + halves(between, b, tables[1:])

    def cut(inside: int, outside: int, tables: list[dict[tuple[int, int], int]]) -> int:
        way = halves(inside, outside, tables)
        for a, b in zip(way[:-1], way[1:], strict=True):
            if vertex[a] >= 0 and vertex[b] < 0:
                near = cuts[tree.query((points[a] + points[b]) / 2, 8)[1]]
                return int(near[_off_segment(face[near], points[a], points[b]).argmin()])
        raise ValueError("the outline does not cut the edge")

    def level(quads: np.ndarray, tables: list[dict[tuple[int, int], int]]) -> np.ndarray:
        kept = []
        triangles = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
        for triangle in triangles.tolist():
            inside = [vertex[v] >= 0 for v in triangle]
            count = sum(inside)
            if count == 3:
                kept.append([int(vertex[v]) for v in triangle])
            elif count:
                lone = inside.index(count == 1)
                a, b, c = (triangle[(lone + k) % 3] for k in range(3))
                if count == 1:
                    kept.append([int(vertex[a]), cut(a, b, tables), cut(a, c, tables)])
                else:
                    ab, ac = cut(b, a, tables), cut(c, a, tables)
                    kept.append([int(vertex[b]), int(vertex[c]), ac])
                    kept.append([int(vertex[b]), ac, ab])
        result = np.array(kept)
        distinct = (result != np.roll(result, 1, axis=1)).all(axis=1)
        return result[distinct]

    return level(cage.quads, [middle, finer]), level(medium, [finer])


def _middles(quads: np.ndarray, n_vertices: int) -> dict[tuple[int, int], int]:
    """The next level's vertex between the ends of every edge and of every diagonal 0-2."""
    edges, _ = quad_edges(quads)
    table = {(a, b): n_vertices + i for i, (a, b) in enumerate(edges.tolist())}
    first = n_vertices + len(edges)
    for i, (a, _, c, _) in enumerate(quads.tolist()):
        table[min(a, c), max(a, c)] = first + i
    return table


def _off_segment(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    along = b - a
    share = np.clip((points - a) @ along / (along @ along), 0, 1)
    return np.linalg.norm(points - a - share[:, None] * along, axis=1)
