"""What a photo shows along the outline of the face: the person's skin, hair, or neither."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facewright.models.arrays import FloatArray
from facewright.models.head_rig import COLOR_ANCHORS, HeadRig
from facewright.models.morphable_model import PART_SKIN, MorphableModel

# How far skin in the same photo differs by its light and by its hue: mean and range of the
# logarithms of the channels' ratios.
_SKIN_VARIES = (0.5, 0.22)
# Hair lies on the way from the skin's color to the hair's, in logarithms, or beyond: from where to
# where on it, and how far off it.  If both are nearer than this, they cannot be told apart.
_ON_THE_WAY, _HAIR_VARIES, _TOO_NEAR = (0.3, 0.65), 0.4, 0.3
# What counts where nothing of the outline is seen: what was filled in there, for its colors and for
# what it is; and the rest of the face's color.
_HARDLY_SEEN, _UNSEEN, _LITTLE = 0.05, 1e-6, 0.03
# Reach of a place's colors along the outline, in its 24th parts.
_REACH = 1.2
_DARK = 0.03
# The rim in which hair is looked for, as shares of the way from the middle of the face to its
# outline; how much further in half as much counts, about; and one vertex of so many.
_RIM, _INWARDS, _EVERY = (0.5, 0.93), 0.06, 3


class Outline(NamedTuple):
    """At 24 places around the face, in the order of `HeadRig.outline_colors`."""

    skin: FloatArray
    """(24, 3) in [0, 1]: the colors in which skin goes on beyond the face."""
    own: FloatArray
    """(24,) in [0, 1]: how far the person is seen there, and not what lies before or behind."""
    hair: FloatArray
    """(24,) in [0, 1]: how far hair is."""


class OutlineReader:
    """Tells skin, hair and the rest along the outline of a face apart, by their colors."""

    def __init__(self, model: MorphableModel, rig: HeadRig) -> None:
        self._rig = rig
        disc = 2 * model.uv.astype(np.float64) - 1
        radius = np.linalg.norm(disc, axis=1)
        rim = (model.parts == PART_SKIN) & (radius > _RIM[0]) & (radius < _RIM[1])
        self._rim = np.flatnonzero(rim)[::_EVERY]
        places = np.arctan2(disc[self._rim, 0], -disc[self._rim, 1]) / (2 * np.pi) % 1
        places *= COLOR_ANCHORS
        self._left = np.floor(places).astype(np.intp) % COLOR_ANCHORS
        self._share = (places % 1).astype(np.float32)
        # What lies further in counts where nothing further out is seen.
        self._outer = np.exp((radius[self._rim] - _RIM[1]) / _INWARDS).astype(np.float32)

    def read(
        self,
        colors: FloatArray,
        shown: FloatArray,
        skin: FloatArray,
        hair: FloatArray | None = None,
    ) -> Outline:
        """What there is along the outline.

        Args:
            colors: (V_face, 3) in [0, 1], at the face model's vertices.
            shown: (V_face,) in [0, 1], the photos' share in them.
            skin: (3,) of most of the face.
            hair: (3,) of the head; None where there is none.
        """
        band = self._rig.band_vertices
        like_skin = 1 / (1 + _distance(colors[band], skin) ** 2)
        trust = (np.maximum(shown[band], _HARDLY_SEEN) * like_skin**2).astype(np.float32)
        table = self._rig.outline_colors((colors[band] * trust[:, None]).astype(np.float32))
        weights = self._rig.outline_colors(np.repeat(trust[:, None], 3, axis=1))[:, :1]
        near = _near()
        continued = (near @ table + _LITTLE * skin) / (near @ weights + _LITTLE)

        rim = colors[self._rim]
        like_hair = _like_hair(rim, skin, hair)
        own = np.maximum(1 / (1 + _distance(rim, skin) ** 2), like_hair)
        seen = np.maximum(shown[self._rim], _UNSEEN) * self._outer
        mean = near @ self._around(seen)
        return Outline(
            continued.astype(np.float32),
            (near @ self._around(seen * own) / mean).astype(np.float32),
            (near @ self._around(seen * like_hair) / mean).astype(np.float32),
        )

    def _around(self, values: FloatArray) -> FloatArray:
        """(24,) sums of values (n,) of the rim."""
        right = (self._left + 1) % COLOR_ANCHORS
        sums = np.bincount(self._left, values * (1 - self._share), COLOR_ANCHORS)
        return (sums + np.bincount(right, values * self._share, COLOR_ANCHORS)).astype(np.float32)


def _near() -> FloatArray:
    """(24, 24): how far a place counts for another."""
    steps = np.arange(COLOR_ANCHORS)
    apart = np.abs(steps[:, None] - steps)
    apart = np.minimum(apart, COLOR_ANCHORS - apart)
    return np.exp(-0.5 * (apart / _REACH) ** 2).astype(np.float32)


def _distance(colors: FloatArray, skin: FloatArray) -> FloatArray:
    """(n,): how far colors (n, 3) are from the skin's (3,), in units of what that varies."""
    ratio = np.log((colors + _DARK) / (skin + _DARK))
    level = ratio.mean(axis=1) / _SKIN_VARIES[0]
    return np.asarray(
        np.hypot(level**2, (np.ptp(ratio, axis=1) / _SKIN_VARIES[1]) ** 2), np.float32
    )


def _like_hair(colors: FloatArray, skin: FloatArray, hair: FloatArray | None) -> FloatArray:
    """(n,) in [0, 1]: how far colors (n, 3) are hair's (3,), and not skin's (3,)."""
    if hair is None:
        return np.zeros(len(colors), np.float32)
    way = np.log((hair + _DARK) / (skin + _DARK))
    length = np.linalg.norm(way)
    if length < _TOO_NEAR:
        return np.zeros(len(colors), np.float32)
    ratio = np.log((colors + _DARK) / (skin + _DARK))
    along = ratio @ way / length**2
    off = np.linalg.norm(ratio - along[:, None] * way, axis=1)
    share = np.clip((along - _ON_THE_WAY[0]) / (_ON_THE_WAY[1] - _ON_THE_WAY[0]), 0, 1)
    return np.asarray(share / (1 + (off / _HAIR_VARIES) ** 2) ** 2, np.float32)
