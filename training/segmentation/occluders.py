"""Things drawn over a picture: glasses, fingers, cloth, hats, microphones, strands, shadows.

The generator's own are few and alike; these are crude and of every kind.  All sizes follow the
landmarks.  Pictures are (S, S, 3) uint8 RGB and changed in place, with their classes (S, S) of
`models.segmentation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.landmarks import CHIN, LEFT_EYE, NOSE_TIP, RIGHT_EYE
from facewright.models.segmentation import HAIR, OCCLUDER, SKIN
from facewright.training.segmentation.dataset import UNKNOWN

Float32 = NDArray[np.float32]
Rng = np.random.Generator
_SHIFT = 4
_ONE = 1 << _SHIFT


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to draw on.

    Attributes:
        image: (S, S, 3) uint8 RGB; classes: (S, S) uint8; landmarks: (68, 2) px.
    """

    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    landmarks: Float32

    @property
    def eyes(self) -> Float32:
        """(2, 2): the middles of the eyes, the image-left one first."""
        return np.stack([self.landmarks[LEFT_EYE].mean(0), self.landmarks[RIGHT_EYE].mean(0)])

    @property
    def unit(self) -> float:
        """Distance from the eyes to the chin: px that a head has in any view."""
        down = self.landmarks[CHIN] - self.eyes.mean(axis=0)
        return max(float(np.linalg.norm(down)), 1.0)


def draw_occluders(rng: Rng, picture: Picture, another: Callable[[], Picture]) -> None:
    """Draw up to three things that hide the face, and shadows that do not.

    Args:
        rng: source of all choices.
        picture: changed in place.
        another: gives other pictures, whose hair and surfaces are used.
    """
    if rng.random() < 0.35:
        _shadow(rng, picture)
    kinds = rng.choice(len(_KINDS), int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])), p=_CHANCES)
    for kind in kinds:
        _KINDS[kind](rng, picture, another)


def _points(points: NDArray[np.floating]) -> NDArray[np.int32]:
    return np.round(np.asarray(points) * _ONE).astype(np.int32)


