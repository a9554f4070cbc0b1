"""Where the 68 iBUG landmarks and the skin region lie on the dense face.

Anchors are points on the reference head; a landmark is the nearest vertex of the right kind. Only
the subject's right half (image-left) and the midline are listed: the rest are mirror images, so
pairs mirror each other exactly.
"""

from __future__ import annotations

import numpy as np

from facewright.models.landmarks import LANDMARK_COUNT, MIRROR_ORDER
from facewright.training.face_model.cage import POCKET, SKIN, Cage
from facewright.training.face_model.topology import Topology

#: iBUG index -> (x, y, z) mm on the reference head, origin between the eyeballs.
ANCHORS: dict[int, tuple[float, float, float]] = {
    0: (-69.0, 1.1, -38.0), 1: (-69.4, -19.0, -37.0), 2: (-66.8, -38.1, -31.9),
    3: (-62.0, -57.5, -28.1), 4: (-54.4, -78.5, -20.5), 5: (-42.0, -97.0, -11.2),
    6: (-29.8, -105.1, 2.8), 7: (-14.7, -109.1, 16.5), 8: (0.0, -111.9, 18.5),
    17: (-56.3, 14.4, 2.9), 18: (-47.4, 22.2, 13.2), 19: (-36.5, 24.7, 20.7),
    20: (-23.3, 23.6, 25.7), 21: (-11.6, 19.2, 27.3),
    27: (0.0, -2.1, 24.9), 28: (0.0, -13.1, 29.0), 29: (0.0, -24.3, 36.4),
    30: (0.0, -35.0, 43.5), 31: (-13.2, -49.6, 27.7), 32: (-7.2, -50.0, 31.5),
    33: (0.0, -51.0, 33.7),
    36: (-43.9, -1.3, 7.1), 37: (-38.8, 2.0, 15.1), 38: (-27.4, 2.0, 16.8),
    39: (-18.6, -4.6, 13.9), 40: (-27.1, -5.3, 15.3), 41: (-38.2, -5.1, 13.2),
    48: (-25.3, -72.4, 22.3), 49: (-17.6, -64.1, 30.2), 50: (-8.8, -60.2, 35.1),
    51: (0.0, -60.5, 36.8), 57: (0.0, -82.7, 32.6), 58: (-9.9, -81.7, 30.8),
    59: (-18.0, -78.4, 27.0),
    60: (-21.8, -71.5, 20.7), 61: (-10.2, -70.9, 28.3), 62: (0.0, -71.6, 30.6),
    66: (0.0, -72.0, 30.2), 67: (-11.2, -71.9, 27.6),
}  # fmt: skip

UPPER_INNER_LIP = (61, 62)
LOWER_INNER_LIP = (66, 67)


def find_landmarks(topology: Topology, jaw_open: np.ndarray) -> np.ndarray:
    """(68,) int64 dense vertex indices in iBUG order.

    Args:
        topology: the dense mesh.
        jaw_open: (V, 3) displacement of the opening jaw, which tells the lower lip from the upper.
    """
    points = topology.reference_dense
    mirror = topology.dense.mirror
    skin = topology.parts == SKIN
    midline = mirror == np.arange(len(mirror))
    lower = jaw_open[:, 1] < 0.5 * jaw_open[:, 1].min()
    found = np.full(LANDMARK_COUNT, -1)
    for index, anchor in ANCHORS.items():
        allowed = skin & (midline if anchor[0] == 0 else points[:, 0] < 0)
        if index in UPPER_INNER_LIP:
            allowed &= ~lower
        elif index in LOWER_INNER_LIP:
            allowed &= lower
        candidates = np.flatnonzero(allowed)
        distance = np.linalg.norm(points[candidates] - anchor, axis=1)
        found[index] = candidates[distance.argmin()]
        found[MIRROR_ORDER[index]] = mirror[found[index]]
    return found


def region_share(topology: Topology, quads: np.ndarray, cage: Cage) -> np.ndarray:
    """(C,) in [0, 1]: which share of the skin around a cage's vertices is of quads (Q,) bool."""
    base, skin = topology.base_quads, topology.regions.skin
    inside, around = (
        np.bincount(base[chosen].ravel(), minlength=len(topology.reference))
        for chosen in (quads & skin, skin)
    )
    return (inside / np.maximum(around, 1))[cage.base_index]


def region_weights(topology: Topology, quads: np.ndarray) -> np.ndarray:
    """(V,) float32 in [0, 1]: a soft mask of base-mesh quads (Q,) bool on the dense face."""
    share = region_share(topology, quads, topology.cage)
    weights = np.clip(topology.dense.matrix @ share, 0, 1)
    return np.where(topology.parts == SKIN, weights, 0).astype(np.float32)


def pocket_weights(topology: Topology) -> dict[str, np.ndarray]:
    """(V,) bool masks of the two kinds of pocket: "inside_mouth" and "inside_lids"."""
    points = topology.reference_dense
    pocket = topology.parts == POCKET
    low = points[:, 1] < -40
    return {"inside_mouth": pocket & low, "inside_lids": pocket & ~low}


def skin_region(topology: Topology, lips: np.ndarray, eyelids: np.ndarray) -> np.ndarray:
    """(V,) bool: cheeks, nose and forehead, where skin has one color (the paper's L_tex).

    Without lips, lids, brows, nostrils, the upper lip and the chin (beards).
    """
    x, y, z = topology.reference_dense.T
    away = np.abs(x)
    skin = (topology.parts == SKIN) & (lips < 0.05) & (eyelids < 0.05) & (z > -32)
    forehead = (y > 32) & (y < 66)
    nose = (away < 15) & (y < 12) & (y > -44)
    cheeks = (away > 17) & (y < -12) & (y > -20 - 0.75 * away) & (away < 60)
    nostrils = (away < 16) & (y < -40) & (z < 37)
    return skin & (forehead | nose | cheeks) & ~nostrils
