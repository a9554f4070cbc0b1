"""Lashes of the head that is shipped: hairs of a few triangles each, on the outer edge of the lids.

Each lid has some stations along its edge. A station carries two vertices that are added to the
cage, one where its hairs bend and one where they end; hairs lie between stations. A lid slides
over its eyeball, so whatever moves a station's place on the lid turns its hairs about the
eyeball's center by as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from facewright.models.head_rig import COLOR_ANCHORS, DETAILS, JOINTS, REGIONS
from facewright.training.face_model.build import Geometry
from facewright.training.face_model.cage import SKIN
from facewright.training.face_model.lids import Eye, along, find_eye
from facewright.training.face_model.rig_topology import LASHES_AT, RigTopology
from facewright.training.face_model.rigid import face_rows

SEED = 7
#: Width of the upper lid's hairs at the root and at the bend, mm.
WIDTHS = (0.2, 0.13)
#: Standard deviations of a hair's length, as a share, of its place, in distances to the next
#: hair, and of how far its tip leans along the lid, in stations.
UNEVEN, SHIFTED, LEANS = 0.16, 0.2, 0.3
#: Length of a lid's edge, mm, that hairs' widths are measured by.
LID_LENGTH = 27.0
#: Vertices and triangles of a hair: root, bend (two each) and tip.
HAIR = np.array([[0, 1, 2], [2, 1, 3], [2, 3, 4]])


@dataclass(frozen=True)
class Lid:
    """How the hairs of a lid grow.

    Attributes:
        upper: whether it is the upper lid.
        stations, hairs: how many.
        ends: where hairs begin and end along the lid, from the nose, as shares of its length.
        length: of the longest, mm.
        width: of its hairs, as a share of `WIDTHS`.
        bend, tip: shares of the length (out of the eye, away from the opening) of both.
        fan: how far tips lean to the temple at the outer end and to the nose at the inner one, as
            a share of the length.
    """

    upper: bool
    stations: int
    hairs: int
    ends: tuple[float, float]
    length: float
    width: float
    bend: tuple[float, float]
    tip: tuple[float, float]
    fan: float


LIDS = (
    Lid(True, 13, 46, (0.1, 0.97), 6.4, 1.0, (0.52, -0.02), (0.88, 0.42), 0.42),
    Lid(False, 11, 26, (0.22, 0.95), 2.8, 0.75, (0.5, 0.1), (0.82, 0.55), 0.4),
)


def outer_edge(eye: Eye, lid: Lid, mean: np.ndarray, skin: np.ndarray, side: int) -> np.ndarray:
    """(K,) dense vertices on the outer edge of a lid, from the nose to the temple.

    Args:
        eye: of the dense mean face.
        lid: which of its lids.
        mean: (V, 3) mm, the dense mean face.
        skin: (V,) bool.
        side: sign of the eye's x.
    """
    rim = (eye.upper if lid.upper else eye.lower)[::side]
    line = mean[rim]
    shares = np.linspace(*lid.ends, lid.stations)
    where = along(line)
    inner = np.column_stack([np.interp(shares, where, line[:, k]) for k in range(3)])
    near = np.flatnonzero(skin & (np.linalg.norm(mean - eye.center, axis=1) < eye.radius + 5))
    found = []
    for point, (out, away, across) in zip(inner, frames(inner, eye.center, lid), strict=True):
        offset = mean[near] - point
        # The edge's outer corner is what lies farthest out of the eye and into its opening.
        score = offset @ (out - away) - 4 * np.abs(offset @ across)
        score[np.linalg.norm(offset, axis=1) > 4.5] = -np.inf
        found.append(near[score.argmax()])
    return np.array(found)


def frames(points: np.ndarray, center: np.ndarray, lid: Lid) -> np.ndarray:
    """(K, 3, 3): at points (K, 3) along a lid, out of the eye, away from its opening, across."""
    out = points - center
    out /= np.linalg.norm(out, axis=1)[:, None]
    across = np.gradient(points, axis=0)
    across -= (across * out).sum(axis=1)[:, None] * out
    across /= np.linalg.norm(across, axis=1)[:, None]
    away = np.cross(out, across)
    away *= np.sign(away[:, 1] if lid.upper else -away[:, 1])[:, None]
    return np.stack([out, away, across], axis=1)


def grown(points: np.ndarray, center: np.ndarray, lid: Lid, side: int) -> np.ndarray:
    """(2, K, 3) mm: where the hairs of each station bend and end, from its place (K, 3)."""
    share = np.linspace(-1, 1, lid.stations)
    length = lid.length * (0.62 + 0.38 * np.cos(np.pi / 2 * (share - 0.25)))
    frame = frames(points, center, lid)
    # Hairs point to the front more than the lids' curve makes them.
    out = frame[:, 0] * [0.6, 1, 1]
    temple = np.array([side, 0, 0]) * lid.fan * share[:, None]
    bend = lid.bend[0] * out + lid.bend[1] * frame[:, 1] + 0.35 * temple
    tip = lid.tip[0] * out + lid.tip[1] * frame[:, 1] + temple
    return length[:, None] * np.stack([bend, tip])


def turned(offsets: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Offsets (2, K, 3), turned as directions (K, 3) turn into others."""
    a = before / np.linalg.norm(before, axis=1)[:, None]
    b = after / np.linalg.norm(after, axis=1)[:, None]
    axis, cosine = np.cross(a, b), (a * b).sum(axis=1)[:, None]
    # Rodrigues' rotation, without the angle.
    return np.asarray(
        offsets * cosine
        + np.cross(axis, offsets)
        + axis * (axis * offsets).sum(axis=2, keepdims=True) / (1 + cosine)
    )