def _polygon(size: int, points: NDArray[np.floating], soft: float = 0.0) -> Float32:
    """(S, S) in [0, 1]: a filled polygon with an edge as soft as a Gaussian of so many px."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [_points(points)], 255, cv2.LINE_AA, _SHIFT)
    return _softened(mask, soft)


def _softened(mask: NDArray[np.uint8], soft: float) -> Float32:
    if soft > 0.3:
        mask = cv2.GaussianBlur(mask, (0, 0), soft).astype(np.uint8)
    return mask.astype(np.float32) / np.float32(255)


def _ellipse(center: NDArray[np.floating], half: Sequence[float], turn: float) -> Float32:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    rim = np.stack([half[0] * np.cos(angle), half[1] * np.sin(angle)], 1)
    return (rim @ np.array([[c, s], [-s, c]]) + center).astype(np.float32)


def _lay(picture: Picture, alpha: Float32, colors: Float32, kind: int | None) -> None:
    """Blend colors (S, S, 3) or (3,) over the picture; where most is covered the class is new."""
    x, y, width, height = cv2.boundingRect((alpha > 1 / 512).view(np.uint8))
    window = slice(y, y + height), slice(x, x + width)
    own = picture.image[window].astype(np.float32)
    laid = colors if colors.ndim == 1 else colors[window]
    own += alpha[window][..., None] * (laid - own)
    np.clip(own, 0, 255, out=own)
    picture.image[window] = own.astype(np.uint8)
    if kind is not None:
        picture.classes[alpha > 0.5] = kind


def _cast(rng: Rng, picture: Picture, alpha: Float32) -> None:
    """Darken what lies around a thing, as its shadow does."""
    if rng.random() < 0.5:
        return
    size = len(alpha)
    dx, dy = rng.normal(0, 0.02 * size), abs(rng.normal(0, 0.03 * size))
    moved = cv2.warpAffine(alpha, np.array([[1, 0, dx], [0, 1, dy]]), (size, size))
    dark = cv2.GaussianBlur(np.round(255 * moved).astype(np.uint8), (0, 0), rng.uniform(0.5, 8))
    dark = dark.astype(np.float32) / np.float32(255)
    _lay(picture, (rng.uniform(0.2, 0.7) * dark).astype(np.float32), np.zeros(3, np.float32), None)


def _color(rng: Rng) -> Float32:
    """(3,) of things: mostly muted, dark or pale."""
    color = rng.uniform(0, 255, 3)
    color = color.mean() + rng.beta(0.8, 1.5) * (color - color.mean())
    kind = rng.random()
    if kind < 0.35:
        color *= rng.uniform(0.02, 0.35)
    elif kind < 0.5:
        color = 255 - 0.2 * color
    return color.astype(np.float32)


def _surface(rng: Rng, size: int, another: Callable[[], Picture]) -> Float32:
    """(S, S, 3) colors of something: plain, mottled, woven, printed, or of another picture."""
    kind = rng.random()
    if kind < 0.2:
        other = another().image
        zoom, turn = rng.uniform(0.8, 3), rng.uniform(0, 360)
        move = cv2.getRotationMatrix2D(tuple(rng.uniform(0, size, 2)), turn, zoom)
        return cv2.warpAffine(other, move, (size, size), borderMode=cv2.BORDER_REFLECT).astype(
            np.float32
        )
    base, second = _color(rng), _color(rng)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    c, s = rng.normal(0, 0.4, 2)
    light = np.exp(c * ramp[None] + s * ramp[:, None]).astype(np.float32)
    colors = np.broadcast_to(base, (size, size, 3))
    if kind < 0.45:
        period = rng.uniform(3, 40)
        turned = ramp[None] * np.cos(10 * c) + ramp[:, None] * np.sin(10 * c)
        first = (turned * size / period) % 1 < rng.uniform(0.1, 0.6)
        if rng.random() < 0.4:
            first = first ^ ((ramp[:, None] * size / period) % 1 < 0.5)
        colors = np.where(first[..., None], base, second)
    cells = int(rng.choice([4, 9, 20, 50, size]))
    noise = rng.normal(0, rng.uniform(0, 0.25), (cells, cells, 1)).astype(np.float32)
    mottled = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
    result: Float32 = (colors * light[..., None] * (1 + mottled)).astype(np.float32)
    return result


def _shadow(rng: Rng, picture: Picture) -> None:
    """Darken or brighten a part of the picture; its classes stay."""
    size = len(picture.image)
    corners: NDArray[Any] = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 6)), 2)) * size
    if rng.random() < 0.5:
        corners = _ellipse(
            rng.uniform(0.1, 0.9, 2) * size, tuple(rng.uniform(0.05, 0.5, 2) * size),
            rng.uniform(0, 3),
        )  # fmt: skip
    alpha = _polygon(size, corners, float(rng.choice([1.5, 4, 8, 20])))
    bright = rng.random() < 0.25
    strength = rng.uniform(0.1, 0.4) if bright else rng.uniform(0.15, 0.6)
    tint = np.array([255, 250, 235], np.float32) if bright else np.zeros(3, np.float32)
    _lay(picture, np.float32(strength) * alpha, tint, None)


def _outline(rng: Rng, middle: Float32, across: Float32, down: Float32, form: float) -> Float32:
    """(n, 2) a lens' rim from its half axes (2,)."""
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** form
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** form
    y = np.where(y < 0, y * rng.uniform(0.7, 1.0), y)
    return (middle + x[:, None] * across + y[:, None] * down).astype(np.float32)


