"""What a photo tells of the hair on a head: whether there is any, its color, where it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from facewright.models.arrays import BoolArray, ByteArray, DoubleArray, FloatArray, IndexArray
from facewright.models.camera import CAMERA_DISTANCE
from facewright.models.segmentation import OCCLUDER, OTHER, SKIN, Segmentation
from facewright.service.pipeline.hairline import BALD_MM, Scalp, hair_of_brows
from facewright.service.pipeline.head_colors import HeadColors
from facewright.service.pipeline.reconstruction import Reconstruction

# Quantiles of brightness between which the hair's color lies: not its shine.
_TONES = (0.15, 0.5)
# What differs less from most of the face, or from the forehead if that is not covered, is skin:
# mean of the logarithms of the channels' ratios, and that of blue less that of red, of which skin
# has less where it shines.  Beside a bald head it may be darker.
_LIKE_SKIN, _LIKE_HUE, _BESIDE_BALD = 0.36, (-0.3, 0.18), 0.6
# Of hair that is not as vivid as dyed hair, (max - min) / max, no channel is more than this over
# red, unless the skin is so too: the light of a picture's shades is often blue or green.
_VIVID, _MOST_OVER_RED = 0.6, 1.0
# What stands off the head is no hair if it differs less from what lies around, in every channel;
# nor if it is bluer or greener than this, over red: hair that nobody dyed never is.
_LIKE_BACKGROUND, _LEAST_RED = 0.25, 0.9
# How far off the scalp hair is looked for, unless it has the color of skin; from where on it can
# have that too; and how far off nothing of it is expected, mm.
_STANDS_OFF, _BEYOND_SKIN, _BACKGROUND = 9.0, 15.0, 40.0
# Share of some places that must be seen to say anything of them, and of those seen that must have
# hair.
_LEAST_SEEN, _LEAST_HAIRY = 0.3, 0.5
# Cosine of the angle at which a place must be seen: farther round lies what is behind the head.
_FRANK = 0.4
# Probability from which on a pixel is an occluder or background, and from which on skin.
_COVERED, _BARE = 0.4, 0.5


def scalp_in_photo(
    photo: ByteArray,
    face: Reconstruction,
    heads: HeadColors,
    scale: float | DoubleArray = 1.0,
    segmentation: Segmentation | None = None,
) -> Scalp:
    """What hair somebody probably has, by what the photo (H, W, 3) shows of it.

    Nobody is bald whose scalp is not seen to be: where the photo ends too early, or shows no color
    of hair, it is that of the brows.

    scale: (2,) or one for both, pixels of this photo per pixel of the face's.
    segmentation: of this photo: what covers the head or lies behind it says nothing of hair, and
        skin is none.  Without it, what has not the color of the forehead is hair.
    """
    places = heads.scalp_places
    look = _Look(photo, face, heads, scale, segmentation)
    found: list[FloatArray] = []
    receding, bare = 0.0, False
    for begins, ends, part in places.depths:
        zone = look.at(part)
        if zone is None:
            break
        if zone.has_hair:
            found.append(zone.hair)
            bare = False
        elif not found:
            receding, bare = (begins + ends) / 2, True
    if bare:
        crown = look.standing_off()
        # Where the photo ends above the forehead, nothing is known of the rest.
        bare = crown is not None and not len(crown)
        found += [crown] if crown is not None and len(crown) else []
    for part in places.temples:
        zone = look.at(part, _BESIDE_BALD if bare else _LIKE_SKIN)
        if zone is not None and zone.has_hair:
            found.append(zone.hair)
            if bare:
                receding, bare = BALD_MM, False
    if bare:
        return Scalp(None, look.skin)
    fringe = look.at_face(places.face_top)
    found += [fringe.hair] if fringe is not None and fringe.has_hair else []
    hair = _tone(np.concatenate(found)) if found else hair_of_brows(look.colors(places.brows))
    return Scalp(_natural(hair, look.skin), look.skin, receding)


def scalp_of_album(scalps: Sequence[Scalp]) -> Scalp:
    """The hair of a person by what several photos, at least one, tell of it."""
    hairs = [scalp.hair for scalp in scalps if scalp.hair is not None]
    skin = np.median([scalp.skin for scalp in scalps], axis=0).astype(np.float32)
    if 2 * len(hairs) <= len(scalps):
        return Scalp(None, skin)
    receding = float(np.median([scalp.receding for scalp in scalps if scalp.hair is not None]))
    return Scalp(np.median(hairs, axis=0).astype(np.float32), skin, receding)


class _Zone(NamedTuple):
    """What is seen of some places."""

    colors: FloatArray
    """(n, 3)."""
    hairy: BoolArray
    """(n,)."""

    @property
    def has_hair(self) -> bool:
        return bool(self.hairy.mean() > _LEAST_HAIRY)

    @property
    def hair(self) -> FloatArray:
        """(k, 3) its colors."""
        return self.colors[self.hairy]


class _Look:
    """A photo at places of a head."""

    def __init__(
        self,
        photo: ByteArray,
        face: Reconstruction,
        heads: HeadColors,
        scale: float | DoubleArray,
        segmentation: Segmentation | None,
    ) -> None:
        self._photo, self._face, self._places = photo, face, heads.scalp_places
        self._scale, self._segmentation = scale, segmentation
        still = np.zeros(len(heads.rig.expression_extra), np.float32)
        cage = heads.rig.cage(face.geometry.cage, face.geometry.identity, still)
        self._points = self._places.subdivision.refine(cage[None])[0]
        posed = self._points @ face.rotation_matrix.T + face.translation_mm
        view = np.array([0, 0, CAMERA_DISTANCE], np.float32) - posed
        cosine = (self._places.normals @ face.rotation_matrix.T * view).sum(axis=1)
        self._frank = cosine > _FRANK * np.linalg.norm(view, axis=1)
        self.skin: FloatArray = np.median(self.colors(self._places.cheeks), axis=0)
        self._skins = self.skin[None]
        forehead = np.median(self.colors(self._places.forehead), axis=0)
        if self._like_skin(forehead[None])[0]:
            self._skins = np.stack([self.skin, forehead])

    def colors(self, rows: IndexArray) -> FloatArray:
        """(n, 3) at vertices of the face model, at the border of the photo where it has ended."""
        places = self._pixels(self._face.vertices[rows])[0]
        columns, lines = np.clip(places, 0, np.array(self._photo.shape[1::-1]) - 1).T
        return self._photo[lines, columns].astype(np.float32)

    def at_face(self, rows: IndexArray) -> _Zone | None:
        """What is seen at vertices of the face model; None of what is hardly seen."""
        return self._seen(self._face.vertices[rows])

    def at(self, part: slice, darkest: float = _LIKE_SKIN) -> _Zone | None:
        """What is seen at places of the head; None of what is hardly seen.

        darkest: how far skin may be darker than most of it.
        """
        return self._seen(self._points[part], self._frank[part], darkest)

    def standing_off(self) -> FloatArray | None:
        """(n, 3) colors of hair that stands off the top of the head, n = 0 if none does.

        None where that is not in the photo.
        """
        top = self._points[self._places.top]
        middle = top.mean(axis=0) * [1, 0, 1]
        outwards = (top - middle) / np.linalg.norm(top - middle, axis=1)[:, None]
        near, further, far = (
            self._seen((top + distance * outwards).astype(np.float32))
            for distance in (_STANDS_OFF, _BEYOND_SKIN, _BACKGROUND)
        )
        if near is None or further is None:
            return None
        for zone in (further, near):
            hair = _tone(zone.colors)
            if hair[0] < _LEAST_RED * hair.max():
                continue
            if far is None:
                return None
            behind = np.log((hair + 1) / (np.median(far.colors, axis=0) + 1))
            if np.abs(behind).max() < _LIKE_BACKGROUND:
                continue
            if zone is further or not self._like_skin(hair[None], _BESIDE_BALD)[0]:
                return zone.colors
        return np.empty((0, 3), np.float32)

    def _pixels(self, points: FloatArray) -> tuple[IndexArray, BoolArray]:
        """Pixels (n, 2) of points in model space, and whether the photo has them."""
        pixels = self._face.project(points)
        places = np.floor(pixels[:, :2] * self._scale).astype(np.intp)
        inside = ((places >= 0) & (places < self._photo.shape[1::-1])).all(axis=1)
        return places, inside & (pixels[:, 2] > 1)

    def _seen(
        self, points: FloatArray, frank: BoolArray | None = None, darkest: float = _LIKE_SKIN
    ) -> _Zone | None:
        places, inside = self._pixels(points)
        if frank is not None:
            inside &= frank
        columns, lines = places[inside].T
        colors = self._photo[lines, columns].astype(np.float32)
        hairy = ~self._like_skin(colors, darkest)
        if self._segmentation is not None:
            centers = places[inside] + 0.5
            # Hats go on beyond what was segmented; foreheads do not.
            occluder = self._segmentation.at(OCCLUDER, centers)
            skin = self._segmentation.at(SKIN, centers, beyond=0.0)
            other = self._segmentation.at(OTHER, centers, beyond=0.0)
            known = occluder + other < _COVERED
            colors, hairy = colors[known], (hairy & (skin < _BARE))[known]
        return _Zone(colors, hairy) if len(colors) >= _LEAST_SEEN * len(points) else None

    def _like_skin(self, colors: FloatArray, darkest: float = _LIKE_SKIN) -> BoolArray:
        """(n,) whether colors (n, 3) are those of skin."""
        ratio = np.log((colors[:, None] + 1) / (self._skins + 1))
        hue = ratio[..., 2] - ratio[..., 0]
        level = ratio.mean(axis=2)
        alike = (level > -darkest) & (level < _LIKE_SKIN) & (hue > _LIKE_HUE[0])
        alike &= hue < _LIKE_HUE[1] + np.maximum(level, 0)
        return np.asarray(alike.any(axis=1), bool)


def _tone(colors: FloatArray) -> FloatArray:
    """(3,) what hair of colors (n, 3) looks like in the shade."""
    brightness = colors.mean(axis=1)
    low, high = np.quantile(brightness, _TONES)
    tones = colors[(brightness >= low) & (brightness <= high)]
    return np.asarray(np.median(tones, axis=0), np.float32)


def _natural(hair: FloatArray, skin: FloatArray) -> FloatArray:
    """(3,) a color of hair without what the picture's shades have of blue and green."""
    brightest = hair.max()
    if brightest - hair.min() > _VIVID * brightest:
        return hair
    most = hair[0] * max(_MOST_OVER_RED, float(skin.max() / max(skin[0], 1)))
    level = hair.mean()
    capped = np.minimum(hair, most)
    return np.asarray(capped * (level / max(capped.mean(), 1)), np.float32)
