"""The mesh of the head that is shipped: its cage, the cut for texture coordinates, three levels.

All levels share one list of vertices: those of a coarser level are the first of a finer one and
lie at the same points, so that colors and texture coordinates fit at each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from facewright.training.face_model.cage import (
    EYEBALL,
    MM_PER_UNIT,
    MOUTH_LOOPS,
    POCKET,
    SKIN,
    SOCKET_LOOPS,
    TEETH,
    TONGUE,
    Cage,
    assemble_cage,
    shallow_pocket,
    teeth_and_tongue,
)
from facewright.training.face_model.mouth import UPPER_TEETH
from facewright.training.face_model.rigid import face_rows
from facewright.training.face_model.sources import BaseMesh, FaceSources
from facewright.training.face_model.subdivision import (
    adjacency,
    boundary_edges,
    catmull_clark,
    quad_edges,
)
from facewright.training.face_model.topology import Topology
from facewright.training.face_model.uv import disc_map

#: Where the neck ends, mm below the middle between the eyes, on the reference head.
NECK = -158.0
#: What of the skin's edges lies below this is the neck's rim; how often it is smoothed.
RIM_BELOW, RIM_STEPS = -110.0, 24
#: Parts of the shipped head, in the order of their triangles.
HEAD_PARTS = ("skin", "mouth", "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue")
#: The seam runs down the back from this far behind the middle between the eyes, mm.
SEAM_BEHIND = -60.0
#: Margin around the circle of the skin in the texture.
RADIUS = 0.495
#: How much more room the middle of the face gets, and how far the middle reaches, mm.
ROOM_IN_THE_MIDDLE, MIDDLE_MM = 14.0, 85.0
#: Discs of the eyeballs and of the tongue: center (of the +x one) and radius.
EYEBALL_DISC = ((0.925, 0.075), 0.072)
TONGUE_DISC = ((0.93, 0.93), 0.066)
#: Strips of the upper and lower teeth, unrolled along the upper edge and the -x one: center, and
#: how far they reach along the row and across it.
TEETH_STRIPS = (((0.145, 0.9725), (0.138, 0.0225)), ((0.0275, 0.83), (0.105, 0.0225)))
#: Where the lashes' color lies.
LASHES_AT = (0.085, 0.905)
#: Of an eyeball's disc, what shows (this many degrees from the front) takes this share of radius.
SHOWN_DEGREES, SHOWN_SHARE = 60.0, 0.8


@dataclass(frozen=True, eq=False)
class RigTopology:
    """Connectivity of the head.

    Attributes:
        cage: of the head, with whole eyeballs and the face's own mouth and sockets.
        matrix: (V, C) CSR, cage to all vertices; rows sum to one.
        uv: (V, 2) in [0, 1], v up.
        triangles: for low, medium and high, (T, 3) vertex indices.
        triangle_parts: for each, (T,) indices into HEAD_PARTS, ascending.
        sizes: for each, how many of the vertices it uses: the first ones.
        quad_parts: (Q,) indices into HEAD_PARTS of the cage's quads.
        reference: (C, 3) mm, the reference head's cage, origin between the eyes.
        smoothing: (C, C) CSR, for all fields on the cage: the neck's rim, which follows the base
            mesh's zigzag, becomes an even line.
    """

    cage: Cage
    matrix: sp.csr_matrix
    uv: np.ndarray
    triangles: tuple[np.ndarray, ...]
    triangle_parts: tuple[np.ndarray, ...]
    sizes: tuple[int, ...]
    quad_parts: np.ndarray
    reference: np.ndarray
    smoothing: sp.csr_matrix


def rig_cage(sources: FaceSources, topology: Topology) -> Cage:
    """Cage of head and neck; its mouth and sockets are the face cage's."""
    mesh, regions = sources.mesh, topology.regions
    position = topology.reference * MM_PER_UNIT - topology.origin
    skin = regions.skin & (position[mesh.quads, 1].mean(axis=1) > NECK)
    outside = regions.skin
    pockets = [
        shallow_pocket(mesh, regions.mouth, outside, MOUTH_LOOPS),
        shallow_pocket(mesh, regions.right_socket, outside, SOCKET_LOOPS),
        shallow_pocket(mesh, regions.left_socket, outside, SOCKET_LOOPS),
    ]
    eyeballs = (regions.right_eyeball, regions.left_eyeball)
    blocks = [
        (mesh.quads[skin], SKIN),
        (np.concatenate(pockets), POCKET),
        *((mesh.quads[eyeball], EYEBALL) for eyeball in eyeballs),
        *teeth_and_tongue(mesh, position),
    ]
    return assemble_cage(mesh, blocks, eyeballs)