def _glasses(rng: Rng, picture: Picture, another: Callable[[], Picture]) -> None:
    size, eyes, marks = len(picture.image), picture.eyes, picture.landmarks
    between = eyes[1] - eyes[0]
    if np.linalg.norm(between) < 0.2 * picture.unit:  # a profile
        return
    down = marks[CHIN] - eyes.mean(axis=0)
    down = down / np.linalg.norm(down)
    dark = rng.random() < 0.4
    wide, form = rng.uniform(0.75, 1.3 if dark else 1.15), rng.uniform(0.4, 1.0)
    tall = rng.uniform(0.16, 0.3) * picture.unit * (1.1 if dark else 1.0)
    drop = down * rng.normal(0.03, 0.04) * picture.unit
    rims = []
    for eye, outer, inner in zip(eyes, marks[[36, 45]], marks[[39, 42]], strict=True):
        across = (outer - inner) * wide * rng.uniform(0.98, 1.02)
        rims.append(_outline(rng, eye + drop, across, down * tall * 0.8, form))
    tint = _color(rng) * (0.3 if dark else 1.0)
    opacity = rng.uniform(0.6, 1.0) if dark else max(0.0, rng.normal(0.0, 0.12))
    mirrored = _surface(rng, size, another) if dark and rng.random() < 0.4 else None
    for rim in rims:
        lens = _polygon(size, rim)
        if opacity > 0.01:
            fade = np.linspace(1, rng.uniform(0.4, 1), size, dtype=np.float32)[:, None]
            kind = OCCLUDER if dark else None
            _lay(picture, lens * np.float32(opacity) * (1 if dark else fade), tint, kind)
            if mirrored is not None:
                _lay(picture, lens * np.float32(rng.uniform(0.05, 0.5)), mirrored, None)
        if rng.random() < 0.35:
            at = rim.mean(axis=0) + rng.normal(0, 0.08 * picture.unit, 2)
            spot = _ellipse(at, tuple(rng.uniform(0.02, 0.2, 2) * picture.unit), rng.uniform(0, 3))
            glare = lens * _polygon(size, spot, float(rng.uniform(0.5, 5)))
            _lay(picture, glare * np.float32(rng.uniform(0.1, 0.95)),
                 np.array([250, 252, 255], np.float32), OCCLUDER)  # fmt: skip
    frame = np.zeros((size, size), np.uint8)
    thick = picture.unit * (rng.uniform(0.008, 0.03) if rng.random() < 0.5
                            else rng.uniform(0.03, 0.075))  # fmt: skip
    width = max(1, round(thick))
    faint = min(1.0, thick)
    half = rng.random() < 0.15
    for rim in rims:
        ring = rim[len(rim) // 2 :] if half else rim
        cv2.polylines(frame, [_points(ring)], not half, 255, width, cv2.LINE_AA, _SHIFT)
        if rng.random() < 0.3:
            upper = rim[len(rim) // 2 :]
            cv2.polylines(frame, [_points(upper)], False, 255, 2 * width, cv2.LINE_AA, _SHIFT)
    ends = [rims[0][np.argmin(np.linalg.norm(rims[0] - eyes[1], axis=1))],
            rims[1][np.argmin(np.linalg.norm(rims[1] - eyes[0], axis=1))]]  # fmt: skip
    lift = -down * rng.uniform(0, 0.05) * picture.unit
    bridge = np.stack([ends[0], np.mean(ends, axis=0) + lift, ends[1]])
    cv2.polylines(frame, [_points(bridge)], False, 255, width, cv2.LINE_AA, _SHIFT)
    if rng.random() < 0.85:
        for rim, eye, ear in zip(rims, eyes[::-1], marks[[0, 16]], strict=True):
            start = rim[np.argmax(np.linalg.norm(rim - eye, axis=1))]
            if np.linalg.norm(start - ear) < picture.unit:
                cv2.line(frame, _points(start).tolist(), _points(ear).tolist(), 255, width,
                         cv2.LINE_AA, _SHIFT)  # fmt: skip
    alpha = _softened(frame, 0.0) * np.float32(faint)
    _cast(rng, picture, alpha)
    colors = _surface(rng, size, another) if rng.random() < 0.3 else _color(rng)
    if rng.random() < 0.4:
        colors = np.float32(rng.uniform(0, 45)) + np.zeros(3, np.float32)
    _lay(picture, alpha, colors, OCCLUDER)


def _near_face(rng: Rng, picture: Picture) -> Float32:
    """A place on the face, more often on its lower half and its sides."""
    marks = picture.landmarks
    if rng.random() < 0.6:
        at = marks[rng.choice([2, 4, 6, 8, 10, 12, 14, 48, 54, 57])]
    else:
        at = marks[rng.integers(len(marks))]
    return (at + rng.normal(0, 0.15 * picture.unit, 2)).astype(np.float32)


def _blob(rng: Rng, picture: Picture, another: Callable[[], Picture]) -> None:
    size = len(picture.image)
    at = _near_face(rng, picture)
    extent = rng.uniform(0.1, 0.9, 2) * picture.unit
    if rng.random() < 0.5:
        rim = _ellipse(at, tuple(extent), rng.uniform(0, 3))
    else:
        corners = at + rng.normal(0, 0.6, (int(rng.integers(3, 7)), 2)) * extent
        rim = cv2.convexHull(corners.astype(np.float32))[:, 0].astype(np.float32)
    alpha = _polygon(size, rim, float(rng.choice([0, 1, 2, 6])))
    _cast(rng, picture, alpha)
    _lay(picture, alpha, _surface(rng, size, another), OCCLUDER)


def _rod(rng: Rng, picture: Picture, another: Callable[[], Picture]) -> None:
    """A microphone, a pen, a pole: a bar from the border to the face, with a head or without."""
    size = len(picture.image)
    tip = _near_face(rng, picture)
    away = np.array([rng.normal(0, 0.7), abs(rng.normal(0.8, 0.5))])
    end = tip + away / np.linalg.norm(away) * 2 * size
    mask = np.zeros((size, size), np.uint8)
    thick = max(1, round(picture.unit * rng.uniform(0.02, 0.22)))
    cv2.line(mask, _points(tip).tolist(), _points(end).tolist(), 255, thick, cv2.LINE_AA, _SHIFT)
    alpha = _softened(mask, float(rng.choice([0, 0, 1.5])))
    _cast(rng, picture, alpha)
    _lay(picture, alpha, _surface(rng, size, another), OCCLUDER)
    if rng.random() < 0.7:
        half = picture.unit * rng.uniform(0.08, 0.24) * rng.uniform(0.8, 1.3, 2)
        ball = _polygon(size, _ellipse(tip, tuple(half), rng.uniform(0, 3)), 0.5)
        colors = _surface(rng, size, another) * (0.3 if rng.random() < 0.6 else 1.0)
        _lay(picture, ball, colors, OCCLUDER)


def _hand(rng: Rng, picture: Picture, another: Callable[[], Picture]) -> None:
    """Fingers side by side, and mostly the back of the hand, in the person's skin or another's."""
    size, unit = len(picture.image), picture.unit
    source = picture if rng.random() < 0.75 else another()
    skin = source.image[source.classes == SKIN]
    if len(skin) < 100:
        return
    base = np.median(skin, axis=0) * np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.04, 3))
    tip = _near_face(rng, picture)
    middle = picture.landmarks[NOSE_TIP]
    from_face = np.arctan2(*(tip - middle)[::-1])
    along = (from_face if rng.random() < 0.6 else np.pi / 2) + rng.normal(0, 0.6)
    direction = np.array([np.cos(along), np.sin(along)])
    across = np.array([-direction[1], direction[0]])
    radius = unit * rng.uniform(0.06, 0.095)
    count = int(rng.integers(1, 6))
    spread = rng.normal(0, 0.1)
    palm = tip + direction * unit * rng.uniform(0.6, 1.1)
    if rng.random() < 0.8:
        half = (unit * rng.uniform(0.3, 0.5), unit * rng.uniform(0.25, 0.42))
        back = _polygon(size, _ellipse(palm + 0.25 * unit * direction, half, along), 1.0)
        _cast(rng, picture, back)
        ramp = np.linspace(rng.uniform(0.6, 1.2), rng.uniform(0.6, 1.2), size)[:, None, None]
        _lay(picture, back, (base * np.broadcast_to(ramp, (size, size, 1))).astype(np.float32),
             OCCLUDER)  # fmt: skip
    for finger in range(count):
        aside = (finger - (count - 1) / 2) * 2.05 * radius
        lean = spread * (finger - (count - 1) / 2) + rng.normal(0, 0.03)
        way = direction + lean * across
        start = tip + across * aside + direction * unit * 0.08 * abs(rng.normal())
        length = unit * rng.uniform(0.5, 0.9)
        _finger(rng, picture, base, start, start + length * way, radius)


