"""What a photograph's landmarks say about its classes: where a face is, something would show it.

A network that has seen drawn people only takes pale eyes, open mouths and beards of photographs
for things before the face.  But what hides an eye or a mouth hides the skin around it as well,
and hair of the scalp does not grow on a chin.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.landmarks import OUTER_MOUTH
from facewright.models.segmentation import HAIR, OCCLUDER, SKIN
from facewright.training.segmentation.dataset import UNKNOWN

Float32 = NDArray[np.float32]

_EYES = ((36, 39, 37, 41), (42, 45, 43, 47))
_BROWS = (slice(17, 22), slice(22, 27))
_NOSE = slice(29, 36)
_BEARD = (*range(3, 14), 35, 33, 31)
# Half axes of an eye with its lids and of its surroundings, by the eye's width.
_EYE, _AROUND_EYE = (0.62, 0.42), (1.05, 0.85)
_MOUTH, _AROUND_MOUTH = 1.15, 1.6
_HIDDEN = 0.5
"""Mean probability of an occluder around something from which on it may be hidden."""
_SURE, _LIKELY = 0.85, 0.6


def completed(marks: Float32, known: NDArray[np.bool_], template: NDArray[np.floating]) -> Float32:
    """Landmarks (68, 2) with those that are not known where the mean face has them.

    template: (68, 3) mm, brought to the known ones by an affine map.
    """
    solid = np.column_stack([template, np.ones(len(template))])
    move = np.linalg.lstsq(solid[known], marks[known].astype(np.float64), rcond=None)[0]
    return np.where(known[:, None], marks, solid @ move).astype(np.float32)


def corrected(classes: NDArray[np.uint8], shares: Float32, marks: Float32) -> NDArray[np.uint8]:
    """Classes (S, S) of a photograph made to agree with its landmarks.

    Args:
        classes: with `augmentation.UNKNOWN`.
        shares: (4, S, S) probabilities that they come from.
        marks: (68, 2) px.
    """
    result, side = classes.copy(), len(classes)
    # Within the face more is believed of skin, or it is learned of the easy pictures alone.
    face = _filled(side, cv2.convexHull(marks)[:, 0])
    likely = (shares[SKIN] > _LIKELY) & (shares[OCCLUDER] < 1 - _LIKELY)
    result[face & likely] = SKIN
    beard = _filled(side, cv2.convexHull(marks[list(_BEARD)])[:, 0])
    result[beard & (shares[SKIN] + shares[HAIR] > 0.5)] = SKIN
    bare = []
    for outer, inner, upper, lower in _EYES:
        middle = marks[[outer, inner, upper, lower]].mean(axis=0)
        across = (marks[inner] - marks[outer]) if outer < inner else marks[outer] - marks[inner]
        eye = _filled(side, _ellipse(middle, across, _EYE))
        around = _filled(side, _ellipse(middle, across, _AROUND_EYE)) & ~eye
        bare.append(_mean(shares[OCCLUDER], around) < _HIDDEN)
        if bare[-1]:
            result[eye] = SKIN
    for brow, free in zip(_BROWS, bare, strict=True):
        line = marks[brow]
        up = marks[brow].mean(axis=0) - marks[8]
        up = up / max(float(np.linalg.norm(up)), 1.0)
        width = float(np.linalg.norm(line[-1] - line[0]))
        own = _filled(side, _band(line, up * 0.09 * width, up * -0.09 * width))
        above = _filled(side, _band(line, up * 0.5 * width, up * 0.15 * width))
        if free and _mean(shares[SKIN], above) > _HIDDEN:
            result[own & (shares[OCCLUDER] < _SURE)] = SKIN
    hull = cv2.convexHull(marks[OUTER_MOUTH])[:, 0].astype(np.float32)
    mouth = _filled(side, _scaled(hull, _MOUTH))
    around = _filled(side, _scaled(hull, _AROUND_MOUTH)) & ~mouth
    if _mean(shares[OCCLUDER], around) < _HIDDEN:
        result[mouth] = SKIN
    if _mean(shares[SKIN], mouth) > _HIDDEN:
        # A scarf would hide the mouth too; a hand may not, so nobody knows.
        result[beard & (result == OCCLUDER)] = UNKNOWN
    nose = _filled(side, cv2.convexHull(marks[_NOSE])[:, 0])
    if _mean(shares[SKIN], nose) > _HIDDEN:
        result[nose & (shares[OCCLUDER] < _SURE)] = SKIN
    return result


def _filled(side: int, polygon: NDArray[Any]) -> NDArray[np.bool_]:
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(polygon).astype(np.int32)], 1)
    return mask.astype(bool)


def _mean(values: Float32, where: NDArray[np.bool_]) -> float:
    """Over a part that may lie beyond the picture, and then says 0."""
    return float(values[where].mean()) if where.any() else 0.0


def _ellipse(middle: Float32, across: Float32, half: tuple[float, float]) -> Float32:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
    down = np.array([-across[1], across[0]])
    rim = middle + half[0] * np.cos(angle) * across + half[1] * np.sin(angle) * down
    return rim.astype(np.float32)


def _band(line: Float32, above: Float32, below: Float32) -> Float32:
    return np.concatenate([line + above, line[::-1] + below])


def _scaled(polygon: Float32, scale: float) -> Float32:
    middle = polygon.mean(axis=0)
    return (middle + scale * (polygon - middle)).astype(np.float32)