def head_part_of_quads(mesh: BaseMesh, cage: Cage, reference: np.ndarray) -> np.ndarray:
    """(Q,) indices into HEAD_PARTS."""
    center = reference[cage.quads].mean(axis=1)
    names = np.full(len(cage.quads), HEAD_PARTS.index("skin"))
    names[cage.parts == POCKET] = HEAD_PARTS.index("mouth")
    eyes = cage.parts == EYEBALL
    names[eyes & (center[:, 0] > 0)] = HEAD_PARTS.index("left_eye")
    names[eyes & (center[:, 0] < 0)] = HEAD_PARTS.index("right_eye")
    teeth = np.flatnonzero(cage.parts == TEETH)
    groups = mesh.groups == UPPER_TEETH
    upper = np.isin(cage.base_index[cage.quads[teeth, 0]], mesh.quads[groups])
    names[teeth] = np.where(upper, HEAD_PARTS.index("upper_teeth"), HEAD_PARTS.index("lower_teeth"))
    names[cage.parts == TONGUE] = HEAD_PARTS.index("tongue")
    return names


def rim_smoothing(cage: Cage, reference: np.ndarray) -> sp.csr_matrix:
    """(C, C) operator that averages the vertices of the neck's rim along it, RIM_STEPS times."""
    skin = cage.quads[cage.parts == SKIN]
    edges = boundary_edges(skin)
    edges = edges[(reference[edges, 1] < RIM_BELOW).all(axis=1)]
    links = sp.csr_matrix((np.ones(len(edges)), edges.T), (cage.n_vertices,) * 2)
    links = links + links.T
    degree = np.asarray(links.sum(axis=1)).ravel()
    inside = sp.diags((degree == 0).astype(float))
    step = (
        inside
        + sp.diags(np.where(degree > 0, 0.5, 0))
        + sp.diags(0.5 / np.maximum(degree, 1)) @ links
    )
    result = step
    for _ in range(RIM_STEPS - 1):
        result = step @ result
    return result.tocsr()


def seam(cage: Cage, reference: np.ndarray) -> np.ndarray:
    """Cage vertices on the middle line of the back of the head, from the neck's rim upwards."""
    skin = cage.quads[cage.parts == SKIN]
    edges, _ = quad_edges(skin)
    middle = (cage.mirror[edges] == edges).all(axis=1) & (reference[edges, 2] < SEAM_BEHIND).all(
        axis=1
    )
    chain: dict[int, list[int]] = {}
    for a, b in edges[middle].tolist():
        chain.setdefault(a, []).append(b)
        chain.setdefault(b, []).append(a)
    start = min(chain, key=lambda vertex: reference[vertex, 1])
    path, before = [start], -1
    while True:
        following = [v for v in chain[path[-1]] if v != before]
        if not following:
            return np.array(path)
        before = path[-1]
        path.append(following[0])


