"""The identity space: principal components of scanned and drawn people, rigidly aligned.

Three quarters of the people are scanned ones. What scans of adults do not know (children, old age,
populations beside those that were scanned) comes from the base mesh's own people: their deviation
from their mean adult goes on top of the scans' mean, on its own or together with a scanned
person's. So the adults' mean is the scans' mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from facewright.training.face_model.cage import Cage
from facewright.training.face_model.components import Components, mirror_field, symmetric_components
from facewright.training.face_model.people import People, Population
from facewright.training.face_model.rigid import (
    align,
    cage_metric,
    face_metric,
    face_rows,
    rigid_motions,
)
from facewright.training.face_model.scanned import ScannedHeads
from facewright.training.face_model.topology import Topology

N_IDENTITY = 80
N_SCANNED = 1600
N_DRAWN = 800
SEED = 20190320
#: Of the drawn people: share of children and of old people, whose face is a scanned person's too.
SCANNED_TOO = 0.7
#: How much of a scanned adult's variation such a person keeps.
KEPT = 0.8


@dataclass(frozen=True, eq=False)
class IdentitySpace:
    """Mean face and identity basis on the cage.

    Attributes:
        mean: (C, 3) mm, exactly symmetric, origin between the eyeballs.
        components: basis (80, C, 3) and the sampled people's coefficients (N, 80).
        heads: (N, H, 3) float32 mm, the sampled people's aligned heads.
        head_mean: (H, 3) mm, the head that the mean face belongs to.
        scale: factor on base-mesh displacements (expressions).
        people: the drawn people, the last rows of the samples.
        metric: (C,) weights of alignment and components, summing to one.
    """

    mean: np.ndarray
    components: Components
    heads: np.ndarray
    head_mean: np.ndarray
    scale: float
    people: People
    metric: np.ndarray


def drawn_deviations(
    people: People, population: Population, head: Cage, on_head: np.ndarray
) -> np.ndarray:
    """(N, H, 3) mm: how the base mesh's people differ from their mean adult, aligned.

    Args:
        people: drawn by ``population``.
        population: the base mesh's people.
        head: the head cage.
        on_head: (H,) the alignment's weights.
    """
    heads = align(population.heads(people, head.source), on_head, head.mirror)
    # Nobody's local controls: what is common to grown-ups.
    grown = (people.child == 0) & (people.baby == 0)
    mean = heads[grown].mean(axis=0)
    return heads - (mean + mirror_field(mean, head.mirror, flip=True)) / 2


def build_identity(
    topology: Topology, head: Cage, population: Population, scanned: ScannedHeads
) -> IdentitySpace:
    """Sample people, align their faces and take the leading 80 components.

    Args:
        topology: of the face.
        head: the head cage, whose rows ``scanned`` has.
        population: the base mesh's people.
        scanned: statistics of scanned heads.
    """
    rng = np.random.default_rng(SEED)
    head_mean, modes = scanned.on(head)
    people = population.sample(rng, N_DRAWN)
    both = rng.random(N_DRAWN) < SCANNED_TOO
    both &= (people.child > 0) | (people.baby > 0) | (people.old > 0.3)
    # The scanned person brings the features; the drawn one age and build.
    people = replace(people, local=people.local * ~both[:, None])
    metric = cage_metric(topology)
    rows = face_rows(topology.cage, head)
    head_mean[rows] = topology.cage.attach(head_mean[rows])
    on_head = face_metric(topology, head)

    weights = rng.standard_normal((N_SCANNED + N_DRAWN, len(modes)))
    weights[N_SCANNED:] *= KEPT * both[:, None]
    heads = np.tensordot(weights.astype(np.float32), modes.astype(np.float32), 1)
    heads[N_SCANNED:] += scanned.scale * drawn_deviations(people, population, head, on_head)
    heads[:, rows] = topology.cage.attach(heads[:, rows])
    heads += head_mean.astype(np.float32)
    rotation, translation = rigid_motions(
        heads[:, rows].astype(np.float64), head_mean[rows], metric
    )
    heads = heads @ rotation.astype(np.float32) + translation[:, None].astype(np.float32)

    mean = head_mean[rows]
    components = symmetric_components(
        heads[:, rows].astype(np.float64) - mean,
        metric,
        topology.cage.mirror,
        N_IDENTITY,
        flip=True,
    )
    return IdentitySpace(mean, components, heads, head_mean, scanned.scale, people, metric)
