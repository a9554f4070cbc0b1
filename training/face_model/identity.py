"""The identity space: principal components of random people, rigidly aligned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facewright.training.face_model.components import Components, mirror_field, symmetric_components
from facewright.training.face_model.people import People, Population
from facewright.training.face_model.topology import EYEBALL, POCKET, Topology

N_IDENTITY = 80
N_PEOPLE = 1800
SEED = 20190320

#: Weight of the metric far from and near the nose tip, and the width of the transition, mm.
FAR_WEIGHT, NEAR_WEIGHT, NEAR_MM = 0.35, 2.6, 60.0
#: Weight of eyeballs and pockets relative to visible skin.
HIDDEN_WEIGHT = 0.1


@dataclass(frozen=True, eq=False)
class IdentitySpace:
    """Mean face and identity basis on the cage.

    Attributes:
        mean: (C, 3) mm, exactly symmetric, origin still that of the alignment.
        components: basis (80, C, 3) and the sampled people's coefficients (N, 80).
        people: the sampled people.
        metric: (C,) weights of alignment and components, summing to one.
    """

    mean: np.ndarray
    components: Components
    people: People
    metric: np.ndarray


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
    weight[np.isin(topology.parts, (POCKET, EYEBALL))] *= HIDDEN_WEIGHT
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
    centre = np.einsum("v,nvc->nc", weights, shapes)
    target_centre = weights @ target
    weighted = weights[:, None] * (target - target_centre)
    covariance = np.einsum("nvc,vd->ncd", shapes - centre[:, None], weighted)
    u, _, vt = np.linalg.svd(covariance)
    determinant = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= determinant[:, None]
    rotation = u @ vt
    return rotation, target_centre - np.einsum("nc,ncd->nd", centre, rotation)


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


def build_identity(topology: Topology, population: Population) -> IdentitySpace:
    """Sample people, align their cages and take the leading 80 components."""
    people = population.sample(np.random.default_rng(SEED), N_PEOPLE)
    cages = population.heads(people, topology.cage.source)
    metric = cage_metric(topology)
    mirror = topology.cage.mirror
    aligned = align(cages, metric, mirror)
    mean = aligned.mean(axis=0)
    mean = (mean + mirror_field(mean, mirror, flip=True)) / 2
    components = symmetric_components(aligned - mean, metric, mirror, N_IDENTITY, flip=True)
    return IdentitySpace(mean, components, people, metric)
