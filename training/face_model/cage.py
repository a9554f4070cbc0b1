"""The coarse control mesh of the face: which quads of the base mesh it keeps, and its eyeballs.

Everything behind the lips and lids is found by connectivity: the inside of the mouth and the two
eye sockets are the texture islands of the base mesh that hang on the lips and on the lids. They
are made of concentric rings of quads; a few rings, closed by a strip, make a shallow pocket, so
that an open mouth shows teeth and a tongue before a dark inside, and no hole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from facewright.training.face_model.mouth import (
    LOWER_TEETH,
    TONGUE_GROUP,
    UPPER_TEETH,
    attachment,
    seated,
    tongue_quads,
)
from facewright.training.face_model.sources import BaseMesh, FaceSources
from facewright.training.face_model.subdivision import directed_edges

#: Millimeters per unit of the base mesh: the mean adult gets an interpupillary distance of 62 mm.
MM_PER_UNIT = 107.0

SKIN, POCKET, EYEBALL, TEETH, TONGUE = 0, 1, 2, 3, 4

#: Loops of the mouth island kept (0 is the lips' inner edge); the last one is closed by a strip.
MOUTH_LOOPS = (0, 1, 3, 6)
#: Loops of a socket island kept (0 is the lid's inner edge).
SOCKET_LOOPS = (0, 1, 4)

#: Pockets below this height from the middle between the eyes, mm, are the mouth's.
LOWEST_LID = -40.0
#: How far the back of the mouth is moved from the lips, mm: nearer, it sticks out of some people.
CAVITY_BACK = 3.0

#: The helper eyeball is a sphere of about 16.5 mm; a human one has a radius of about 12 mm.
EYEBALL_SHRINK = 0.89
#: Where the point that the ball shrinks to lies, from its center (0) to its front (1).
EYEBALL_FORWARD = 0.92


@dataclass(frozen=True, eq=False)
class Regions:
    """Quads of the base mesh by what they are; all (Q,) bool and symmetric.

    ``left`` is the subject's left (+x).
    """

    body: np.ndarray
    mouth: np.ndarray
    left_socket: np.ndarray
    right_socket: np.ndarray
    left_eyeball: np.ndarray
    right_eyeball: np.ndarray
    face: np.ndarray
    ears: np.ndarray
    lips: np.ndarray
    eyelids: np.ndarray

    @property
    def skin(self) -> np.ndarray:
        """Body quads that are neither in the mouth nor in a socket."""
        return self.body & ~self.mouth & ~self.left_socket & ~self.right_socket


def find_regions(sources: FaceSources) -> Regions:
    """Label the quads from texture islands, groups and the painted CC0 masks."""
    mesh = sources.mesh
    body = mesh.groups == "body"
    corners = mesh.quad_uv
    links = sp.coo_matrix(
        (
            np.ones(3 * len(corners)),
            (np.repeat(corners[:, 0], 3), corners[:, 1:].ravel()),
        ),
        (len(mesh.uv), len(mesh.uv)),
    )
    island = connected_components(links, directed=False)[1][corners[:, 0]]
    inside_mouth = sources.quad_mask("inside-mouth")
    lips, eyelids = sources.quad_mask("lips"), sources.quad_mask("eyelids")
    mouth = body & (island == island[np.flatnonzero(inside_mouth)[0]])
    if (inside_mouth & ~mouth).any():
        raise ValueError("the painted inside of the mouth is not one texture island")

    def socket(side: int) -> np.ndarray:
        eyelid_vertices = np.unique(mesh.quads[eyelids])
        eyelid_vertices = eyelid_vertices[side * mesh.vertices[eyelid_vertices, 0] > 0]
        touching = np.isin(mesh.quads, eyelid_vertices).any(axis=1) & body
        skin_island = np.bincount(island[eyelids]).argmax()
        behind = np.unique(island[touching & (island != skin_island)])
        if len(behind) != 1:
            raise ValueError("the lids do not border exactly one socket island")
        return body & (island == behind[0])

    return Regions(
        body=body,
        mouth=mouth,
        left_socket=socket(1),
        right_socket=socket(-1),
        left_eyeball=mesh.groups == "helper-l-eye",
        right_eyeball=mesh.groups == "helper-r-eye",
        face=sources.quad_mask("face"),
        ears=sources.quad_mask("ears"),
        lips=lips,
        eyelids=eyelids,
    )


def rings(mesh: BaseMesh, pocket: np.ndarray, outside: np.ndarray) -> list[np.ndarray]:
    """Peel ``pocket`` (Q,) bool into rings of quad indices, from the quads of ``outside`` in."""
    reached = np.zeros(len(mesh.vertices), bool)
    reached[mesh.quads[outside]] = True
    left = pocket.copy()
    peeled = []
    while left.any():
        ring = left & reached[mesh.quads].any(axis=1)
        if not ring.any():
            raise ValueError("the pocket is not connected to the outside")
        peeled.append(np.flatnonzero(ring))
        reached[mesh.quads[ring]] = True
        left &= ~ring
    return peeled


def shallow_pocket(
    mesh: BaseMesh, pocket: np.ndarray, outside: np.ndarray, loops: tuple[int, ...]
) -> np.ndarray:
    """Quads between the chosen loops of a pocket, closed behind the last one.

    Loop k is the rim of ring k; columns of quads connect the loops vertex by vertex, and the
    pocket's innermost strip of quads tells how to close a loop.

    Returns:
        (P, 4) quads over the base mesh's vertices.
    """
    peeled = rings(mesh, pocket, outside)
    strip = mesh.quads[peeled[-1]]
    reached = np.zeros(len(mesh.vertices), bool)
    reached[mesh.quads[outside]] = True
    on_loop = []
    inward = np.full(len(mesh.vertices), -1)
    for ring in peeled[:-1]:
        quads = mesh.quads[ring]
        on_loop.append(np.unique(quads[reached[quads]]))
        edges = directed_edges(quads)
        edges = np.concatenate([edges, edges[:, ::-1]])
        crossing = reached[edges[:, 0]] & ~reached[edges[:, 1]]
        inward[edges[crossing, 0]] = edges[crossing, 1]
        reached[quads] = True
    outward = np.full(len(mesh.vertices), -1)
    outward[inward[inward >= 0]] = np.flatnonzero(inward >= 0)

    def walk(vertices: np.ndarray, table: np.ndarray, steps: int) -> np.ndarray:
        for _ in range(steps):
            vertices = table[vertices]
        return vertices

    made = []
    for outer, inner in zip(loops[:-1], loops[1:], strict=True):
        quads = mesh.quads[peeled[outer]].copy()
        rim = np.isin(quads, on_loop[outer])
        quads[~rim] = walk(quads[~rim], inward, inner - outer - 1)
        made.append(quads)
    made.append(walk(strip, outward, len(peeled) - 1 - loops[-1]))
    return np.concatenate(made)


@dataclass(frozen=True, eq=False)
class Cage:
    """The control mesh of the face.

    Attributes:
        source: (C, S) CSR; cage vertices = ``source @ base_mesh_vertices`` (and displacements).
        base_index: (C,) int64, the base-mesh vertex each cage vertex belongs to.
        quads: (Q, 4) int64.
        parts: (Q,) uint8: SKIN, POCKET (inside of lids and mouth), EYEBALL, TEETH or TONGUE.
        mirror: (C,) int64.
        upper_teeth, lower_teeth, tongue: cage vertices of these parts.
        inner: (n,) cage vertices that the skin around the mouth carries: teeth, tongue and the
            back of the mouth.
        attachment: (n, C) CSR that places them: ``attachment @ cage``, for positions,
            people and modes alike, but not for expressions.
    """

    source: sp.csr_matrix
    base_index: np.ndarray
    quads: np.ndarray
    parts: np.ndarray
    mirror: np.ndarray
    upper_teeth: np.ndarray
    lower_teeth: np.ndarray
    tongue: np.ndarray
    inner: np.ndarray
    attachment: sp.csr_matrix

    @property
    def n_vertices(self) -> int:
        """Number of cage vertices."""
        return len(self.base_index)

    def attach(self, fields: np.ndarray) -> np.ndarray:
        """Positions or modes (..., C, 3), with ``inner`` carried by the skin around the mouth."""
        attached = fields.copy()
        for field, result in zip(
            fields.reshape(-1, self.n_vertices, 3),
            attached.reshape(-1, self.n_vertices, 3),
            strict=True,
        ):
            result[self.inner] = self.attachment @ field
        return attached


def eyeball_operator(mesh: BaseMesh, eyeball: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
    """Shrink one helper eyeball to human size, keeping its front where the lids are.

    Every vertex moves towards a point between the ball's center and its front. That is linear in
    the vertices, so it acts on targets (gaze, growth) as it does on positions.

    Returns:
        The (n, S) matrix and the (n,) base-mesh vertices, ascending.
    """
    vertices = np.unique(mesh.quads[eyeball])
    n, n_base = len(vertices), len(mesh.vertices)
    depth = mesh.vertices[vertices, 2]
    front = vertices[depth > depth.max() - 1e-2]

    def mean_of(members: np.ndarray) -> sp.csr_matrix:
        row, column = np.repeat(np.arange(n), len(members)), np.tile(members, n)
        return sp.csr_matrix((np.full(len(row), 1 / len(members)), (row, column)), (n, n_base))

    own = sp.csr_matrix((np.ones(n), (np.arange(n), vertices)), (n, n_base))
    fixed = (1 - EYEBALL_FORWARD) * mean_of(vertices) + EYEBALL_FORWARD * mean_of(front)
    return (EYEBALL_SHRINK * own + (1 - EYEBALL_SHRINK) * fixed).tocsr(), vertices


def front_half(mesh: BaseMesh, eyeball: np.ndarray) -> np.ndarray:
    """(Q,) bool: quads of ``eyeball`` whose center lies in front of the ball's center."""
    depth = mesh.vertices[:, 2]
    middle = depth[np.unique(mesh.quads[eyeball])].mean()
    return eyeball & (depth[mesh.quads].mean(axis=1) > middle)


