"""The head that is shipped: one that can be animated, for the face model's coefficients.

Its face is the face model's: both share the cage's rows, and what lies beyond them (ears, skull,
neck, the backs of the eyeballs) follows as it does in people. `models/head_rig.py` says what the
file holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.head_rig import COLOR_ANCHORS, DETAILS, JOINTS, REGIONS
from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals
from facewright.training.appearance.visibility import ambient_occlusion
from facewright.training.face_model.build import Geometry
from facewright.training.face_model.cage import MM_PER_UNIT, SKIN
from facewright.training.face_model.components import mirror_field
from facewright.training.face_model.expression import other_side, unit_displacement, unit_on_cage
from facewright.training.face_model.heads import head_expression_basis, head_identity_basis
from facewright.training.face_model.landmarks import region_share
from facewright.training.face_model.lashes import add_lashes
from facewright.training.face_model.levels import face_levels
from facewright.training.face_model.mouth import (
    TONGUE_GROUP,
    WIDTH,
    affine_weights,
    rotation_between,
)
from facewright.training.face_model.rig_topology import (
    HEAD_PARTS,
    RigTopology,
    build_rig_topology,
    on_head,
)
from facewright.training.face_model.rigid import face_rows
from facewright.training.face_model.subdivision import adjacency, boundary_edges

NAME, RIG_VERSION = "facewright-open-head", "1.1.0"
#: Displacements below this are no part of a blendshape, mm.
LEAST_MOVED = 0.01
#: Reach of the skin that carries the joints, mm.
JOINT_REACH = 60.0
#: The face's own color fades out between these shares of the way from its middle to its outline;
#: and where the colors are taken from that go on beyond it.
FADES, BAND = (0.84, 0.985), (0.74, 0.93)
#: How much further `tongueOut` brings the tongue up and out than the base mesh's, mm, to pass over
#: the lower teeth and lip of a jaw that is open; from this share of its length on.
OVER_THE_LIP, TONGUE_FRONT = np.array([0.0, 5.5, 4.0]), 0.6
#: Hair grows above this plane on the reference head: height and its slope towards the back, mm.
HAIRLINE, HAIR_SLOPE, HAIR_WIDTH = 48.0, 0.95, 16.0
#: Above this height behind the middle between the eyes, mm, hair does not grow: the neck.
HAIR_END = -62.0


def build_head_rig(geometry: Geometry) -> dict[str, np.ndarray]:
    """The arrays of the head's file, as `HeadRig.save` takes them."""
    topology, sources = geometry.topology, geometry.sources
    rig = build_rig_topology(sources, topology)
    cage, reference = rig.cage, rig.reference
    rows = face_rows(topology.cage, cage)
    face_row = np.full(cage.n_vertices, -1)
    face_row[rows] = np.arange(len(rows))
    extra = np.flatnonzero(face_row < 0)
    carry = _Carrier(geometry, rig, extra)

    mean = carry(geometry.identity.head_mean) - geometry.origin
    identity = np.stack([carry(mode) for mode in head_identity_basis(geometry)])
    expression = np.stack([carry(mode) for mode in head_expression_basis(geometry)])
    on_mean = np.empty((cage.n_vertices, 3))
    on_mean[rows] = geometry.identity.mean
    on_mean[extra] = mean[extra] + geometry.origin
    targets = blendshape_targets(geometry, rig, on_mean)
    same, face_uv = on_head(topology, rig)
    regions = region_weights(geometry, rig, same)
    disc = 2 * (geometry.uv.astype(np.float64) - 0.5)
    band, places = color_band(geometry, disc)
    low, medium = face_levels(topology)
    arrays: dict[str, Any] = {
        "face_rows": face_row.astype(np.int32),
        "mean_extra": mean[extra],
        "identity_extra": identity[:, extra],
        "expression_extra": expression[:, extra],
        "targets": targets,
        "subdivision": rig.matrix,
        "uv": rig.uv,
        "face_vertices": same.astype(np.int32),
        "face_uv": face_uv,
        "face_triangles_low": low.astype(np.int32),
        "face_triangles_medium": medium.astype(np.int32),
        "joint_weights": joint_weights(geometry, rig).astype(np.float32),
        "head_share": np.rint(255 * head_share(rig, reference, face_row)).astype(np.uint8),
        "regions": np.rint(255 * regions).astype(np.uint8),
        "occlusion": np.rint(255 * occlusion(rig, on_mean)).astype(np.uint8),
        "color_shares": color_shares(geometry, rig, face_row, disc).astype(np.float16),
        "band_vertices": band.astype(np.int32),
        "band_places": places.astype(np.float32),
    }
    for level, detail in enumerate(DETAILS):
        counts = np.bincount(rig.triangle_parts[level], minlength=len(HEAD_PARTS))
        arrays[f"triangles_{detail}"] = rig.triangles[level].astype(np.int32)
        arrays[f"part_ends_{detail}"] = np.cumsum(counts).astype(np.int32)
    fields = {"identity": identity, "expression": expression, "targets": targets}
    arrays = add_lashes(arrays, geometry, rig, fields)
    matrix = arrays.pop("subdivision").astype(np.float32)
    arrays["targets"][np.linalg.norm(arrays["targets"], axis=2) < LEAST_MOVED] = 0
    return arrays | {
        "subdivision_data": matrix.data,
        "subdivision_indices": matrix.indices,
        "subdivision_indptr": matrix.indptr,
    }


