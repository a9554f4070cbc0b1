"""Glasses on the head and things in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.landmarks import LEFT_EYE, RIGHT_EYE

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Glasses:
    """A pair of glasses in model space.

    Attributes:
        rims: (2, n, 3) mm, closed outlines of the lenses.
        bars: (3, n, 3) mm: bridge and both temples.
        colour: (3,) linear colour of the frame.
        width: mm of the frame's wire.
        tint: (3,) linear colour of the lenses; opacity: of the lenses.
        glare: strength of a reflection on the lenses.
    """

    rims: FloatArray
    bars: FloatArray
    colour: FloatArray
    width: float
    tint: FloatArray
    opacity: float
    glare: float


def draw_glasses(
    rng: np.random.Generator, landmarks: FloatArray, ear_points: FloatArray
) -> Glasses:
    """Fit a random pair to a face.

    Args:
        rng: source of the choices.
        landmarks: (68, 3) mm of the face.
        ear_points: (2, 3) mm where the temples rest, image-left first.
    """
    eyes = np.stack([landmarks[LEFT_EYE].mean(0), landmarks[RIGHT_EYE].mean(0)])
    distance = float(np.linalg.norm(eyes[1] - eyes[0]))
    half_width = rng.uniform(0.34, 0.43) * distance
    half_height = half_width * rng.uniform(0.55, 0.95)
    exponent = rng.uniform(0.4, 1.0)
    angle = np.linspace(0, 2 * np.pi, 29)
    across = half_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** exponent
    up = half_height * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** exponent
    up = np.where(up < 0, up * rng.uniform(0.85, 1.2), up)
    depth = max(float(landmarks[27, 2]) + 3.0, float(eyes[:, 2].max()) + rng.uniform(10, 15))
    drop = rng.uniform(-4, 1)
    rims, bars = [], []
    for side, eye in zip((-1, 1), eyes, strict=True):
        wrap = -rng.uniform(0.06, 0.16) * side * across
        centre = [eye[0] * rng.uniform(1.0, 1.05), eye[1] + drop, depth]
        rims.append(np.stack([across, up, wrap], 1) + centre)
    bridge = np.linspace(0, 1, 29)[:, None]
    inner = [rims[0][np.argmax(rims[0][:, 0])], rims[1][np.argmin(rims[1][:, 0])]]
    arch = np.stack([0 * bridge[:, 0], 2 * np.sin(np.pi * bridge[:, 0]), 2 + 0 * bridge[:, 0]], 1)
    bars.append(inner[0] * (1 - bridge) + inner[1] * bridge + arch)
    outer = [rims[0][np.argmin(rims[0][:, 0])], rims[1][np.argmax(rims[1][:, 0])]]
    for start, end in zip(outer, ear_points, strict=True):
        start = start + [0, 0.3 * half_height, 0]
        bars.append(start * (1 - bridge) + end * bridge)
    dark = rng.random() < 0.25
    frame = rng.uniform(0.004, 0.05, 3) if rng.random() < 0.7 else rng.uniform(0.02, 0.5, 3)
    return Glasses(
        rims=np.asarray(rims, np.float32),
        bars=np.asarray(bars, np.float32),
        colour=frame.astype(np.float32),
        width=float(rng.uniform(0.7, 3.2)),
        tint=(rng.uniform(0.004, 0.06, 3) if dark else np.ones(3) * 0.5).astype(np.float32),
        opacity=float(rng.uniform(0.6, 0.97)) if dark else float(rng.uniform(0, 0.06)),
        glare=float(rng.uniform(0, 0.5)) if rng.random() < 0.35 else 0.0,
    )


def tint_lens(
    rng: np.random.Generator,
    image: FloatArray,
    nearness: FloatArray,
    outline: FloatArray,
    glasses: Glasses,
    light: float,
) -> None:
    """Lay one lens over a linear image.

    Args:
        rng: source of the glare's shape.
        image: (S, S, 3), changed in place.
        nearness: (S, S) 1000 / depth of what is seen.
        outline: (n, 3) projected rim: x px, y px, 1000 / depth.
        glasses: whose lens it is.
        light: brightness of a reflection.
    """
    if glasses.opacity < 0.01 and glasses.glare == 0:
        return
    low = np.floor(outline[:, :2].min(0)).astype(int).clip(0, len(image) - 1)
    high = np.ceil(outline[:, :2].max(0)).astype(int).clip(0, len(image) - 1) + 1
    x0, y0, x1, y1 = int(low[0]), int(low[1]), int(high[0]), int(high[1])
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    corners = np.round((outline[:, :2] - [x0, y0]) * 8).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, 3)
    in_front = nearness[y0:y1, x0:x1] <= outline[:, 2].mean() * 1.004
    cover = (mask * in_front).astype(np.float32)[..., None] / np.float32(255)
    patch = image[y0:y1, x0:x1]
    patch += cover * np.float32(glasses.opacity) * (glasses.tint * np.float32(light) - patch)
    if glasses.glare > 0:
        slope = (
            np.linspace(-1, 1, x1 - x0, dtype=np.float32)[None] * np.float32(rng.normal(0, 1))
            + np.linspace(-1, 1, y1 - y0, dtype=np.float32)[:, None]
        )
        band = np.exp(-(((slope - np.float32(rng.normal(0, 0.5))) / 0.4) ** 2))[..., None]
        patch += cover * band * np.float32(glasses.glare * light)


def draw_occluder(
    rng: np.random.Generator, image: FloatArray, skin: FloatArray, light: float
) -> FloatArray:
    """Put a hand-, microphone-, scarf- or frame-like thing before the scene, away from its centre.

    Args:
        rng: source of the choices.
        image: (S, S, 3) linear, changed in place.
        skin: (3,) linear skin colour for hand-like things.
        light: brightness factor of the scene.

    Returns:
        (S, S) float32 in [0, 1]: what it covers.
    """
    size = len(image)
    if rng.random() < 0.45:
        colour = skin * rng.uniform(0.6, 1.2)
    else:
        colour = rng.uniform(0.01, 0.8, 3) ** 1.6
    layer = np.zeros((size, size), np.uint8)
    at = rng.uniform(0, size, 2)
    while np.linalg.norm(at - size / 2) < 0.19 * size:
        at = rng.uniform(0, size, 2)
    kind = rng.integers(3)
    if kind == 0:
        axes = rng.uniform(0.04, 0.2, 2) * size
        cv2.ellipse(layer, tuple(map(int, at)), tuple(map(int, axes)),
                    float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)  # fmt: skip
    elif kind == 1:
        # A few finger-like strokes.
        direction = rng.normal(0, 1, 2)
        direction *= rng.uniform(0.15, 0.5) * size / np.linalg.norm(direction)
        gap = np.array([-direction[1], direction[0]]) / np.linalg.norm(direction)
        thick = rng.uniform(0.03, 0.09) * size
        for k in range(int(rng.integers(1, 5))):
            start = at + gap * thick * 1.05 * k
            end = start + direction * rng.uniform(0.7, 1.1)
            cv2.line(layer, tuple(map(int, start)), tuple(map(int, end)), 255,
                     max(2, int(thick)), cv2.LINE_AA)  # fmt: skip
    else:
        corners = (at + rng.normal(0, 0.13 * size, (int(rng.integers(3, 6)), 2))).astype(np.int32)
        cv2.fillPoly(layer, [cv2.convexHull(corners)], 255, cv2.LINE_AA)
    soft = cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(0.5, 3))).astype(np.float32)
    slope = np.linspace(0.6, 1.2, size, dtype=np.float32)
    slope = slope if rng.random() < 0.5 else slope[::-1]
    shade = slope[:, None] if rng.random() < 0.5 else np.broadcast_to(slope, (size, size))
    # Rounded: darker towards the rim.
    shade = shade * (0.55 + 0.45 * cv2.GaussianBlur(layer, (0, 0), 7) / 255.0)
    cover = (soft / 255)[..., None]
    image += cover * ((colour * light).astype(np.float32) * shade[..., None] - image)
    return cover[..., 0]
