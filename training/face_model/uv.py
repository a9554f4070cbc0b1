"""Texture coordinates without overlaps or seams.

The skin with its pockets is a disc, so a convex-combination map onto a circle with mean-value
weights is one-to-one (Floater 2003, "Mean value coordinates"; Tutte 1963). The pockets end up as
small patches inside the mouth and the eye openings. Eyeballs, teeth and tongue are discs in the
corners.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from facewright.training.face_model.cage import EYEBALL, POCKET, SKIN, TEETH, TONGUE
from facewright.training.face_model.topology import Topology

#: Margin around the circle of the skin, and the eyeballs' discs.
RADIUS = 0.495
EYEBALL_RADIUS = 0.075
EYEBALL_CENTER = 0.08
#: Discs of the tongue and of the upper and lower teeth: center and radius.
TONGUE_DISC = ((0.92, 0.92), 0.075)
TEETH_DISCS = (((0.045, 0.86), 0.04), ((0.14, 0.955), 0.04))
#: How much more room the middle of the face gets than the rim, and how far the middle reaches, mm.
ROOM_IN_THE_MIDDLE, MIDDLE_MM = 2.5, 60.0


def boundary_loop(triangles: np.ndarray) -> np.ndarray:
    """Vertices of the only boundary loop, in the order the triangles run along it.

    Raises ValueError when the surface is not a disc's topology with one boundary.
    """
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    there = set(map(tuple, directed.tolist()))
    following = {a: b for a, b in there if (b, a) not in there}
    start = min(following)
    loop = [start]
    while following[loop[-1]] != start:
        loop.append(following[loop[-1]])
        if len(loop) > len(following):
            raise ValueError("the boundary is not one simple loop")
    if len(loop) != len(following):
        raise ValueError("the surface has more than one boundary")
    return np.array(loop)


def mean_value_weights(points: np.ndarray, triangles: np.ndarray) -> sp.csr_matrix:
    """(V, V) CSR of Floater's weights (tan(a/2) + tan(b/2)) / length, all positive."""
    n = len(points)
    rows, columns, values = [], [], []
    for k in range(3):
        i, j, m = triangles[:, k], triangles[:, (k + 1) % 3], triangles[:, (k + 2) % 3]
        to_j, to_m = points[j] - points[i], points[m] - points[i]
        length_j, length_m = np.linalg.norm(to_j, axis=1), np.linalg.norm(to_m, axis=1)
        sine = np.linalg.norm(np.cross(to_j, to_m), axis=1)
        half_tangent = sine / (length_j * length_m + (to_j * to_m).sum(axis=1))
        rows += [i, i]
        columns += [j, m]
        values += [half_tangent / length_j, half_tangent / length_m]
    return sp.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (n, n)
    )


def disc_map(points: np.ndarray, triangles: np.ndarray, softness: np.ndarray) -> np.ndarray:
    """(V, 2) one-to-one map of a disc-like surface (V, 3) onto the unit disc, x and y upright.

    Boundary vertices are spread by arc length, starting from their direction from the middle.
    Edges stretch in proportion to ``softness`` (V,), all positive.
    """
    loop = boundary_loop(triangles)
    step = np.linalg.norm(points[loop] - np.roll(points[loop], -1, axis=0), axis=1)
    arc = np.concatenate([[0], np.cumsum(step)[:-1]]) / step.sum() * 2 * np.pi
    outline = points[loop, :2] - points[loop, :2].mean(axis=0)
    direction = np.arctan2(outline[:, 1], outline[:, 0])
    shift = np.angle(np.exp(1j * (direction - arc)).mean())
    mapped = np.zeros((len(points), 2))
    mapped[loop] = np.stack([np.cos(arc + shift), np.sin(arc + shift)], axis=1)

    links = mean_value_weights(points, triangles).tocoo()
    links.data /= softness[links.row] + softness[links.col]
    weights = sp.diags(1 / np.asarray(links.sum(axis=1)).ravel()) @ links.tocsr()
    fixed = np.zeros(len(points), bool)
    fixed[loop] = True
    free = np.flatnonzero(~fixed)
    system = (sp.identity(len(points)) - weights).tocsr()[free]
    right = -system[:, loop] @ mapped[loop]
    mapped[free] = splu(system[:, free].tocsc()).solve(np.ascontiguousarray(right))
    return mapped