def rig_metadata(model: MorphableModel) -> dict[str, str]:
    """What the head's file says of itself; it belongs to this face model only."""
    return {
        "name": NAME,
        "version": RIG_VERSION,
        "licence": model.metadata["licence"],
        "source": model.metadata["source"],
        "units": "mm",
        "face_model_sha256": model.sha256,
    }


class _Carrier:
    """Takes fields on the head cage of the portraits to the rig's; eyeballs as a whole."""

    def __init__(self, geometry: Geometry, rig: RigTopology, extra: np.ndarray) -> None:
        head, cage = geometry.head, rig.cage
        self._smoothing = rig.smoothing
        row = np.full(int(max(head.base_index.max(), cage.base_index.max())) + 1, -1)
        row[head.base_index] = np.arange(head.n_vertices)
        self._rows = row[cage.base_index]
        self._backs = []
        for name in ("left_eye", "right_eye"):
            ball = np.unique(cage.quads[rig.quad_parts == HEAD_PARTS.index(name)])
            back, front = ball[self._rows[ball] < 0], ball[self._rows[ball] >= 0]
            weights = affine_weights(rig.reference[back], rig.reference[front], np.ones(len(front)))
            self._backs.append((back, front, weights))

    def __call__(self, field: np.ndarray) -> np.ndarray:
        """(C, 3) of (H, 3)."""
        carried = field[np.maximum(self._rows, 0)].astype(np.float64)
        for back, front, weights in self._backs:
            carried[back] = weights @ carried[front]
        return np.asarray(self._smoothing @ carried)


def blendshape_targets(geometry: Geometry, rig: RigTopology, mean: np.ndarray) -> np.ndarray:
    """(52, C, 3) mm: ARKit's blendshapes on the head's cage.

    Args:
        geometry: of the face model, whose units the face takes.
        rig: the head.
        mean: (C, 3) mm, the mean head in the frame of the units.
    """
    sources, topology, expression = geometry.sources, geometry.topology, geometry.expression
    cage, scale = rig.cage, geometry.identity.scale
    rows = face_rows(topology.cage, cage)
    targets = np.zeros((len(ARKIT_BLENDSHAPES), cage.n_vertices, 3))
    for target, name in zip(targets, ARKIT_BLENDSHAPES, strict=True):
        displacement = unit_displacement(sources, name)
        target[:] = scale * (cage.source @ displacement)
        if name in expression.names:
            target[rows] = expression.units[expression.names.index(name)]
        else:
            own = unit_on_cage(sources, topology, geometry.identity.mean, name, scale)
            moved = scale * displacement[topology.cage.base_index[topology.cage.tongue]]
            moved = moved * [WIDTH[TONGUE_GROUP], 1, 1]
            depth = geometry.identity.mean[topology.cage.tongue, 2]
            share = np.clip((depth - depth.min()) / (TONGUE_FRONT * np.ptp(depth)), 0, 1)
            moved += np.outer(share * share * (3 - 2 * share), OVER_THE_LIP)
            own[topology.cage.tongue] = moved
            target[rows] = own
    pairs = other_side(ARKIT_BLENDSHAPES)
    targets = (targets + mirror_field(targets[pairs], cage.mirror, flip=True)) / 2
    for name in ("left_eye", "right_eye"):
        ball = np.unique(cage.quads[rig.quad_parts == HEAD_PARTS.index(name)])
        front = np.intersect1d(ball, rows)
        for target, blendshape in zip(targets, ARKIT_BLENDSHAPES, strict=True):
            side = "Left" if name == "left_eye" else "Right"
            turns = blendshape.startswith("eyeLook") and blendshape.endswith(side)
            target[ball] = turned(mean, target, ball, front) if turns else 0
    return np.stack([rig.smoothing @ target for target in targets])