def hair_rows(lid: Lid, rng: np.random.Generator) -> tuple[sp.csr_matrix, np.ndarray]:
    """The hairs of a lid over its stations' 3 K points: places, bends and tips.

    Returns:
        (5 H, 3 K) CSR, rows sum to one; and (3 H, 3) triangles.
    """
    n, k = lid.hairs, lid.stations
    at = np.linspace(0, k - 1, n) + rng.normal(0, SHIFTED, n) * (k - 1) / n
    lean, length = rng.normal(0, LEANS, n), 1 + rng.normal(0, UNEVEN, n)
    step = LID_LENGTH / (k - 1)
    rows = []
    for hair in range(n):
        for offset, level in ((-0.5, 0), (0.5, 0), (-0.5, 1), (0.5, 1), (0.0, 2)):
            row = np.zeros((3, k))
            width = lid.width * WIDTHS[min(level, 1)] / step
            place = at[hair] + offset * width + lean[hair] * level / 2
            low = int(np.clip(np.floor(place), 0, k - 2))
            share = np.array([1 - (place - low), place - low])
            row[level, [low, low + 1]] = share * (length[hair] if level else 1)
            row[0, [low, low + 1]] += share * (1 - length[hair] if level else 0)
            rows.append(row.ravel())
    triangles = np.concatenate([HAIR + 5 * hair for hair in range(n)])
    return sp.csr_matrix(np.array(rows)), triangles


def carried(path: np.ndarray, offsets: np.ndarray, start: np.ndarray, turning: str) -> np.ndarray:
    """(2, K, 3) mm: how bends and tips move with their places on the lid.

    Args:
        path: (K, 3) mm, how the places move.
        offsets: (2, K, 3) mm, from the places to the bends and tips.
        start: (K, 3) mm, from the eyeball's center to the places.
        turning: "none" for what changes the person, "small" for one of many displacements that
            are added up, "full" for a displacement of its own.
    """
    moved = np.tile(path, (2, 1, 1))
    if turning == "small":
        moved += np.cross(np.cross(start, path) / (start**2).sum(axis=1)[:, None], offsets)
    elif turning == "full":
        moved += turned(offsets, start, start + path) - offsets
    return moved