def face_coordinates(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 2) float32 in [0, 1], v up, of a face (V, 3) mm of any topology, all of it skin.

    The largest connected surface becomes a disc: its longest boundary the circle, and what lies
    within the others, such as a mouth without an inside, is filled for the map. The middle gets
    more room, as in `texture_coordinates`. Vertices beside that surface get the coordinates of the
    nearest vertex on it.

    Raises ValueError when the surface has no boundary.
    """
    n = len(points)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    adjacency = sp.coo_matrix((np.ones(len(edges)), tuple(edges.T)), (n, n))
    _, component = connected_components(adjacency, directed=False)
    largest = np.bincount(component[triangles[:, 0]]).argmax()
    faces = triangles[component[triangles[:, 0]] == largest]
    used = np.unique(faces)
    index = np.full(n, -1)
    index[used] = np.arange(len(used))
    surface, faces = points[used].astype(np.float64), index[faces]
    center = surface[faces].reshape(-1, 3).mean(axis=0)[:2]
    filled, faces = _fill_holes(surface, faces)
    middle = filled[:, :2] - center
    softness = 1 + ROOM_IN_THE_MIDDLE * np.exp(-((middle / MIDDLE_MM) ** 2).sum(axis=1))
    mapped = 0.5 + RADIUS * disc_map(filled, faces, softness)[: len(used)]
    uv = mapped[cKDTree(surface).query(points)[1]]
    uv[used] = mapped
    return np.clip(uv, 0, 1).astype(np.float32)


def _fill_holes(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a connected surface with every boundary but the longest filled.

    A boundary gets a fan around a vertex behind its middle, so that no triangle of the fan is flat
    where a boundary is a slit.
    """
    loops = _boundary_loops(triangles)
    if not loops:
        raise ValueError("the surface has no boundary")

    def length(loop: np.ndarray) -> float:
        return float(np.linalg.norm(points[loop] - points[np.roll(loop, -1)], axis=1).sum())

    outer = max(range(len(loops)), key=lambda k: length(loops[k]))
    vertices, faces = [points], [triangles]
    for loop in (loop for k, loop in enumerate(loops) if k != outer):
        apex = len(points) + len(vertices) - 1
        behind = [0, 0, -length(loop) / (2 * np.pi)]
        vertices.append((points[loop].mean(axis=0) + behind)[None])
        # Against the direction of the loop, so that shared edges run both ways.
        faces.append(np.stack([np.roll(loop, -1), loop, np.full(len(loop), apex)], axis=1))
    return np.concatenate(vertices), np.concatenate(faces)


def _boundary_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """Closed simple walks along the boundary, in the order the triangles run along it.

    A vertex where boundaries touch is in several of them.
    """
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    there = set(map(tuple, directed.tolist()))
    following: dict[int, list[int]] = {}
    for a, b in sorted(there):
        if (b, a) not in there:
            following.setdefault(a, []).append(b)
    loops = []
    while following:
        walk = [min(following)]
        while walk:
            ways = following.get(walk[-1])
            if not ways:
                break  # an end: no boundary of a surface
            ahead = ways.pop()
            if not ways:
                del following[walk[-1]]
            if ahead in walk:
                start = walk.index(ahead)
                loops.append(np.array(walk[start:]))
                walk = walk[: start + 1] if start else []
            else:
                walk.append(ahead)
    return loops


def texture_coordinates(topology: Topology) -> np.ndarray:
    """(V, 2) float32 in [0, 1], v up; mirror vertices have mirrored u.

    Teeth and tongue are mirrored within their own discs, which lie beside the face.
    """
    points = topology.reference_dense
    mirror = topology.dense.mirror
    uv = np.zeros((len(points), 2))
    eyeball = topology.parts == EYEBALL
    on_face = np.isin(topology.triangle_parts, (SKIN, POCKET))
    skin_triangles = topology.dense.faces[on_face]
    used = np.unique(skin_triangles)
    index = np.full(len(points), -1)
    index[used] = np.arange(len(used))
    middle = points[used, :2] - points[skin_triangles].reshape(-1, 3).mean(axis=0)[:2]
    softness = 1 + ROOM_IN_THE_MIDDLE * np.exp(-((middle / MIDDLE_MM) ** 2).sum(axis=1))
    uv[used] = 0.5 + RADIUS * disc_map(points[used], index[skin_triangles], softness)
    for side, center in ((-1, EYEBALL_CENTER), (1, 1 - EYEBALL_CENTER)):
        ball = np.flatnonzero(eyeball & (side * points[:, 0] > 0))
        flat = points[ball, :2] - (points[ball, :2].max(axis=0) + points[ball, :2].min(axis=0)) / 2
        forward = points[ball, 2] - points[ball, 2].min()
        # Azimuthal equidistant: the angle from the front becomes the radius.
        radius = np.linalg.norm(flat, axis=1)
        angle = np.arctan2(radius, forward)
        angle = angle / angle.max() * EYEBALL_RADIUS
        uv[ball] = [center, EYEBALL_CENTER] + flat / np.maximum(radius, 1e-9)[:, None] * (
            angle[:, None]
        )
    mirrored = uv[mirror] * [-1, 1] + [1, 0]
    uv = (uv + mirrored) / 2
    cage, matrix = topology.cage, topology.dense.matrix
    for rows, part, (middle, reach) in (
        (cage.tongue, TONGUE, TONGUE_DISC),
        (cage.upper_teeth, TEETH, TEETH_DISCS[0]),
        (cage.lower_teeth, TEETH, TEETH_DISCS[1]),
    ):
        of_part = np.flatnonzero(np.asarray(matrix[:, rows].sum(axis=1)).ravel() > 0.5)
        index = np.full(len(points), -1)
        index[of_part] = np.arange(len(of_part))
        triangles = topology.dense.faces[topology.triangle_parts == part]
        triangles = index[triangles[np.isin(triangles[:, 0], of_part)]]
        flat = disc_map(points[of_part], triangles, np.ones(len(of_part)))
        flat = (flat + flat[index[mirror[of_part]]] * [-1, 1]) / 2
        uv[of_part] = middle + reach * flat
    return np.clip(uv, 0, 1).astype(np.float32)
