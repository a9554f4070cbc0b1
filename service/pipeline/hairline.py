"""Where hair grows on a head, what it looks like, and where a photo is asked about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from facewright.models.arrays import FloatArray, IndexArray
from facewright.models.head_rig import JOINTS, HeadRig
from facewright.models.jit import kernel
from facewright.models.morphable_model import PART_SKIN, MorphableModel
from facewright.models.normals import vertex_normals
from facewright.models.subdivision import Subdivision

# The usual hairline: degrees around the axis through the ears' middle, from the front, and mm
# above the eyes.  Before the ears it comes down to sideburns, behind them to the nape.
_DEGREES = (0, 20, 35, 46, 56, 61, 64, 68, 72, 76, 82, 90, 98, 106, 116, 130, 180)
_ABOVE_EYES = (66, 64, 57, 50, 42, 32, 14, -12, -22, -20, 0, 6, 4, -18, -44, -66, -70)
# By how much an ear lies below its hairline, mm.
_EARS = 60.0
# Hair is looked for this far to both sides, mm, and between these depths behind its front; what
# stands off the head, between two of them; and around the head at the temples, degrees.
_ACROSS, _DEPTHS, _TOP, _TEMPLES = 40.0, (0.0, 12.0, 28.0, 50.0), (20.0, 75.0), (62.0, 74.0)
# The face's own part of it begins so far above the eyes, and so far reaches the hair at the sides
# of bald heads, mm.
_FACE_TOP, _SIDES = 52.0, 45.0
# At most so many places of a kind are looked at.
_MOST_PLACES = 120
# Brows reach this far from the landmarks, and the forehead lies between these heights, mm.
_BROW_MM, _FOREHEAD = 3.5, (32.0, 52.0)
_BROWS = (slice(17, 22), slice(22, 27))
# Half the width over which hair gets dense, and how far single hairs begin off the line, mm.
_SOFT, _RAGGED = np.float32(4.0), np.float32(3.5)
# How far hair covers the skin of the scalp, the standard deviation of its grain, and how much of
# its color is left where nothing of the sky is seen.
_COVERS, _GRAIN, _IN_SHADE = np.float32(0.97), np.float32(0.11), np.float32(0.6)
# Of the colors all over the brows, the share that is darkest.
_DARKEST = 0.3
_ZERO, _ONE, _TWO, _THREE = np.float32(0.0), np.float32(1.0), np.float32(2.0), np.float32(3.0)
BALD_MM = 150.0
"""`Scalp.receding` of those who have hair at the sides and at the back only."""


class Scalp(NamedTuple):
    """The hair of a head."""

    hair: FloatArray | None
    """(3,) its color; None for a head without."""
    skin: FloatArray
    """(3,) that of most of the face in the same light and unit."""
    receding: float = 0.0
    """How far behind the usual hairline it begins above the forehead, mm."""


def hair_of_brows(colors: FloatArray) -> FloatArray:
    """(3,) the color of hair by colors (n, 3) all over the brows."""
    brightness = colors.mean(axis=1)
    dark = colors[brightness <= np.quantile(brightness, _DARKEST)]
    return np.asarray(np.median(dark, axis=0), np.float32)


@kernel
def hair_cover(height: float, noise: float) -> float:
    """How far hair covers skin that lies a height, mm, above where hair begins: in [0, 1].

    noise: of unit variance, of single hairs.
    """
    share = (height + _RAGGED * noise + _SOFT) / (_TWO * _SOFT)
    share = min(max(share, _ZERO), _ONE)
    return _COVERS * share * share * (_THREE - _TWO * share)


@kernel
def hair_covers(heights: FloatArray, noise: FloatArray) -> FloatArray:
    """(n,) of heights (n,) and noise (n,); see `hair_cover`."""
    covers = np.empty_like(heights)
    for index in range(len(heights)):
        covers[index] = hair_cover(heights[index], noise[index])
    return covers


def hair_shade(noise: FloatArray, occlusion: FloatArray) -> FloatArray:
    """(n,) factors of the hair's color, by noise (n,) of single hairs and the sky (n,) seen."""
    grain = np.maximum(1 + _GRAIN * noise, np.float32(0.3))
    return np.asarray(grain * (_IN_SHADE + (1 - _IN_SHADE) * occlusion), np.float32)


def above_hairline(rig: HeadRig, points: FloatArray, joints: FloatArray) -> FloatArray:
    """(V,) mm by which vertices of the mean head (V, 3) lie above its hairline.

    joints: (4, 3) mm, of the mean head.
    """
    ears = rig.region("ears")
    axis = points[ears > 0.5, 2].mean()
    degrees = np.degrees(np.arctan2(np.abs(points[:, 0]), points[:, 2] - axis))
    line = np.interp(degrees, _DEGREES, _ABOVE_EYES) + _eyes(joints)
    return np.asarray(points[:, 1] - line - _EARS * ears, np.float32)