def _finger(
    rng: Rng,
    picture: Picture,
    color: NDArray[np.floating],
    tip: NDArray[np.floating],
    end: NDArray[np.floating],
    radius: float,
) -> None:
    """A rod with a round shade across it, darker at its rims, and sometimes a nail."""
    size = len(picture.image)
    low = np.clip(np.minimum(tip, end) - radius - 1, 0, size).astype(int)
    high = np.clip(np.maximum(tip, end) + radius + 2, 0, size).astype(int)
    if (high <= low).any():
        return
    columns, rows = (
        np.arange(a, b, dtype=np.float32) + 0.5 for a, b in zip(low, high, strict=True)
    )
    way = (end - tip).astype(np.float32)
    x, y = columns[None] - np.float32(tip[0]), rows[:, None] - np.float32(tip[1])
    t = np.clip((x * way[0] + y * way[1]) / (way @ way), 0, 1)
    distance = np.hypot(x - t * way[0], y - t * way[1]) / np.float32(radius)
    window = slice(low[1], high[1]), slice(low[0], high[0])
    alpha = np.zeros((size, size), np.float32)
    alpha[window] = np.clip((1 - distance) * radius, 0, 1)
    shade = np.sqrt(np.clip(1 - 0.9 * distance**2, 0.05, 1)) * 0.55 + 0.45
    colors = np.zeros((size, size, 3), np.float32)
    colors[window] = color * (rng.uniform(0.85, 1.1) * shade[..., None])
    if rng.random() < 0.4:
        turn = float(np.arctan2(way[1], way[0]))
        at = tip + 0.4 * radius * way / np.linalg.norm(way)
        nail = _polygon(size, _ellipse(at, (radius * 0.7, radius * 0.5), turn), 0.6)
        colors += nail[..., None] * np.float32(rng.uniform(-50, 90))
    _lay(picture, alpha, np.clip(colors, 0, 255), OCCLUDER)


