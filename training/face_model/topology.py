"""The dense mesh of the face model: the subdivided cage cut along a smooth outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from facewright.training.face_model.cage import (
    EYEBALL,
    MM_PER_UNIT,
    POCKET,
    SKIN,
    TEETH,
    TONGUE,
    Cage,
    Regions,
    assemble_cage,
    build_cage,
    find_regions,
    front_half,
    teeth_and_tongue,
)
from facewright.training.face_model.people import eye_middle, reference_head
from facewright.training.face_model.sources import FaceSources
from facewright.training.face_model.subdivision import SubdividedMesh, clip, quad_edges, subdivide

#: Outline relative to the middle between the eyeballs, mm on the reference head: the top is
#: y = TOP - x^2 / TOP_CURVE, nothing lies behind z = BACK.
TOP = 76.0
TOP_CURVE = 260.0
BACK = -50.0
#: Level of the smoothed face mask along which neck, ears and hair are cut off.
MASK_LEVEL = 0.45
MASK_SMOOTHING_STEPS = 6
#: Scale that makes the mask's level set comparable with the outline's millimeters.
MASK_MM = 40.0
#: How far down and sideways the head goes, mm from the middle between the eyes.
LOWEST, WIDEST = -230.0, 230.0


@dataclass(frozen=True, eq=False)
class Topology:
    """Cage and dense mesh.

    Attributes:
        cage: the control mesh.
        dense: triangles, subdivision matrix (V, C) and mirror map of the dense mesh.
        parts: (V,) uint8 SKIN, POCKET, EYEBALL, TEETH or TONGUE; a lid or lip edge counts as SKIN.
        triangle_parts: (T,) uint8.
        reference: (S, 3) the reference head in base-mesh units.
        origin: (3,) the middle between the eyeballs on the reference head, mm.
        regions: labels of the base mesh's quads.
        base_quads: (Q, 4) all quads of the base mesh.
    """

    cage: Cage
    dense: SubdividedMesh
    parts: np.ndarray
    triangle_parts: np.ndarray
    reference: np.ndarray
    origin: np.ndarray
    regions: Regions
    base_quads: np.ndarray

    @property
    def reference_dense(self) -> np.ndarray:
        """(V, 3) reference face, mm, origin between the eyeballs."""
        return self.dense.matrix @ (self.cage.source @ self.reference * MM_PER_UNIT - self.origin)


def build_topology(sources: FaceSources) -> Topology:
    """Choose the skin quads, build the cage, subdivide twice and clip."""
    mesh = sources.mesh
    regions = find_regions(sources)
    reference = reference_head(sources)
    origin = eye_middle(sources, reference)
    position = reference * MM_PER_UNIT - origin

    # The painted mask has a widow's peak: anything frontal above the brows is face as well.
    face = regions.face & regions.skin & ~regions.ears
    on_vertex = np.zeros(len(mesh.vertices))
    count = np.bincount(mesh.quads[regions.skin].ravel(), minlength=len(on_vertex))
    np.add.at(on_vertex, mesh.quads[face].ravel(), 1.0)
    on_vertex /= np.maximum(count, 1)
    above = np.maximum(position[:, 1] - 30, 0)
    forehead = (position[:, 1] > 30) & (position[:, 2] > -62 + 0.35 * above) & (count > 0)
    on_vertex[forehead] = 1.0

    near = (on_vertex[mesh.quads] > 0).any(axis=1)
    low = position[mesh.quads, 1].mean(axis=1) < TOP + 26
    skin = regions.skin & ~regions.ears & near & low
    cage = build_cage(mesh, regions, skin, position)
    subdivided = subdivide(cage.quads, cage.n_vertices, cage.mirror, levels=2)
    quad_parts = cage.parts[subdivided.parents]

    edges, _ = quad_edges(cage.quads)
    neighbors = sp.coo_matrix(
        (np.ones(2 * len(edges)), (edges.ravel(), edges[:, ::-1].ravel())),
        (cage.n_vertices, cage.n_vertices),
    ).tocsr()
    neighbors = (sp.diags(1 / np.asarray(neighbors.sum(axis=1)).ravel()) @ neighbors).tocsr()
    mask = on_vertex[cage.base_index]
    for _ in range(MASK_SMOOTHING_STEPS):
        mask = 0.4 * mask + 0.6 * (neighbors @ mask)
    dense = subdivided.matrix @ (cage.source @ position)
    field = np.minimum.reduce(
        [
            (subdivided.matrix @ mask - MASK_LEVEL) * MASK_MM,
            TOP - dense[:, 0] ** 2 / TOP_CURVE - dense[:, 1],
            dense[:, 2] - BACK,
        ]
    )
    inner = np.unique(subdivided.faces[quad_parts != SKIN])
    field[inner] = np.maximum(field[inner], 1.0)
    clipped = clip(subdivided, field)

    triangle_parts = cage.parts[clipped.parents]
    parts = np.full(clipped.matrix.shape[0], SKIN, np.uint8)
    for part in (TONGUE, TEETH, EYEBALL, POCKET, SKIN):
        parts[clipped.faces[triangle_parts == part]] = part
    return Topology(cage, clipped, parts, triangle_parts, reference, origin, regions, mesh.quads)


def head_cage(sources: FaceSources, topology: Topology) -> Cage:
    """Cage of the head: body with full cavities, eyeball fronts, teeth and tongue."""
    mesh, regions = sources.mesh, topology.regions
    position = topology.reference * MM_PER_UNIT - topology.origin
    center = position[mesh.quads].mean(axis=1)
    near = (center[:, 1] > LOWEST) & (np.abs(center[:, 0]) < WIDEST)
    cavities = regions.mouth | regions.left_socket | regions.right_socket
    eyeballs = (regions.right_eyeball, regions.left_eyeball)
    blocks = [
        (mesh.quads[regions.skin & near], SKIN),
        (mesh.quads[cavities], POCKET),
        *((mesh.quads[front_half(mesh, eyeball)], EYEBALL) for eyeball in eyeballs),
        *teeth_and_tongue(mesh, position),
    ]
    return assemble_cage(mesh, blocks, eyeballs)
