"""What stands behind a head: walls, rooms, foliage-like noise, lights out of focus."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def draw_background(rng: np.random.Generator, size: int) -> FloatArray:
    """One (size, size, 3) float32 linear background."""
    grey = rng.uniform(0.45, 0.97)

    def colour() -> FloatArray:
        c = rng.uniform(0.03, 0.95, 3) * rng.uniform(0.3, 1.0)
        return (c + grey * (c.mean() - c)).astype(np.float32)

    kind = rng.choice(["wall", "clutter", "room", "noise", "bokeh"], p=[0.22, 0.3, 0.24, 0.14, 0.1])
    image = _gradient(rng, size, colour(), colour())
    if kind == "clutter":
        for _ in range(int(rng.integers(6, 40))):
            _shape(rng, image, colour())
    elif kind == "room":
        _verticals(rng, image, colour)
        for _ in range(int(rng.integers(0, 8))):
            _shape(rng, image, colour())
    elif kind == "noise":
        for _ in range(int(rng.integers(0, 10))):
            _shape(rng, image, colour())
    elif kind == "bokeh":
        image *= np.float32(rng.uniform(0.1, 0.5))
        for _ in range(int(rng.integers(10, 50))):
            _disc(rng, image, colour())
    if kind != "wall":
        blur = float(np.exp(rng.uniform(-1.0, 2.0)))
        image = cv2.GaussianBlur(image, (0, 0), blur)
    if kind == "noise" or rng.random() < 0.4:
        strength = rng.uniform(0.15, 0.5) if kind == "noise" else rng.uniform(0.03, 0.15)
        image *= np.exp(np.float32(strength) * _fractal(rng, size))[..., None]
    return np.clip(image, 0, 1) ** np.float32(2.2)


def _gradient(
    rng: np.random.Generator, size: int, first: FloatArray, second: FloatArray
) -> FloatArray:
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    across, down = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    t = np.clip(np.float32(0.5) + axis * across + axis[:, None] * down, 0, 1)[..., None]
    if rng.random() < 0.4:
        second = first * np.float32(rng.uniform(0.6, 1.2))
    return (first * (1 - t) + second * t).astype(np.float32)


def _shape(rng: np.random.Generator, image: FloatArray, colour: FloatArray) -> None:
    size = len(image)
    at = rng.integers(-size // 8, size + size // 8, 2)
    extent = rng.integers(4, size // 2, 2)
    value = tuple(float(c) for c in colour)
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


def _verticals(rng: np.random.Generator, image: FloatArray, colour) -> None:  # type: ignore[no-untyped-def]
    """Panels, shelves and window-like bands."""
    size = len(image)
    x = 0
    while x < size:
        wide = int(rng.integers(size // 16, size // 3))
        cv2.rectangle(image, (x, 0), (x + wide, size), tuple(map(float, colour())), -1)
        if rng.random() < 0.4:
            for y in range(0, size, int(rng.integers(size // 12, size // 4))):
                shelf = tuple(map(float, colour()))
                cv2.rectangle(image, (x, y), (x + wide, y + size // 30), shelf, -1)
        x += wide


def _disc(rng: np.random.Generator, image: FloatArray, colour: FloatArray) -> None:
    size = len(image)
    centre = tuple(map(int, rng.integers(0, size, 2)))
    bright = tuple(float(c) for c in np.clip(colour * rng.uniform(1, 3), 0, 1))
    cv2.circle(image, centre, int(rng.integers(size // 40, size // 8)), bright, -1, cv2.LINE_AA)


def _fractal(rng: np.random.Generator, size: int) -> FloatArray:
    """Noise with a 1/f^k spectrum, zero mean and unit variance."""
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    field = np.fft.irfft2(spectrum / (f + 1 / size) ** rng.uniform(1.0, 2.0), (size, size))
    return (field / field.std()).astype(np.float32)