def _hat(rng: Rng, picture: Picture, another: Callable[[], Picture]) -> None:
    """All above a line over the brows, with a brim or without, and its shadow."""
    size, unit, marks = len(picture.image), picture.unit, picture.landmarks
    up = picture.eyes.mean(axis=0) - marks[CHIN]
    up = up / np.linalg.norm(up)
    across = np.array([-up[1], up[0]])
    brows = marks[17:27].mean(axis=0)
    height = rng.uniform(-0.05, 0.5)
    half = unit * rng.uniform(0.75, 1.1)
    bow, tilt = rng.normal(0.1, 0.15), rng.normal(0, 0.08)
    t = np.linspace(-1, 1, 15)[:, None]
    edge = brows + up * unit * (height + bow * (1 - t**2) + tilt * t) + across * half * t
    top = edge[::-1] + up * 3 * size
    surface = _surface(rng, size, another)
    alpha = _polygon(size, np.concatenate([edge, top]), float(rng.choice([0, 0.7, 1.5])))
    _cast(rng, picture, alpha)
    _lay(picture, alpha, surface, OCCLUDER)
    if rng.random() < 0.5:
        reach = unit * rng.uniform(0.05, 0.3)
        lower = edge - up * reach * (1 - rng.uniform(0, 1) * t**2)
        brim = _polygon(size, np.concatenate([lower, edge[::-1]]), 0.5)
        _cast(rng, picture, brim)
        _lay(picture, brim, surface * rng.uniform(0.3, 1.1), OCCLUDER)


def _scarf(rng: Rng, picture: Picture, another: Callable[[], Picture]) -> None:
    """Cloth around the face, or over its lower half."""
    size, unit, marks = len(picture.image), picture.unit, picture.landmarks
    if rng.random() < 0.5:
        jaw = marks[np.arange(2, 15)]
        level = marks[27] + rng.uniform(0.2, 1.5) * (marks[33] - marks[27])
        rim = np.concatenate([jaw + rng.normal(0, 0.03, 2) * unit, level[None]])
        alpha = _polygon(size, rim, 0.7)
    else:
        middle = marks[[CHIN, 0, 16, 27]].mean(axis=0)
        wide = np.linalg.norm(marks[16] - marks[0]) / 2 * rng.uniform(0.85, 1.05)
        inner = _ellipse(middle, (wide, unit * rng.uniform(0.9, 1.1)), 0)
        outer = _ellipse(middle, (1.5 * wide + 0.1 * unit, 1.6 * unit), 0)
        alpha = _polygon(size, outer, 1.0) * (1 - _polygon(size, inner, 0.7))
        below = middle[1] + unit * rng.uniform(0.5, 1.5)
        alpha[int(np.clip(below, 0, size)) :] *= float(rng.random() < 0.5)
    _cast(rng, picture, alpha)
    _lay(picture, alpha, _surface(rng, size, another), OCCLUDER)