def build_cage(mesh: BaseMesh, regions: Regions, skin: np.ndarray, position: np.ndarray) -> Cage:
    """Put the cage together: skin, pockets, the eyeballs' front halves, teeth and tongue.

    Args:
        mesh: the base mesh.
        regions: labels of its quads.
        skin: (Q,) bool, quads of the skin.
        position: (S, 3) mm, the reference head with its origin between the eyes.
    """
    outside = regions.skin
    mouth = shallow_pocket(mesh, regions.mouth, outside, MOUTH_LOOPS)
    right = shallow_pocket(mesh, regions.right_socket, outside, SOCKET_LOOPS)
    left = shallow_pocket(mesh, regions.left_socket, outside, SOCKET_LOOPS)
    eyeballs = (regions.right_eyeball, regions.left_eyeball)
    blocks = [
        (mesh.quads[skin], SKIN),
        (np.concatenate([mouth, right, left]), POCKET),
        *((mesh.quads[front_half(mesh, eyeball)], EYEBALL) for eyeball in eyeballs),
        *teeth_and_tongue(mesh, position),
    ]
    cage = assemble_cage(mesh, blocks, eyeballs)
    return attach_mouth(cage, mesh, position)


def teeth_and_tongue(mesh: BaseMesh, position: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Blocks of (n, 4) base-mesh quads with their labels; ``position`` as for `build_cage`."""
    teeth = np.isin(mesh.groups, (UPPER_TEETH, LOWER_TEETH))
    return [(mesh.quads[teeth], TEETH), (mesh.quads[tongue_quads(mesh, position)], TONGUE)]


def back_of_the_mouth(cage: Cage, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cage vertices of the lips' inner edge, and of the mouth's pocket behind its first ring."""
    pocket = cage.quads[cage.parts == POCKET]
    pocket = pocket[position[pocket, 1].mean(axis=1) < LOWEST_LID]
    edge = np.intersect1d(pocket, cage.quads[cage.parts == SKIN])
    first_ring = pocket[np.isin(pocket, edge).any(axis=1)]
    return edge, np.setdiff1d(pocket, first_ring)


def attach_mouth(cage: Cage, mesh: BaseMesh, position: np.ndarray) -> Cage:
    """Let the skin around the mouth carry teeth, tongue and the back of the mouth.

    Args:
        cage: with teeth and tongue where the base mesh has them.
        mesh: the base mesh.
        position: as for `build_cage`.
    """
    on_cage = cage.source @ position
    edge, back = back_of_the_mouth(cage, on_cage)
    lip = on_cage[edge[cage.mirror[edge] == edge]].mean(axis=0)
    target = cage.source @ seated(mesh, position, lip)
    target[back, 2] -= CAVITY_BACK

    def members(group: str) -> np.ndarray:
        return np.flatnonzero(np.isin(cage.base_index, mesh.quads[mesh.groups == group]))

    upper, lower, tongue = map(members, (UPPER_TEETH, LOWER_TEETH, TONGUE_GROUP))
    inner = np.concatenate([upper, lower, tongue, back])
    skin = np.setdiff1d(cage.quads[cage.parts == SKIN], inner)
    rows = attachment(on_cage, skin, inner, target[inner], lip)
    source = cage.source.tolil()
    source[inner] = rows @ cage.source
    return replace(
        cage,
        source=source.tocsr(),
        upper_teeth=upper,
        lower_teeth=lower,
        tongue=tongue,
        inner=inner,
        attachment=rows,
    )


def assemble_cage(
    mesh: BaseMesh, blocks: list[tuple[np.ndarray, int]], eyeballs: tuple[np.ndarray, np.ndarray]
) -> Cage:
    """Make a cage of blocks of (n, 4) base-mesh quads with their part labels."""
    quads = np.concatenate([block for block, _ in blocks])
    parts = np.concatenate([np.full(len(block), label, np.uint8) for block, label in blocks])
    base_index = np.unique(quads)
    cage_index = np.full(len(mesh.vertices), -1)
    cage_index[base_index] = np.arange(len(base_index))
    source = sp.csr_matrix(
        (np.ones(len(base_index)), (np.arange(len(base_index)), base_index)),
        (len(base_index), len(mesh.vertices)),
    ).tolil()
    for eyeball in eyeballs:
        operator, vertices = eyeball_operator(mesh, eyeball)
        rows = cage_index[vertices]
        source[rows[rows >= 0]] = operator[rows >= 0]
    none = np.zeros(0, np.int64)
    return Cage(
        source=source.tocsr(),
        base_index=base_index,
        quads=cage_index[quads],
        parts=parts,
        mirror=cage_index[mesh.mirror[base_index]],
        upper_teeth=none,
        lower_teeth=none,
        tongue=none,
        inner=none,
        attachment=sp.csr_matrix((0, len(base_index))),
    )
