"""Lids that close: a smooth correction of the blinks, so that the rims meet before the eye.

The blinks of the action units were drawn on other lids than those that the mean face has: they
leave a slit, and on their straight way the upper lid passes through the cornea's bulge. The
correction lives on the cage: what comes down goes further, until the upper rim ends below the
lower one; then a field that bends as little as possible brings the upper rim forward and keeps
what lies before the eyeball in front of it, shut and halfway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter1d
from scipy.sparse.linalg import splu

from facewright.training.face_model.cage import EYEBALL, POCKET, SKIN
from facewright.training.face_model.components import mirror_field
from facewright.training.face_model.subdivision import adjacency
from facewright.training.face_model.topology import Topology

BLINKS = {-1: "eyeBlinkRight", 1: "eyeBlinkLeft"}
#: The upper rim comes to lie this far below the lower one, mm, in the middle of the lids; at the
#: corners, where they touch anyhow, nothing is asked. People's eyes are open by 1.3 mm more or
#: less (one sigma), which a linear model adds to their blink.
OVERLAP = 0.8
#: How far the upper rim is brought forward over the lower one, mm.
BEFORE = 0.8
#: Width of the smoothing along the rim, as a share of its length.
SMOOTHING = 0.05
#: Least distance of the lids' skin from the eyeball, mm.
CLEARANCE = 0.55
#: Shares of a blink at which the lids are kept before the eyeball.
SHARES = (1.0, 0.75, 0.5, 0.25)
#: Cage vertices this near to an eyeball's surface may be moved, mm.
REACH = 11.0
#: Weights of the rims, of the clearance and of the correction's bending, and how often what is
#: inside the ball is looked up anew.
RIM, OUTSIDE, BENDING, SIZE = 1.0, 1.0, 1.0, 1e-4
ROUNDS = 16


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye on the dense mesh.

    Attributes:
        upper, lower: dense vertices of the lids' rims between the corners, from -x to +x.
        lids: dense vertices of skin near the ball.
        center: (3,) mm and radius, of the eyeball.
    """

    upper: np.ndarray
    lower: np.ndarray
    lids: np.ndarray
    center: np.ndarray
    radius: float


def sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares center (3,) and radius of points (n, 3) on a sphere."""
    system = np.c_[2 * points, np.ones(len(points))]
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))


def rim_loop(triangles: np.ndarray, triangle_parts: np.ndarray) -> np.ndarray:
    """(E, 2) edges between skin and pocket, as the skin's triangles run along them."""

    def directed(part: int) -> np.ndarray:
        own = triangles[triangle_parts == part]
        return np.concatenate([own[:, [0, 1]], own[:, [1, 2]], own[:, [2, 0]]])

    pocket = set(map(tuple, directed(POCKET).tolist()))
    return np.array([(a, b) for a, b in directed(SKIN).tolist() if (b, a) in pocket])


def find_eye(topology: Topology, mean: np.ndarray, side: int) -> Eye:
    """The eye at x of sign ``side`` on the dense mean face (V, 3) mm."""
    ball = np.flatnonzero((topology.parts == EYEBALL) & (side * mean[:, 0] > 0))
    center, radius = sphere(mean[ball])
    edges = rim_loop(topology.dense.faces, topology.triangle_parts)
    near = np.linalg.norm(mean[edges[:, 0]] - center, axis=1) < 2 * radius
    following = dict(edges[near].tolist())
    start = min(following, key=lambda vertex: mean[vertex, 0])
    loop = [start]
    while following[loop[-1]] != start:
        loop.append(following[loop[-1]])
    rim = np.array(loop)
    other = int(mean[rim, 0].argmax())
    halves = rim[: other + 1], np.concatenate([rim[other:], rim[:1]])[::-1]
    upper, lower = sorted(halves, key=lambda half: -mean[half, 1].mean())
    skin = (topology.parts == SKIN) & (np.linalg.norm(mean - center, axis=1) < radius + REACH)
    return Eye(upper, lower, np.flatnonzero(skin), center, radius)


