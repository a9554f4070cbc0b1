"""Rigid alignment of people's faces, in a metric that looks at visible skin and at the nose."""

from __future__ import annotations

import numpy as np

from facewright.training.face_model.cage import SKIN, TEETH, TONGUE, Cage
from facewright.training.face_model.components import mirror_field
from facewright.training.face_model.topology import Topology

#: Weight of the metric far from and near the nose tip, and the width of the transition, mm.
FAR_WEIGHT, NEAR_WEIGHT, NEAR_MM = 0.35, 2.6, 60.0
#: Weight of eyeballs and pockets relative to visible skin.
HIDDEN_WEIGHT = 0.1


def vertex_areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V,) a third of the area of every vertex's triangles."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(triangles.ravel(), np.repeat(area, 3), len(points))


def cage_metric(topology: Topology) -> np.ndarray:
    """(C,) weights: surface area of the reference face, more near the nose, pulled to the cage."""
    points = topology.reference_dense
    nose = points[points[:, 2].argmax()]
    distance = np.linalg.norm(points - nose, axis=1)
    weight = vertex_areas(points, topology.dense.faces)
    weight *= FAR_WEIGHT + NEAR_WEIGHT * np.exp(-((distance / NEAR_MM) ** 2))
    weight[topology.parts != SKIN] *= HIDDEN_WEIGHT
    weight[np.isin(topology.parts, (TEETH, TONGUE))] = 0
    on_cage = np.maximum(topology.dense.matrix.T @ weight, 0)
    on_cage = (on_cage + on_cage[topology.cage.mirror]) / 2
    return on_cage / on_cage.sum()


def rigid_motions(
    shapes: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least-squares rotations and translations onto ``target`` (Kabsch).

    Args:
        shapes: (N, V, 3).
        target: (V, 3).
        weights: (V,) summing to one.

    Returns:
        (N, 3, 3) matrices M and (N, 3) vectors t: ``shapes @ M + t`` lie on the target.
    """
    center = np.einsum("v,nvc->nc", weights, shapes)
    target_center = weights @ target
    weighted = weights[:, None] * (target - target_center)
    covariance = np.einsum("nvc,vd->ncd", shapes - center[:, None], weighted)
    u, _, vt = np.linalg.svd(covariance)
    determinant = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= determinant[:, None]
    rotation = u @ vt
    return rotation, target_center - np.einsum("nc,ncd->nd", center, rotation)


def align(shapes: np.ndarray, weights: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Align (N, V, 3) shapes rigidly to their own symmetric mean; returns float64."""
    shapes = shapes.astype(np.float64)
    mean = shapes.mean(axis=0)
    for _ in range(4):
        mean = (mean + mirror_field(mean, mirror, flip=True)) / 2
        rotation, translation = rigid_motions(shapes, mean, weights)
        shapes = shapes @ rotation + translation[:, None]
        mean = shapes.mean(axis=0)
    return shapes


def face_rows(face: Cage, head: Cage) -> np.ndarray:
    """(C,) rows of the face cage's vertices in the head cage."""
    row = np.full(head.base_index.max() + 1, -1)
    row[head.base_index] = np.arange(head.n_vertices)
    return row[face.base_index]


def face_metric(topology: Topology, head: Cage) -> np.ndarray:
    """(H,) the face's metric on the head cage, zero off the face."""
    metric = np.zeros(head.n_vertices)
    metric[face_rows(topology.cage, head)] = cage_metric(topology)
    return metric