def grow(
    geometry: Geometry, rig: RigTopology, fields: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray], sp.csr_matrix, np.ndarray]:
    """The lashes of both eyes.

    Args:
        geometry: of the face model.
        rig: the head's cage of C vertices.
        fields: "identity", "expression" and "targets", each (n, C, 3) mm on the cage.

    Returns:
        (E, 3) mm, the vertices that the cage gets, in the frame of the file; their rows of the
        fields (n, E, 3); (V, C + E) CSR, the hairs' vertices; (T, 3) their triangles.
    """
    topology, n_cage = geometry.topology, rig.cage.n_vertices
    dense = topology.dense.matrix
    mean = dense @ geometry.identity.mean
    onto_head = sp.csr_matrix(
        (np.ones(dense.shape[1]), (np.arange(dense.shape[1]), face_rows(topology.cage, rig.cage))),
        (dense.shape[1], n_cage),
    )
    turning = {"identity": "none", "expression": "small", "targets": "full"}
    points, triangles = [], []
    matrices: list[sp.csr_matrix] = []
    moved: dict[str, list[np.ndarray]] = {name: [] for name in fields}
    for lid in LIDS:
        hairs, hair_triangles = hair_rows(lid, np.random.default_rng(SEED))
        for side in (1, -1):
            eye = find_eye(topology, mean, side)
            edge = outer_edge(eye, lid, mean, topology.parts == SKIN, side)
            places = dense[edge] @ onto_head
            offsets = grown(mean[edge], eye.center, lid, side)
            points.append((mean[edge] + offsets - geometry.origin).reshape(-1, 3))
            start = mean[edge] - eye.center
            for name, own in fields.items():
                parts = [carried(places @ field, offsets, start, turning[name]) for field in own]
                moved[name].append(np.stack(parts).reshape(len(own), -1, 3))
            triangles.append(hair_triangles + sum(matrix.shape[0] for matrix in matrices))
            before = sum(len(own) for own in points[:-1])
            new = sp.eye(
                2 * lid.stations, n_cage + before + 2 * lid.stations, n_cage + before, format="csr"
            )
            total = n_cage + sum(4 * each.stations for each in LIDS)
            places.resize((lid.stations, total))
            new.resize((2 * lid.stations, total))
            matrices.append(hairs @ sp.vstack([places, new]))
    return (
        np.concatenate(points),
        {name: np.concatenate(own, axis=1) for name, own in moved.items()},
        sp.vstack(matrices).tocsr(),
        np.concatenate(triangles),
    )


def add_lashes(
    arrays: Mapping[str, Any],
    geometry: Geometry,
    rig: RigTopology,
    fields: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """The arrays of a head's file, with lashes as its last part, at every detail.

    Args:
        arrays: of the head without; `subdivision` (V, C) is a matrix.
        geometry: see `grow`.
        rig: see `grow`.
        fields: see `grow`.
    """
    points, moved, hairs, hair_triangles = grow(geometry, rig, fields)
    new, count, first = len(points), hairs.shape[0], rig.sizes[0]
    result = dict(arrays)

    def inserted(name: str, rows: np.ndarray, axis: int = 0) -> None:
        head, tail = np.split(arrays[name], [first], axis=axis)
        result[name] = np.concatenate([head, rows, tail], axis=axis)

    def appended(name: str, rows: np.ndarray, axis: int = 0) -> None:
        result[name] = np.concatenate([arrays[name], rows], axis=axis)

    appended("face_rows", np.full(new, -1, np.int32))
    appended("mean_extra", points)
    appended("identity_extra", moved["identity"], 1)
    appended("expression_extra", moved["expression"], 1)
    appended("targets", moved["targets"], 1)
    appended("joint_weights", np.zeros((len(JOINTS), new)), 1)
    appended("color_shares", np.zeros((new, COLOR_ANCHORS)))
    inserted("uv", np.tile(LASHES_AT, (count, 1)))
    inserted("face_vertices", np.full(count, -1, np.int32))
    inserted("head_share", np.full(count, 255, np.uint8))
    inserted("regions", np.zeros((len(REGIONS), count), np.uint8), 1)
    inserted("occlusion", np.full(count, 255, np.uint8))
    matrix = arrays["subdivision"].tocsr()
    matrix.resize(matrix.shape[0], matrix.shape[1] + new)
    result["subdivision"] = sp.vstack([matrix[:first], hairs, matrix[first:]]).tocsr()
    for detail in DETAILS:
        triangles = arrays[f"triangles_{detail}"]
        triangles = np.where(triangles < first, triangles, triangles + count)
        triangles = np.concatenate([triangles, hair_triangles + first])
        result[f"triangles_{detail}"] = triangles
        ends = arrays[f"part_ends_{detail}"]
        result[f"part_ends_{detail}"] = np.append(ends, len(triangles))
    return result