def along(line: np.ndarray) -> np.ndarray:
    """(n,) arc length of a polyline (n, 3), from 0 to 1."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    return np.concatenate([[0], np.cumsum(steps)]) / steps.sum()


def pushed(offset: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """Offsets (n, 3) from a center, made at least ``radius`` long."""
    length = np.linalg.norm(offset, axis=1)
    return offset * np.maximum(np.asarray(radius) / length, 1)[:, None]


def lengthened(
    blink: np.ndarray, mean: np.ndarray, upper: np.ndarray, lower: np.ndarray, path: np.ndarray
) -> np.ndarray:
    """(C, 3) mm: the blink, going so much further that the upper rim ends below the lower one.

    Scaling what comes down moves the whole lid with its rim, which would turn over otherwise.

    Args:
        blink: (C, 3) mm, displacement.
        mean: (C, 3) mm, cage.
        upper: (n, 3) mm, the shut upper rim from -x to +x.
        lower: (m, 3) mm, the shut lower rim.
        path: (n, 3) mm, the way of the upper rim.
    """
    where, other = along(upper), along(lower)
    middle = np.clip(np.sin(np.pi * where) / 0.5, 0, 1)
    short = upper[:, 1] - np.interp(where, other, lower[:, 1]) + OVERLAP
    more = middle * short / np.maximum(-path[:, 1], 3.0)
    more = gaussian_filter1d(more, len(more) * SMOOTHING, mode="nearest")
    order = np.argsort(upper[:, 0])
    at = np.interp(mean[:, 0], upper[order, 0], more[order], left=0, right=0)
    comes_down = np.clip(-blink[:, 1] / 2, 0, 1)
    return blink * (at * comes_down)[:, None]


def correction(topology: Topology, mean: np.ndarray, blink: np.ndarray, eye: Eye) -> np.ndarray:
    """(C, 3) mm to add to a blink so that the lids of ``eye`` close before its ball.

    Args:
        topology: cage and dense mesh.
        mean: (C, 3) mm, the cage of the mean face.
        blink: (C, 3) mm, displacement of the blink.
        eye: on the dense mean face.
    """
    cage, matrix = topology.cage, topology.dense.matrix
    distance = np.linalg.norm(mean - eye.center, axis=1)
    on_skin = np.isin(np.arange(len(mean)), cage.quads[cage.parts != EYEBALL])
    free = np.flatnonzero(on_skin & (distance < eye.radius + REACH))
    links = adjacency(cage.quads, len(mean))
    degree = np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1)
    bending = (sp.identity(len(mean)) - sp.diags(1 / degree) @ links).tocsr()[:, free]
    form = BENDING * bending.T @ bending + SIZE * sp.identity(len(free))

    start, path = matrix @ mean, matrix @ blink
    shut = start + path
    longer = lengthened(blink, mean, shut[eye.upper], shut[eye.lower], path[eye.upper])
    path = path + matrix @ longer
    shut = start + path
    upper, lower = matrix[eye.upper][:, free], matrix[eye.lower][:, free]
    lids = matrix[eye.lids][:, free]
    rim_form = RIM * (upper.T @ upper + lower.T @ lower)
    middle = np.clip(np.sin(np.pi * along(shut[eye.upper])) / 0.5, 0, 1)[:, None]
    rim_pull = RIM * upper.T @ (middle * [0, 0, BEFORE])
    # What the mean face has outside the ball stays outside; the rims' inner edges touch it.
    at_rest = np.linalg.norm(start[eye.lids] - eye.center, axis=1)

    found = np.zeros((len(free), 3))
    # Once inside the ball, a vertex stays constrained: otherwise rounds would alternate.
    inside = [np.zeros(len(eye.lids), bool) for _ in SHARES]
    for _ in range(ROUNDS):
        system, right = form + rim_form, rim_pull.copy()
        for share, held in zip(SHARES, inside, strict=True):
            straight = start[eye.lids] + share * path[eye.lids]
            now = straight + share * (lids @ found) - eye.center
            allowed = np.minimum(at_rest, eye.radius + CLEARANCE)
            held |= (np.linalg.norm(now, axis=1) < allowed) & (at_rest > eye.radius)
            rows = lids[held] * share
            aim = eye.center + pushed(now[held], allowed[held])
            system = system + OUTSIDE * rows.T @ rows
            right += OUTSIDE * rows.T @ (aim - straight[held])
        found = splu(system.tocsc()).solve(right)
    result = longer
    result[free] += found
    return result


def close_lids(
    units: np.ndarray, names: tuple[str, ...], mean: np.ndarray, topology: Topology
) -> np.ndarray:
    """Units (K, C, 3) mm whose blinks close the lids of the given mean face.

    Args:
        units: displacements of the units on the cage, in the frame of ``mean``.
        names: (K,) of the units.
        mean: (C, 3) mm, the cage of a symmetric mean face.
        topology: cage and dense mesh.
    """
    closed = units.copy()
    dense = topology.dense.matrix @ mean
    for side, name in BLINKS.items():
        unit = names.index(name)
        eye = find_eye(topology, dense, side)
        closed[unit] += correction(topology, mean, units[unit], eye)
    right, left = (names.index(name) for name in BLINKS.values())
    mirrored = mirror_field(closed[left], topology.cage.mirror, flip=True)
    closed[right] = (closed[right] + mirrored) / 2
    closed[left] = mirror_field(closed[right], topology.cage.mirror, flip=True)
    return closed