def cut_quads(cage: Cage, path: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quads cut open along the seam: those on the -x side get vertices of their own.

    Returns:
        (Q, 4) quads, and (W,) the cage vertex of every vertex they index.
    """
    owner = np.arange(cage.n_vertices)
    quads = cage.quads.copy()
    # The seam's upper end stays one vertex.
    doubled = np.full(cage.n_vertices, -1)
    doubled[path[:-1]] = cage.n_vertices + np.arange(len(path) - 1)
    right = (reference[cage.quads].mean(axis=1)[:, 0] < 0) & (cage.parts == SKIN)
    moved = doubled[quads[right]]
    quads[right] = np.where(moved >= 0, moved, quads[right])
    return quads, np.concatenate([owner, path[:-1]])


def build_rig_topology(sources: FaceSources, topology: Topology) -> RigTopology:
    """The head's cage, its three levels and its texture coordinates."""
    cage = rig_cage(sources, topology)
    reference = cage.source @ topology.reference * MM_PER_UNIT - topology.origin
    # The face's cage has teeth, tongue and the back of the mouth in their place.
    face = topology.cage.source @ topology.reference * MM_PER_UNIT - topology.origin
    reference[face_rows(topology.cage, cage)] = face
    smoothing = rim_smoothing(cage, reference)
    reference = smoothing @ reference
    quad_parts = head_part_of_quads(sources.mesh, cage, reference)
    path = seam(cage, reference)
    quads, owner = cut_quads(cage, path, reference)
    first, whole, mirror = catmull_clark(cage.quads, cage.n_vertices, cage.mirror)
    second, whole_high, _ = catmull_clark(whole, first.shape[0], mirror)
    geometry = (second @ first).tocsr()
    # The cut mesh has the same quads in the same order; its own smoothing carries coordinates.
    no_mirror = np.arange(len(owner))
    cut_first, medium, _ = catmull_clark(quads, len(owner), no_mirror)
    cut_second, high, _ = catmull_clark(medium, cut_first.shape[0], np.arange(cut_first.shape[0]))
    point = np.empty(cut_second.shape[0], np.int64)
    point[high] = whole_high

    twin = seam_twin(owner, path, cage)
    flat = texture_points(cage, quads, quad_parts, owner, twin, reference)
    uv = (cut_second @ cut_first) @ flat
    levels = []
    for level, faces in enumerate((quads, medium, high)):
        parts = np.repeat(quad_parts, 4**level)
        faces = faces[np.argsort(parts, kind="stable")]
        parts = np.sort(parts)
        triangles = np.stack([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
        levels.append((triangles, np.repeat(parts, 2), int(faces.max()) + 1))
    return RigTopology(
        cage=cage,
        matrix=geometry[point],
        uv=np.clip(uv, 0, 1).astype(np.float32),
        triangles=tuple(t for t, _, _ in levels),
        triangle_parts=tuple(p for _, p, _ in levels),
        sizes=tuple(n for _, _, n in levels),
        quad_parts=quad_parts,
        reference=reference,
        smoothing=smoothing,
    )


def seam_twin(owner: np.ndarray, path: np.ndarray, cage: Cage) -> np.ndarray:
    """(W,) the mirror image of every vertex of the cut mesh."""
    twin = cage.mirror[owner]
    copies = cage.n_vertices + np.arange(len(path) - 1)
    twin[copies] = path[:-1]
    twin[path[:-1]] = copies
    return twin


def texture_points(
    cage: Cage,
    quads: np.ndarray,
    quad_parts: np.ndarray,
    owner: np.ndarray,
    twin: np.ndarray,
    reference: np.ndarray,
) -> np.ndarray:
    """(W, 2) texture coordinates of the cut cage; mirror vertices have mirrored u."""
    points = reference[owner]
    uv = np.zeros((len(points), 2))

    def of(*names: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = quads[np.isin(quad_parts, [HEAD_PARTS.index(name) for name in names])]
        used = np.unique(own)
        index = np.full(len(points), -1)
        index[used] = np.arange(len(used))
        own = index[own]
        return used, np.concatenate([own[:, [0, 1, 2]], own[:, [0, 2, 3]]]), index

    used, triangles, index = of("skin", "mouth")
    face_middle = np.array([0.0, -30.0, 20.0])
    distance = np.linalg.norm(points[used] - face_middle, axis=1)
    softness = 1 + ROOM_IN_THE_MIDDLE * np.exp(-((distance / MIDDLE_MM) ** 2))
    uv[used] = 0.5 + RADIUS * disc_map(points[used], triangles, softness)
    mirrored = uv[twin] * [-1, 1] + [1, 0]
    uv[used] = (uv[used] + mirrored[used]) / 2

    for side, name in ((1, "left_eye"), (-1, "right_eye")):
        used, _, _ = of(name)
        ball = points[used] - points[used].mean(axis=0)
        angle = np.degrees(np.arctan2(np.linalg.norm(ball[:, :2], axis=1), ball[:, 2]))
        shown = np.minimum(angle / SHOWN_DEGREES, 1) * SHOWN_SHARE
        rest = np.maximum(angle - SHOWN_DEGREES, 0) / (180 - SHOWN_DEGREES) * (1 - SHOWN_SHARE)
        direction = ball[:, :2] / np.maximum(np.linalg.norm(ball[:, :2], axis=1), 1e-9)[:, None]
        (u, v), radius = EYEBALL_DISC
        uv[used] = [u if side > 0 else 1 - u, v] + direction * (radius * (shown + rest))[:, None]
    used, triangles, index = of("tongue")
    flat = disc_map(points[used], triangles, np.ones(len(used)))
    flat = (flat + flat[index[twin[used]]] * [-1, 1]) / 2
    uv[used] = np.array(TONGUE_DISC[0]) + TONGUE_DISC[1] * flat
    for name, (center, reach), order in (
        ("upper_teeth", TEETH_STRIPS[0], [0, 1]),
        ("lower_teeth", TEETH_STRIPS[1], [1, 0]),
    ):
        own = quads[quad_parts == HEAD_PARTS.index(name)]
        used, own = np.unique(own, return_inverse=True)
        own = own.reshape(-1, 4)
        flat = (unrolled(points[used], own) * reach)[:, order]
        # Seen from outside, quads run counter-clockwise in the texture as well.
        a, b, c = (flat[own[:, corner]] for corner in range(3))
        turn = np.linalg.det(np.stack([b - a, c - a], axis=1)).sum()
        flat[:, 1 - order[0]] *= np.sign(turn)
        uv[used] = center + flat
    return uv


def unrolled(points: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """(n, 2) in [-1, 1]: a grid of quads over points (n, 3) rolled out, by its lengths.

    The first coordinate runs along its longer side, to +x, the second across it.
    """
    links = adjacency(quads, len(points))
    steps = sp.csgraph.shortest_path(links, directed=False, unweighted=True)
    corners = np.flatnonzero(np.bincount(quads.ravel()) == 1)
    first = corners[points[corners, 0].argmin()]
    other = corners[np.argsort(steps[first, corners])[1]]
    across = int(steps[first, other])
    column = np.rint((steps[first] + steps[other] - across) / 2).astype(int)
    row = np.rint((steps[first] - steps[other] + across) / 2).astype(int)
    grid = np.empty((column.max() + 1, across + 1), int)
    grid[column, row] = np.arange(len(points))

    def places(line: np.ndarray) -> np.ndarray:
        lengths = np.linalg.norm(np.diff(line, axis=0), axis=2).mean(axis=1)
        return np.concatenate([[0], np.cumsum(lengths)]) / lengths.sum() * 2 - 1

    along, over = places(points[grid]), places(points[grid.T])
    # The biting edge's way is the same on both sides of the middle.
    along = (along - along[::-1]) / 2
    return np.stack([along[column], over[row]], axis=1)


def on_head(topology: Topology, rig: RigTopology) -> tuple[np.ndarray, np.ndarray]:
    """Where the face model's vertices lie on the head.

    Returns:
        (V_head,) the face model's vertex at the same point for all coefficients, or -1; and
        (V_face, 2) the head's texture coordinates of the face model's vertices.
    """
    points = rig.matrix @ rig.reference
    face = topology.reference_dense
    part = np.array([SKIN, POCKET, EYEBALL, EYEBALL, TEETH, TEETH, TONGUE])
    tree_of = {}
    vertex_parts = np.full(len(points), SKIN)
    for index in range(len(HEAD_PARTS) - 1, -1, -1):
        own = rig.triangles[2][rig.triangle_parts[2] == index]
        vertex_parts[own] = part[index]
    same = np.full(len(points), -1)
    uv = np.zeros((len(face), 2))
    found = np.zeros(len(face), bool)
    for label in (SKIN, POCKET, EYEBALL, TEETH, TONGUE):
        of_head = np.flatnonzero(vertex_parts == label)
        of_face = np.flatnonzero(topology.parts == label)
        tree_of[label] = cKDTree(points[of_head]), of_head
        distance, nearest = map(np.asarray, cKDTree(face[of_face]).query(points[of_head]))
        hit = distance < 1e-6
        same[of_head[hit]] = of_face[nearest[hit]]
        uv[of_face[nearest[hit]]] = rig.uv[of_head[hit]]
        found[of_face[nearest[hit]]] = True
    for vertex in np.flatnonzero(~found):
        tree, of_head = tree_of[int(topology.parts[vertex])]
        near = of_head[np.asarray(tree.query(face[vertex], 6)[1])]
        uv[vertex] = _on_an_edge(face[vertex], points[near], rig.uv[near])
    return same, uv.astype(np.float32)


def _on_an_edge(point: np.ndarray, points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(2,) coordinates of a point on the line between two of (n, 3) points with uv (n, 2)."""
    best, result = np.inf, uv[0]
    for i in range(len(points)):
        for j in range(i):
            along = points[j] - points[i]
            length = max(float(along @ along), 1e-12)
            share = float(np.clip((point - points[i]) @ along / length, 0, 1))
            off = float(np.linalg.norm(points[i] + share * along - point))
            if off < best - 1e-9:
                best, result = off, uv[i] + share * (uv[j] - uv[i])
    return result