def _fringe(rng: Rng, picture: Picture, another: Callable[[], Picture]) -> None:
    """Another picture's hair, moved down over the forehead or in from a side."""
    size, other = len(picture.image), another()
    hair = (other.classes == HAIR).astype(np.float32)
    if hair.mean() < 0.03:
        return
    move = cv2.getRotationMatrix2D((size / 2, size / 3), rng.normal(0, 20), rng.uniform(0.8, 1.3))
    shift = picture.eyes.mean(axis=0) - other.eyes.mean(axis=0)
    move[:, 2] += shift + [rng.normal(0, 0.08 * size), rng.uniform(0.0, 0.22) * size]
    moved = cv2.warpAffine(hair, move, (size, size))
    colors = cv2.warpAffine(other.image, move, (size, size)).astype(np.float32)
    colors *= np.exp(rng.normal(0, 0.3) + rng.normal(0, 0.1, 3)).astype(np.float32)
    alpha = cv2.GaussianBlur(moved, (0, 0), 0.8).astype(np.float32)
    _cast(rng, picture, alpha)
    _lay(picture, alpha, np.clip(colors, 0, 255).astype(np.float32), HAIR)


def _borrowed(rng: Rng, picture: Picture, another: Callable[[], Picture]) -> None:
    """What a portrait holds or wears, where it does, mostly with its skin like this picture's."""
    size = len(picture.image)
    for _ in range(_LOOKED_THROUGH):
        other = another()
        own = other.classes == OCCLUDER
        if own.mean() > 0.02 and not (other.classes == UNKNOWN).any():  # a photograph
            break
    else:
        return
    skins = [one.image[::2, ::2][one.classes[::2, ::2] == SKIN] for one in (picture, other)]
    if min(map(len, skins)) < 100:
        return
    down, others_down = (one.landmarks[CHIN] - one.eyes.mean(axis=0) for one in (picture, other))
    turn = np.degrees(np.arctan2(*others_down[::-1]) - np.arctan2(*down[::-1]))
    middle = other.eyes.mean(axis=0)
    move = cv2.getRotationMatrix2D(
        tuple(middle.tolist()), turn + rng.normal(0, 8),
        picture.unit / other.unit * np.exp(rng.normal(0, 0.1)),
    )  # fmt: skip
    move[:, 2] += picture.eyes.mean(axis=0) - middle + rng.normal(0, 0.08, 2) * picture.unit
    layer = np.dstack([other.image * own[..., None], 255 * own.astype(np.uint8)])
    layer = cv2.warpAffine(layer, move, (size, size))
    # Things near the camera are out of focus.
    soft = float(rng.choice([0.5, 0.8, 1.2, 4.0], p=[0.35, 0.35, 0.2, 0.1]))
    layer = cv2.GaussianBlur(layer, (0, 0), soft).astype(np.float32)
    alpha = layer[..., 3] / np.float32(255)
    colors = layer[..., :3] / np.maximum(alpha, np.float32(1e-3))[..., None]
    gain = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.03, 3)).astype(np.float32)
    if rng.random() < 0.8:
        ratio = np.median(skins[0], axis=0) / np.maximum(np.median(skins[1], axis=0), 1)
        gain *= np.clip(ratio, 0.2, 4).astype(np.float32)
    _cast(rng, picture, alpha)
    _lay(picture, alpha, np.clip(colors * gain, 0, 255), OCCLUDER)


_LOOKED_THROUGH = 6
"""Pictures among which one is sought that has something before its face."""
_KINDS = (_glasses, _hand, _blob, _rod, _hat, _scarf, _fringe, _borrowed)
_CHANCES = (0.27, 0.14, 0.09, 0.08, 0.08, 0.04, 0.06, 0.24)
