"""Put the face model together: topology, identity, expression, landmarks, albedo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facewright.models.morphable_model import MorphableModel
from facewright.models.subdivision import Subdivision
from facewright.training.face_model.cage import Cage
from facewright.training.face_model.calibration import Calibration
from facewright.training.face_model.expression import ExpressionSpace, build_expression
from facewright.training.face_model.identity import IdentitySpace, build_identity
from facewright.training.face_model.landmarks import (
    find_landmarks,
    pocket_weights,
    region_weights,
    skin_region,
)
from facewright.training.face_model.people import Population
from facewright.training.face_model.scanned import ScannedHeads
from facewright.training.face_model.scans import SOURCE
from facewright.training.face_model.sources import DISTRIBUTION, VERSION, FaceSources
from facewright.training.face_model.topology import Topology, build_topology, head_cage
from facewright.training.face_model.uv import texture_coordinates

NAME = "facewright-open-face"
MODEL_VERSION = "2.0.0"


@dataclass(frozen=True, eq=False)
class Geometry:
    """All of the face model but its colors, and what it was made from.

    Attributes:
        sources, topology, head, population, identity, expression: the steps' results; ``head``
            is the cage of the whole head.
        origin: (3,) mm: the mean shape's mean vertex in the frame of ``identity.mean``.
        landmarks: (68,) dense vertex indices.
        masks: (V,) float32 weights: lips, eyelids, ears, inside_mouth, inside_lids.
        skin_region: (V,) bool. uv: (V, 2) float32.
    """

    sources: FaceSources
    topology: Topology
    head: Cage
    population: Population
    identity: IdentitySpace
    expression: ExpressionSpace
    origin: np.ndarray
    landmarks: np.ndarray
    masks: dict[str, np.ndarray]
    skin_region: np.ndarray
    uv: np.ndarray

    @property
    def mean_vertices(self) -> np.ndarray:
        """(V, 3) float64 mm: the mean face, its origin at the mean of its vertices."""
        return self.topology.dense.matrix @ (self.identity.mean - self.origin)


def build_geometry(
    sources: FaceSources,
    calibration: Calibration,
    scanned: ScannedHeads,
    report: Callable[[str], None],
) -> Geometry:
    """Build everything but the albedo; ``report`` is told what is going on."""
    report("topology")
    topology = build_topology(sources)
    report("identity")
    population = Population(sources, calibration.offsets, calibration.spread)
    head = head_cage(sources, topology)
    identity = build_identity(topology, head, population, scanned)
    report("expression")
    expression = build_expression(sources, topology, identity.mean, identity.metric, identity.scale)
    report("landmarks, regions and texture coordinates")
    jaw_open = topology.dense.matrix @ expression.units[expression.names.index("jawOpen")]
    masks = {
        name: region_weights(topology, getattr(topology.regions, name))
        for name in ("lips", "eyelids", "ears")
    }
    masks |= {k: v.astype(np.float32) for k, v in pocket_weights(topology).items()}
    return Geometry(
        sources=sources,
        topology=topology,
        head=head,
        population=population,
        identity=identity,
        expression=expression,
        origin=(topology.dense.matrix @ identity.mean).mean(axis=0),
        landmarks=find_landmarks(topology, jaw_open),
        masks=masks,
        skin_region=skin_region(topology, masks["lips"], masks["eyelids"]),
        uv=texture_coordinates(topology),
    )


def assemble(
    geometry: Geometry, mean_albedo: np.ndarray, albedo_basis: np.ndarray
) -> MorphableModel:
    """The model, from geometry and an albedo space: mean (V, 3) and basis (80, V, 3)."""
    dense = geometry.topology.dense
    return MorphableModel(
        mean_shape=(geometry.identity.mean - geometry.origin).astype(np.float32),
        identity_basis=geometry.identity.components.basis.astype(np.float32),
        expression_basis=geometry.expression.components.basis.astype(np.float32),
        subdivision=Subdivision.from_rows(dense.matrix.astype(np.float32)),
        mean_albedo=mean_albedo.astype(np.float32),
        albedo_basis=albedo_basis.astype(np.float32),
        triangles=dense.faces.astype(np.int32),
        landmarks=geometry.landmarks.astype(np.int32),
        skin_region=geometry.skin_region,
        mirror=dense.mirror.astype(np.int32),
        uv=geometry.uv,
        parts=geometry.topology.parts,
        expression_units=geometry.expression.names,
        expression_unit_coefficients=geometry.expression.unit_coefficients.astype(np.float32),
        metadata={
            "name": NAME,
            "version": MODEL_VERSION,
            "licence": "CC0-1.0 AND MIT",
            "source": (
                f"MakeHuman/MPFB2 base mesh and targets and the faceunits01 action units (CC0), "
                f"from the data files of {DISTRIBUTION} {VERSION}; statistics of {SOURCE}"
            ),
            "units": "mm",
        },
    )
