"""Teeth and tongue: parts of the face that hang on the skin around the mouth and on the jaw.

The base mesh's rows of teeth are too wide, lie deep in the mouth, and neither they nor the tongue
follow targets that change the lips. So they are seated once on the reference head, and from then
on are carried by the skin around the mouth: the affine map that fits its vertices best, which is
linear, so it acts on means, people and modes alike. Expressions do not move them, but for the jaw
that carries the lower teeth and the tongue.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from facewright.training.face_model.sources import BaseMesh

UPPER_TEETH, LOWER_TEETH, TONGUE_GROUP = (
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-tongue",
)
#: The root of the tongue, further back than this behind the middle between the eyes, is left out.
TONGUE_BACK = -20.0
#: Width of rows and tongue relative to the base mesh's.
WIDTH = {UPPER_TEETH: 0.82, LOWER_TEETH: 0.78, TONGUE_GROUP: 0.80}
#: How far behind the lips' inner edge the front of each row lies, and where the biting edge of
#: each row is relative to it, mm. Subdivision rounds some 3 mm off, so that the rows hardly
#: overlap, and lips that are parted by a hair show no light line.
BEHIND = {UPPER_TEETH: 6.0, LOWER_TEETH: 9.0}
#: The molars of the lower row lie higher than its front and would fill the mouth's corners: mm of
#: height per mm of depth that they are lowered by, and those of the upper row are raised.
SLOPE = {UPPER_TEETH: 0.06, LOWER_TEETH: -0.22}
EDGE = {UPPER_TEETH: -4.5, LOWER_TEETH: 0.5}
#: From there to the tongue, which must not hide them, mm.
TONGUE_SHIFT = np.array([0, -5.0, -3.0])
#: Behind the front teeth by this much, mm, vertices do not belong to the biting edge's middle.
FRONT = 4.0
#: Reach (standard deviation) of the skin that carries the parts, mm, and where it ends.
REACH, FARTHEST = 22.0, 50.0
#: A unit moves the jaw when it moves the lower teeth by more than this, mm.
JAW_MOVES = 0.2


def tongue_quads(mesh: BaseMesh, position: np.ndarray) -> np.ndarray:
    """(Q,) bool: the front of the tongue.

    Args:
        mesh: the base mesh.
        position: (S, 3) mm, the reference head with its origin between the eyes.
    """
    return (mesh.groups == TONGUE_GROUP) & (position[mesh.quads, 2].mean(axis=1) > TONGUE_BACK)


def seated(mesh: BaseMesh, position: np.ndarray, lip: np.ndarray) -> np.ndarray:
    """(S, 3) mm: the reference head with its teeth and tongue where an open mouth shows them.

    Args:
        mesh: the base mesh.
        position: (S, 3) mm, as the base mesh has it.
        lip: (3,) mm, the middle of the lips' inner edge.
    """
    moved = position.copy()
    for group, above in ((UPPER_TEETH, True), (LOWER_TEETH, False)):
        row = np.unique(mesh.quads[mesh.groups == group])
        front = position[row, 2].max()
        incisors = row[position[row, 2] > front - FRONT]
        edge = position[incisors, 1].min() if above else position[incisors, 1].max()
        shift = np.array([0, lip[1] + EDGE[group] - edge, lip[2] - BEHIND[group] - front])
        moved[row] = position[row] * [WIDTH[group], 1, 1] + shift
        moved[row, 1] += SLOPE[group] * (front - position[row, 2])
    tongue = np.unique(mesh.quads[mesh.groups == TONGUE_GROUP])
    # The tongue lies in the lower row, whose shift is the last one.
    moved[tongue] = position[tongue] * [WIDTH[TONGUE_GROUP], 1, 1] + shift + TONGUE_SHIFT
    return moved


def affine_weights(points: np.ndarray, anchors: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(n, a) weights that carry points (n, 3) by the affine map that fits anchors (a, 3) best.

    ``weights @ moved_anchors`` is the image of the points under the affine map which takes the
    anchors to the moved ones with the least squares weighted by ``share`` (a,). Rows sum to one,
    and unmoved anchors leave the points where they are.
    """
    system = np.c_[np.ones(len(anchors)), anchors]
    normal = system.T @ (share[:, None] * system)
    return np.c_[np.ones(len(points)), points] @ np.linalg.solve(normal, system.T * share)


def attachment(
    position: np.ndarray, skin: np.ndarray, inner: np.ndarray, target: np.ndarray, lip: np.ndarray
) -> sp.csr_matrix:
    """(n, C) CSR rows that place cage vertices ``inner`` (n,) by the skin around the mouth.

    Args:
        position: (C, 3) mm, the cage on the reference head.
        skin: (k,) cage vertices that may carry.
        inner: cage vertices that are carried.
        target: (n, 3) mm, where they lie on the reference head.
        lip: (3,) mm, the middle of the mouth.
    """
    distance = np.linalg.norm(position[skin] - lip, axis=1)
    anchors, distance = skin[distance < FARTHEST], distance[distance < FARTHEST]
    share = np.exp(-((distance / REACH) ** 2) / 2)
    weights = affine_weights(target, position[anchors], share)
    row, column = np.repeat(np.arange(len(inner)), len(anchors)), np.tile(anchors, len(inner))
    return sp.csr_matrix((weights.ravel(), (row, column)), (len(inner), len(position)))


def rotation_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(3, 3) M such that ``before @ M`` (n, 3) lies as ``after`` does, but for a shift (Kabsch)."""
    u, _, vt = np.linalg.svd((before - before.mean(axis=0)).T @ (after - after.mean(axis=0)))
    u[:, 2] *= np.sign(np.linalg.det(u @ vt))
    return u @ vt


def jaw_motion(before: np.ndarray, displacement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation less identity (3, 3) and shift (3,) mm of the middle of lower teeth (n, 3)."""
    turn = rotation_between(before, before + displacement).T
    return turn - np.eye(3), displacement.mean(axis=0)


def carry_by_jaw(
    mean: np.ndarray, lower: np.ndarray, jaw: np.ndarray, turn: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """(n, 3) mm: displacement of cage vertices ``jaw`` (n,) that a motion of the jaw carries.

    Args:
        mean: (C, 3) mm, a cage.
        lower: cage vertices of the lower teeth, whose middle moves by ``shift``.
        jaw: cage vertices that are carried.
        turn: (3, 3), see :func:`jaw_motion`.
        shift: (3,) mm, likewise.
    """
    return (mean[jaw] - mean[lower].mean(axis=0)) @ turn.T + shift