@dataclass(frozen=True, eq=False)
class ScalpPlaces:
    """Vertices of a head and of the face model where hair is looked for."""

    subdivision: Subdivision
    """(n, C): carries the head's cage to the head's places."""
    normals: FloatArray
    """(n, 3), of the mean head."""
    depths: tuple[tuple[float, float, slice], ...]
    """Above the forehead: from how far to how far behind its front, mm, and which places."""
    temples: tuple[slice, slice]
    """Before the ears."""
    top: slice
    """Of the head's upper side."""
    face_top: IndexArray
    """(m,) vertices of the face model: the upper end of its forehead."""
    forehead: IndexArray
    """(m,) vertices of the face model: forehead where nobody has hair."""
    cheeks: IndexArray
    """(m,) vertices of the face model: cheeks, nose and forehead."""
    brows: IndexArray
    """(m,) vertices of the face model."""
    front: float
    """Where hair begins above the forehead: z of the mean head, mm."""
    sides: float
    """Up to where bald heads have hair: y of the mean head, mm."""

    @classmethod
    def find(
        cls, model: MorphableModel, rig: HeadRig, points: FloatArray, cage: FloatArray
    ) -> ScalpPlaces:
        """The places on the mean head: its vertices (V, 3) and its cage (C, 3)."""
        joints = rig.joints(cage)
        above = above_hairline(rig, points, joints)
        skin = np.zeros(len(points), bool)
        triangles = rig.level("high").part("skin")
        skin[triangles] = True
        scalp = skin & (above > 0) & (rig.region("face") < 0.5)
        middle = scalp & (np.abs(points[:, 0]) < _ACROSS)
        behind = points[middle, 2].max() - points[:, 2]
        axis = points[rig.region("ears") > 0.5, 2].mean()
        degrees = np.degrees(np.arctan2(np.abs(points[:, 0]), points[:, 2] - axis))
        side = scalp & (degrees > _TEMPLES[0]) & (degrees < _TEMPLES[1])
        side &= points[:, 1] < _eyes(joints) + _FACE_TOP
        kinds = [
            *(
                middle & (behind >= begins) & (behind < ends)
                for begins, ends in zip(_DEPTHS, _DEPTHS[1:], strict=False)
            ),
            side & (points[:, 0] > 0),
            side & (points[:, 0] < 0),
            middle & (behind > _TOP[0]) & (behind < _TOP[1]),
        ]
        rows = [_some(np.flatnonzero(kind)) for kind in kinds]
        ends = np.cumsum([len(own) for own in rows]).tolist()
        parts = [slice(end - len(own), end) for end, own in zip(ends, rows, strict=True)]
        chosen = np.concatenate(rows)

        face, heights = model.mean_vertices, model.mean_vertices[:, 1] - _eyes(joints)
        on_face = model.parts == PART_SKIN
        front = on_face & (np.abs(face[:, 0]) < _ACROSS)
        near = np.full(len(face), np.inf)
        for brow in _BROWS:
            line = face[model.landmarks[brow]]
            steps = np.linspace(0, len(line) - 1, 25)
            for place in np.stack([np.interp(steps, range(len(line)), axis) for axis in line.T], 1):
                near = np.minimum(near, np.linalg.norm(face - place, axis=1))
        return cls(
            rig.subdivision.take(chosen),
            vertex_normals(points[None], triangles)[0][chosen],
            tuple(
                (begins, ends, part)
                for begins, ends, part in zip(_DEPTHS, _DEPTHS[1:], parts, strict=False)
            ),
            (parts[-3], parts[-2]),
            parts[-1],
            _some(np.flatnonzero(front & (heights > _FACE_TOP))),
            _some(np.flatnonzero(front & (heights > _FOREHEAD[0]) & (heights < _FOREHEAD[1]))),
            _some(np.flatnonzero(model.skin_region)),
            _some(np.flatnonzero(on_face & (near < _BROW_MM))),
            float(points[middle, 2].max()),
            _eyes(joints) + _SIDES,
        )


def _eyes(joints: FloatArray) -> float:
    """Height of the eyes, mm."""
    return float(joints[[JOINTS.index("LeftEye"), JOINTS.index("RightEye")], 1].mean())


def _some(rows: IndexArray) -> IndexArray:
    return rows[:: len(rows) // _MOST_PLACES + 1]
