"""From scene light to the bytes of a photo: exposure, tone curve, lens, sensor and compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import Array, FloatArray, float32

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Development:
    """How linear light becomes display values: gain (3,), shoulder, contrast, brightness."""

    gain: FloatArray
    shoulder: float
    contrast: float
    brightness: float
    saturation: float

    def __call__(self, linear: FloatArray) -> FloatArray:
        """Display-referred values in [0, 1] of linear colors (..., 3)."""
        x = linear * self.gain
        x = x * np.float32(1 + self.shoulder) / (1 + np.float32(self.shoulder) * x)
        x = np.clip(x, 0, 1) ** np.float32(1 / 2.2)
        x = (x - np.float32(0.5)) * np.float32(self.contrast) + np.float32(0.5 + self.brightness)
        gray = (x @ np.full(3, 1 / 3, np.float32))[..., None]
        return np.clip(gray + np.float32(self.saturation) * (x - gray), 0, 1)


def draw_development(rng: np.random.Generator, incident: float) -> Development:
    """Expose more or less well for a face that `incident` light falls on (mean, linear).

    As by an incident-light meter: pale skin comes out pale and dark skin dark. A camera that
    meters the face itself would give all skin one brightness, and the light would tell the tone.
    """
    exposure = np.exp(rng.normal(np.log(0.82), 0.3)) / max(incident, 0.02)
    kind = rng.random()
    if kind < 0.08:
        exposure *= rng.uniform(0.2, 0.55)
    elif kind < 0.14:
        exposure *= rng.uniform(1.4, 2.2)
    cast = 0.18 if rng.random() < 0.1 else 0.06
    balance = np.exp(rng.normal(0, 0.5 * cast, 3) + rng.normal(0, cast) * np.array([1, 0, -1]))
    return Development(
        gain=(exposure * balance).astype(np.float32),
        shoulder=float(rng.uniform(0.15, 1.1)),
        contrast=float(np.exp(rng.normal(0.08, 0.13))),
        brightness=float(rng.normal(0, 0.025)),
        saturation=float(rng.uniform(0.75, 1.3)),
    )


def degrade(rng: np.random.Generator, image: Array) -> Image:
    """Blur, low resolution, grayscale, noise and JPEG, each now and then.

    Args:
        rng: source of the choices.
        image: (S, S, 3) float32 display values in [0, 1].

    Returns:
        (S, S, 3) uint8 RGB.
    """
    size = image.shape[0]
    if rng.random() < 0.22:
        image = _video(rng, image)
    elif rng.random() < 0.45:
        # Small faces in the background of a photo are coarse.
        low = max(24, int(size * rng.uniform(0.14 if rng.random() < 0.2 else 0.28, 0.9)))
        small = cv2.resize(image, (low, low), interpolation=cv2.INTER_AREA)
        back = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
        image = cv2.resize(small, (size, size), interpolation=back)
    if rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.8)))
    if rng.random() < 0.07:
        image = cv2.filter2D(image, -1, _motion_kernel(rng))
    if rng.random() < 0.25:
        soft = cv2.GaussianBlur(image, (0, 0), 1.5)
        image = image + np.float32(rng.uniform(0.2, 0.9)) * (image - soft)
    if rng.random() < 0.2:
        image = image * _vignette(rng, size)
    if rng.random() < 0.08:
        gray = image @ float32([0.299, 0.587, 0.114])
        image = np.repeat(gray[..., None], 3, axis=2)
    image = image + np.float32(rng.gamma(1.2, 0.006)) * rng.standard_normal(
        (size, size, 1), dtype=np.float32
    )
    if rng.random() < 0.5:
        chroma: Array = rng.standard_normal((size // 2, size // 2, 3), dtype=np.float32)
        chroma = cv2.resize(chroma, (size, size))
        image = image + np.float32(rng.gamma(1.2, 0.007)) * chroma
    out = (np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    if rng.random() < 0.7:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(28, 97))]
        # The codec takes BGR; the chroma planes must be the image's own.
        encoded = cv2.imencode(".jpg", np.ascontiguousarray(out[..., ::-1]), quality)[1]
        decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
        out = np.ascontiguousarray(decoded[..., ::-1])
    return out


def draw_border(rng: np.random.Generator, image: FloatArray, turned: float = 0.0) -> Array | None:
    """Frame the photo as turned, cropped and letter-boxed pictures are framed.

    Args:
        rng: source of the choices.
        image: (S, S, 3) float32, changed in place.
        turned: degrees by which the crop shows the photo turned clockwise.

    Returns:
        (S, S) float32 in [0, 1], what the border covers; None when there is none.
    """
    if rng.random() >= 0.2:
        return None
    size = image.shape[0]
    inside = np.zeros((size, size), np.uint8)
    # Scans and mounted pictures are turned themselves.
    angle = turned + (float(rng.normal(0, 5)) if rng.random() < 0.25 else 0.0)
    half = size * (0.5 + rng.gamma(1.5, 0.05, 4) * rng.choice([-1, 1], 4, p=[0.55, 0.45]))
    left, right, top, bottom = np.clip(half, 0.36 * size, None)
    corners = np.array([[-left, -top], [right, -top], [right, bottom], [-left, bottom]])
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    placed = corners @ [[c, s], [-s, c]] + size / 2
    cv2.fillConvexPoly(inside, np.round(placed * 8).astype(np.int32), 255, cv2.LINE_AA, 3)
    cover = 1 - inside.astype(np.float32) / 255
    if not cover.any():
        return None
    tone = float(rng.uniform(0, 1)) if rng.random() < 0.12 else 0.0
    image += cover[..., None] * (np.float32(tone) - image)
    return cover


def _video(rng: np.random.Generator, image: Array) -> Array:
    """A face from a compressed film: few pixels, coarse blocks, smeared colors, drawn large."""
    size = image.shape[0]
    low = int(size * rng.uniform(0.26, 0.7))
    small = cv2.resize(image, (low, low), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        small = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(0.3, 0.8)))
    out = (np.clip(small, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 70))]
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(out[..., ::-1]), quality)[1]
    film = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1].astype(np.float32)
    back = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
    large = cv2.resize(np.ascontiguousarray(film), (size, size), interpolation=back)
    return large * np.float32(1 / 255)


def _motion_kernel(rng: np.random.Generator) -> FloatArray:
    kernel = np.zeros((9, 9), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = rng.uniform(1.5, 4) * np.array([np.cos(angle), np.sin(angle)])
    start, end = np.round(4 - reach).astype(int), np.round(4 + reach).astype(int)
    cv2.line(kernel, tuple(map(int, start)), tuple(map(int, end)), 1.0)
    return kernel / kernel.sum()


def _vignette(rng: np.random.Generator, size: int) -> FloatArray:
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    dx, dy = rng.normal(0, 0.2, 2)
    squared = (axis - np.float32(dx)) ** 2 + (axis[:, None] - np.float32(dy)) ** 2
    return (1 / (1 + np.float32(rng.uniform(0.05, 0.3)) * squared))[..., None]
