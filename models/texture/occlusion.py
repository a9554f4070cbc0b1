"""Which points of a face something hides from a photo: hats, hands, hair, frames of glasses."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel
from facewright.models.landmarks import CHIN, LEFT_EYE, RIGHT_EYE
from facewright.models.segmentation import OCCLUDER, SKIN, Segmentation

# Probability of skin up to which a point is left out, and from which on it is taken entirely.
_HIDDEN, _SHOWN = 0.35, 0.7
# Of what the face shows in the photo, the share that must be skin: below it, it is likelier that
# the network does not know this kind of picture than that so much is hidden.
_LEAST_SKIN = 0.25
# Half axes of an eye's opening and of the lens before it, by the distance of the eyes, or by the
# eyes' height above the chin where a face is turned.
_OPENING, _LENS, _BY_HEIGHT = (0.30, 0.17), (0.62, 0.48), 0.55
# Glasses are hidden if they are dark, by the mean probability of an occluder in the openings: their
# pixels are those from the second on.  Of clear ones only parts of the frame are found, and half a
# frame looks worse than a whole one.
_DARK, _DARK_PIXEL = 0.4, 0.15
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


def hide(
    segmentation: Segmentation,
    landmarks: NDArray[np.int32],
    points: NDArray[np.float32],
    share: NDArray[np.float32],
) -> None:
    """Lower the shares (V,) of points (V, 3) that are hidden, in place.

    landmarks: (68,) vertices.  points: x and y in photo px.  share: see `views.PreparedView`.
    """
    transform = segmentation.transform.astype(np.float32)
    marks = points[landmarks, :2] @ transform[:, :2].T + transform[:, 2]
    skin = _without_islands(*_at_eyes(segmentation.shares, marks))
    # Blurred edges of what hides the face are on the skin beside it.
    sure = cv2.blur(cv2.erode(skin, np.ones((3, 3), np.uint8)), (3, 3))
    shown = np.clip((sure - _HIDDEN) / (_SHOWN - _HIDDEN), 0, 1).astype(np.float32)
    hidden = share.copy()
    before, after = _multiply(shown, transform, np.ascontiguousarray(points, np.float32), hidden)
    if after >= _LEAST_SKIN * before:
        share[:] = hidden


def _at_eyes(
    shares: NDArray[np.float32], marks: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The probability of skin (S, S), glasses hidden as a whole or not at all, and where they are.

    marks: (68, 2) px of the shares (4, S, S).
    """
    skin, occluder = shares[SKIN], shares[OCCLUDER]
    left, right = marks[LEFT_EYE].mean(axis=0), marks[RIGHT_EYE].mean(axis=0)
    height = float(np.linalg.norm((left + right) / 2 - marks[CHIN]))
    unit = max(float(np.linalg.norm(right - left)), _BY_HEIGHT * height)
    openings, lenses = np.zeros((2, *skin.shape), np.uint8)
    for eye in (left, right):
        for mask, half in ((openings, _OPENING), (lenses, _LENS)):
            axes = tuple(max(1, round(unit * axis)) for axis in half)
            cv2.ellipse(mask, tuple(np.round(eye).astype(int).tolist()), axes, 0, 0, 360, 1, -1)
    opening, lens = openings.view(np.bool_), lenses.view(np.bool_)
    dark = opening.any() and occluder[opening].mean() >= _DARK
    hidden = lens & (occluder > _DARK_PIXEL) if dark else np.zeros(skin.shape, np.bool_)
    return np.where(hidden, _ZERO, np.where(lens, skin + occluder, skin)), hidden


def _without_islands(skin: NDArray[np.float32], glasses: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The probability of skin (S, S), 1 where it is low amid skin only.

    What hides a face comes in from beyond it.  Islands are moustaches or teeth, unless they are
    glasses (S, S).
    """
    low = (skin < _HALF).view(np.uint8)
    # Lines of a few pixels connect nothing.
    solid = cv2.morphologyEx(low, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=4)
    x, y, width, height = stats[:, :4].T
    islands = (x > 0) & (y > 0) & (x + width < len(skin)) & (y + height < len(skin))
    islands[labels[glasses]] = False
    islands[0] = False
    if not islands.any():
        return skin
    around = cv2.dilate(islands[labels].view(np.uint8), np.ones((5, 5), np.uint8)).view(np.bool_)
    kept = (solid > 0) & ~islands[labels] | glasses
    return np.where(around & ~kept, _ONE, skin)


@kernel
def _multiply(
    shown: NDArray[np.float32],
    transform: NDArray[np.float32],
    points: NDArray[np.float32],
    share: NDArray[np.float32],
) -> tuple[float, float]:
    """Multiply shares by what is shown (S, S), linearly between pixels; sums before and after."""
    last = np.float32(len(shown) - 1)
    before, after = 0.0, 0.0
    for vertex in range(len(points)):
        own = share[vertex]
        if own <= _ZERO:
            continue
        before += own
        x = transform[0, 0] * points[vertex, 0] + transform[0, 1] * points[vertex, 1]
        y = transform[1, 0] * points[vertex, 0] + transform[1, 1] * points[vertex, 1]
        x += transform[0, 2] - _HALF
        y += transform[1, 2] - _HALF
        if x >= _ZERO and x <= last and y >= _ZERO and y <= last:
            i, j = int(y), int(x)
            below, right = min(i + 1, int(last)), min(j + 1, int(last))
            fy, fx = y - np.float32(i), x - np.float32(j)
            upper = shown[i, j] + fx * (shown[i, right] - shown[i, j])
            lower = shown[below, j] + fx * (shown[below, right] - shown[below, j])
            own *= upper + fy * (lower - upper)
            share[vertex] = own
        after += own
    return before, after