def turned(mean: np.ndarray, target: np.ndarray, ball: np.ndarray, front: np.ndarray) -> np.ndarray:
    """(n, 3) mm: displacement of an eyeball that turns about its center as its front does."""
    turn = rotation_between(mean[front], mean[front] + target[front])
    around = mean[ball] - mean[ball].mean(axis=0)
    return around @ turn - around


def laplacian(rig: RigTopology) -> sp.csr_matrix:
    """(C, C) graph Laplacian of the cage, degrees less neighbors."""
    links = adjacency(rig.cage.quads, rig.cage.n_vertices)
    return (sp.diags(np.asarray(links.sum(axis=1)).ravel()) - links).tocsr()


def harmonic(rig: RigTopology, fixed: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(C, K) smooth continuation over the cage of values (n, K) at the vertices `fixed` (n,).

    What hangs together with none of them gets 0.
    """
    system = laplacian(rig)
    n = system.shape[0]
    labels = sp.csgraph.connected_components(system, directed=False)[1]
    loose = np.isin(labels, np.unique(labels[fixed]))
    loose[fixed] = False
    free = np.flatnonzero(loose)
    result = np.zeros((n, values.shape[1]))
    result[fixed] = values
    right = -(system[free][:, fixed] @ values)
    result[free] = splu(system[free][:, free].tocsc()).solve(np.ascontiguousarray(right))
    return result


def rim(rig: RigTopology) -> np.ndarray:
    """Cage vertices of the neck's lower edge."""
    quads = rig.cage.quads[rig.cage.parts == SKIN]
    low = rig.reference[quads, 1].mean(axis=1) < -100
    ends = np.unique(boundary_edges(quads[low]))
    return ends[rig.reference[ends, 1] < -120]


def head_share(rig: RigTopology, reference: np.ndarray, face_row: np.ndarray) -> np.ndarray:
    """(V,) in [0, 1]: how much of a vertex follows the head; the rest follows the neck."""
    skin = np.unique(rig.cage.quads[rig.cage.parts == SKIN])
    on_head = skin[(face_row[skin] >= 0) | (reference[skin, 1] > -30)]
    below = np.setdiff1d(rim(rig), on_head)
    fixed = np.concatenate([on_head, below])
    values = np.concatenate([np.ones(len(on_head)), np.zeros(len(below))])[:, None]
    share = harmonic(rig, fixed, values)[:, 0]
    inner = np.setdiff1d(np.unique(rig.cage.quads[rig.cage.parts != SKIN]), skin)
    share[inner] = 1
    return np.clip(rig.matrix @ share, 0, 1)


def joint_weights(geometry: Geometry, rig: RigTopology) -> np.ndarray:
    """(4, C): the joints' places as blends of cage vertices; rows sum to one."""
    mesh, topology = geometry.sources.mesh, geometry.topology
    cage, reference = rig.cage, rig.reference
    weights = np.zeros((len(JOINTS), cage.n_vertices))
    skin = np.unique(cage.quads[cage.parts == SKIN])
    for joint, group in (("Neck", "joint-neck"), ("Head", "joint-head")):
        corners = np.unique(mesh.quads[mesh.groups == group])
        place = topology.reference[corners].mean(axis=0) * MM_PER_UNIT - topology.origin
        share = np.exp(-(((reference[skin] - place) ** 2).sum(axis=1)) / JOINT_REACH**2 / 2)
        weights[JOINTS.index(joint), skin] = affine_weights(place[None], reference[skin], share)[0]
    for joint, name in (("LeftEye", "left_eye"), ("RightEye", "right_eye")):
        ball = np.unique(cage.quads[rig.quad_parts == HEAD_PARTS.index(name)])
        weights[JOINTS.index(joint), ball] = 1 / len(ball)
    return weights


def region_weights(geometry: Geometry, rig: RigTopology, same: np.ndarray) -> np.ndarray:
    """(R, V) in [0, 1], in the order of REGIONS."""
    regions = geometry.topology.regions
    points = rig.matrix @ rig.reference
    on_skin = np.zeros(len(points), bool)
    on_skin[rig.triangles[2][rig.triangle_parts[2] == HEAD_PARTS.index("skin")]] = True
    weights = {}
    for name in ("lips", "eyelids", "ears"):
        share = region_share(geometry.topology, getattr(regions, name), rig.cage)
        weights[name] = np.clip(rig.matrix @ share, 0, 1) * on_skin
    radius = np.linalg.norm(2 * (geometry.uv.astype(np.float64) - 0.5), axis=1) / 0.99
    fade = np.clip((FADES[1] - radius) / (FADES[1] - FADES[0]), 0, 1)
    fade = fade**2 * (3 - 2 * fade)
    face = np.where(same >= 0, fade[np.maximum(same, 0)], 0)
    # Teeth, tongue, eyeballs and pockets lie elsewhere in the face's texture.
    face[(same >= 0) & (geometry.topology.parts[np.maximum(same, 0)] != SKIN)] = 1
    weights["face"] = face
    behind = np.maximum(-points[:, 2] - 10, 0)
    line = HAIRLINE - HAIR_SLOPE * behind
    line = np.maximum(line, HAIR_END)
    hair = np.clip((points[:, 1] - line) / HAIR_WIDTH + 0.5, 0, 1)
    weights["scalp"] = hair**2 * (3 - 2 * hair) * (1 - weights["ears"]) * on_skin
    return np.stack([weights[name] for name in REGIONS])


def occlusion(rig: RigTopology, mean: np.ndarray) -> np.ndarray:
    """(V,) in [0, 1]: what of the sky the mean head's skin sees; 1 on flat skin."""
    points = np.ascontiguousarray(rig.matrix @ mean, np.float32)
    triangles = np.ascontiguousarray(rig.triangles[2], np.int32)
    normals = vertex_normals(points[None], triangles)[0]
    return np.clip(1.12 * ambient_occlusion(points, normals, triangles), 0, 1)


def color_band(geometry: Geometry, disc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (B,) of the face near its outline, and where around it they lie (B,), 0 to K."""
    radius = np.linalg.norm(disc, axis=1) / 0.99
    skin = geometry.topology.parts == SKIN
    band = np.flatnonzero(skin & (radius > BAND[0]) & (radius < BAND[1]))
    return band, _around(disc[band])


def _around(disc: np.ndarray) -> np.ndarray:
    angle = np.arctan2(disc[:, 0], -disc[:, 1]) / (2 * np.pi)
    return (angle % 1) * COLOR_ANCHORS


def color_shares(
    geometry: Geometry, rig: RigTopology, face_row: np.ndarray, disc: np.ndarray
) -> np.ndarray:
    """(C, K) shares of the anchors' colors in the skin beyond the face; rows sum to one there.

    On the face's side they are those of the nearest place of the outline, so that colors that
    fade out do so into what goes on beyond.
    """
    nearest = np.asarray(geometry.topology.dense.matrix.argmax(axis=0)).ravel()
    weight = geometry.topology.dense.matrix.max(axis=0).toarray().ravel()
    radius = np.linalg.norm(disc, axis=1) / 0.99
    on_face = np.flatnonzero(face_row >= 0)
    face = face_row[on_face]
    vertex = nearest[face]
    skin = (weight[face] > 0.3) & (geometry.topology.parts[vertex] == SKIN)
    skin &= radius[vertex] > BAND[0] - 0.1
    fixed, place = on_face[skin], _around(disc[vertex[skin]])
    hats = np.zeros((len(fixed), COLOR_ANCHORS))
    left = np.floor(place).astype(int)
    share = place - left
    hats[np.arange(len(fixed)), left % COLOR_ANCHORS] += 1 - share
    hats[np.arange(len(fixed)), (left + 1) % COLOR_ANCHORS] += share
    return np.clip(harmonic(rig, fixed, hats), 0, 1)
