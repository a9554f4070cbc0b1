"""What stands behind a head: walls, rooms, press walls, people, foliage-like noise, lights."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from facewright.models.arrays import Array, FloatArray, float32

BACKDROP_SIZE = 320
_KINDS = {"wall": 0.3, "clutter": 0.12, "room": 0.17, "people": 0.13, "press": 0.11, "noise": 0.09,
          "bokeh": 0.08}  # fmt: skip
_GLYPHS = "ABCDEFGHIKLMNOPRSTUVWXYZ0123456789"


def draw_background(rng: np.random.Generator, size: int) -> FloatArray:
    """One (size, size, 3) float32 linear background."""
    gray = 1 - 0.9 * rng.beta(1.5, 1.8)
    dark = rng.uniform(0.1, 0.45) if rng.random() < 0.25 else rng.uniform(0.6, 1.0)

    def color() -> FloatArray:
        c = (rng.uniform(0.05, 1.0) + rng.uniform(-0.4, 0.4, 3)).clip(0.02, 0.97) * dark
        return (c + gray * (c.mean() - c)).astype(np.float32)

    kind = rng.choice(list(_KINDS), p=list(_KINDS.values()))
    image: Array = _gradient(rng, size, color(), color())
    blur = float(np.exp(rng.uniform(-1.0, 2.2)))
    if kind == "wall":
        if rng.random() < 0.3:
            _flag(rng, image, color)
        blur = float(rng.uniform(0.5, 3))
    elif kind == "clutter":
        for _ in range(int(rng.integers(6, 40))):
            _shape(rng, image, color())
    elif kind == "room":
        _verticals(rng, image, color)
        for _ in range(int(rng.integers(0, 8))):
            _shape(rng, image, color())
    elif kind == "people":
        if rng.random() < 0.6:
            _verticals(rng, image, color)
        for _ in range(int(rng.integers(1, 6))):
            _bystander(rng, image)
    elif kind == "press":
        image[:] = color()
        _logos(rng, image, color)
        blur = float(rng.uniform(0.3, 2.5))
    elif kind == "noise":
        for _ in range(int(rng.integers(0, 10))):
            _shape(rng, image, color())
    else:
        image *= np.float32(rng.uniform(0.1, 0.6))
        for _ in range(int(rng.integers(10, 50))):
            _disc(rng, image, color())
    image = cv2.GaussianBlur(image, (0, 0), blur)
    if kind == "noise" or rng.random() < 0.4:
        strength = rng.uniform(0.15, 0.5) if kind == "noise" else rng.uniform(0.03, 0.15)
        image *= np.exp(np.float32(strength) * _fractal(rng, size))[..., None]
    return np.clip(image, 0, 1) ** np.float32(2.2)


def cut_backdrop(rng: np.random.Generator, backdrops: list[FloatArray], size: int) -> Array:
    """(size, size, 3) float32: a part of one of the backdrops, mirrored half of the time."""
    whole = backdrops[rng.integers(len(backdrops))]
    extent = int(len(whole) * rng.uniform(0.55, 1.0))
    row, column = rng.integers(0, len(whole) - extent + 1, 2)
    part = whole[row : row + extent, column : column + extent]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return cv2.resize(np.ascontiguousarray(part), (size, size))


def _gradient(
    rng: np.random.Generator, size: int, first: FloatArray, second: FloatArray
) -> FloatArray:
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    across, down = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    t = np.clip(np.float32(0.5) + axis * across + axis[:, None] * down, 0, 1)[..., None]
    if rng.random() < 0.7:
        second = first * np.float32(rng.uniform(0.4, 1.3))
    return (first * (1 - t) + second * t).astype(np.float32)


def _value(color: Array) -> tuple[float, ...]:
    return tuple(float(c) for c in color)


def _shape(rng: np.random.Generator, image: FloatArray, color: FloatArray) -> None:
    size = len(image)
    at = rng.integers(-size // 8, size + size // 8, 2)
    extent = rng.integers(4, size // 2, 2)
    value = _value(color)
    kind = rng.integers(4)
    if kind == 0:
        box = cv2.boxPoints(((int(at[0]), int(at[1])), (int(extent[0]), int(extent[1])),
                             float(rng.normal(0, 12))))  # fmt: skip
        cv2.fillConvexPoly(image, box.astype(np.int32), value, cv2.LINE_AA)
    elif kind == 1:
        cv2.ellipse(image, tuple(map(int, at)), tuple(map(int, extent // 2)),
                    float(rng.uniform(0, 180)), 0, 360, value, -1, cv2.LINE_AA)  # fmt: skip
    elif kind == 2:
        end = tuple(map(int, rng.integers(0, size, 2)))
        cv2.line(image, tuple(map(int, at)), end, value, int(rng.integers(1, size // 10)))
    else:
        corners = (at + rng.normal(0, size / 6, (int(rng.integers(3, 7)), 2))).astype(np.int32)
        cv2.fillPoly(image, [corners], value, cv2.LINE_AA)


def _verticals(
    rng: np.random.Generator, image: FloatArray, color: Callable[[], FloatArray]
) -> None:
    """Panels, shelves, curtains and window-like bands."""
    size = len(image)
    x = 0
    while x < size:
        wide = int(rng.integers(size // 16, size // 3))
        cv2.rectangle(image, (x, 0), (x + wide, size), _value(color()), -1)
        if rng.random() < 0.4:
            for y in range(0, size, int(rng.integers(size // 12, size // 4))):
                shelf = _value(color())
                cv2.rectangle(image, (x, y), (x + wide, y + size // 30), shelf, -1)
        x += wide


def _flag(rng: np.random.Generator, image: FloatArray, color: Callable[[], FloatArray]) -> None:
    """Hanging cloth with folds at one side."""
    size = len(image)
    left = int(rng.uniform(-0.1, 0.75) * size)
    wide = int(rng.uniform(0.15, 0.45) * size)
    span = slice(max(left, 0), max(left + wide, 1))
    x = np.arange(size, dtype=np.float32)[span]
    folds = 1 + 0.3 * np.sin(x / np.float32(rng.uniform(4, 16)) + np.float32(rng.uniform(0, 6)))
    edges = np.sort(rng.integers(0, size, int(rng.integers(0, 4))))
    for part in np.split(np.arange(size), edges):
        if len(part):
            rows = slice(part[0], part[-1] + 1)
            image[rows, span] = color() * folds[None, :, None].astype(np.float32)


def _bystander(rng: np.random.Generator, image: FloatArray) -> None:
    """A person in the crowd: clothes, neck, head and hair as blobs."""
    size = len(image)
    r = float(np.exp(rng.uniform(np.log(0.04), np.log(0.2)))) * size
    x, y = rng.uniform(0, size), rng.uniform(0.1, 0.9) * size
    skin = float32([0.85, 0.66, 0.55]) * rng.uniform(0.35, 1.05)
    hair = rng.uniform(0.03, 0.35) * float32([1, 0.8, 0.65])
    cloth = rng.uniform(0.03, 0.9) * np.ones(3) if rng.random() < 0.6 else rng.uniform(0, 0.9, 3)

    def blob(dx: float, dy: float, rx: float, ry: float, color: Array) -> None:
        center = (int(x + dx * r), int(y + dy * r))
        axes = (max(1, int(rx * r)), max(1, int(ry * r)))
        cv2.ellipse(image, center, axes, 0, 0, 360, _value(color), -1, cv2.LINE_AA)

    blob(0, 3.6, 2.3, 2.4, cloth)
    blob(0, 1.2, 0.5, 0.8, skin * np.float32(0.8))
    blob(0, -0.25, 0.92, 1.15, hair)
    turn = rng.uniform(-0.25, 0.25)
    blob(turn, 0.15, 0.74, 0.98, skin)
    if r > 10 and rng.random() < 0.7:
        for side in (-0.3, 0.3):
            blob(turn + side, -0.05, 0.13, 0.06, hair)
        blob(turn, 0.6, 0.25, 0.07, skin * float32([0.75, 0.5, 0.5]))


def _logos(rng: np.random.Generator, image: FloatArray, color: Callable[[], FloatArray]) -> None:
    """Rows of lettering and emblems, as on the walls of press conferences."""
    size = len(image)
    fonts = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)
    font, scale = fonts[rng.integers(3)], float(rng.uniform(0.5, 2.6))
    lengths = rng.integers(2, 9, int(rng.integers(1, 4)))
    words = ["".join(rng.choice(list(_GLYPHS), length)) for length in lengths]
    inks = [_value(255 * color()) for _ in words]
    # Lettering is drawn on bytes only.
    wall = np.clip(255 * image, 0, 255).astype(np.uint8)
    thick = max(1, int(scale * rng.uniform(1.0, 4.0)))
    tall, wide = int(34 * scale * rng.uniform(1.1, 2.2)), int(size * rng.uniform(0.3, 1.0))
    for row, y in enumerate(range(int(rng.integers(0, tall)), size + tall, tall)):
        for column, x in enumerate(range(-wide // 2 * (row % 2), size, wide)):
            k = (row + column) % len(words)
            if rng.random() < 0.2:
                cv2.circle(wall, (x + wide // 2, y), tall // 3, inks[k], -1, cv2.LINE_AA)
            else:
                cv2.putText(wall, words[k], (x, y), font, scale, inks[k], thick, cv2.LINE_AA)
    image[:] = wall.astype(np.float32) / 255


def _disc(rng: np.random.Generator, image: FloatArray, color: FloatArray) -> None:
    size = len(image)
    center = tuple(map(int, rng.integers(0, size, 2)))
    bright = _value(np.clip(color * rng.uniform(1, 3), 0, 1))
    cv2.circle(image, center, int(rng.integers(size // 40, size // 8)), bright, -1, cv2.LINE_AA)


def _fractal(rng: np.random.Generator, size: int) -> FloatArray:
    """Noise with a 1/f^k spectrum, zero mean and unit variance."""
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    field = np.fft.irfft2(spectrum / (f + 1 / size) ** rng.uniform(1.0, 2.0), (size, size))
    return (field / field.std()).astype(np.float32)
