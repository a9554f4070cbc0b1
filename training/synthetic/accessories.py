"""Glasses on the head and things out of focus in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facewright.models.arrays import Array, FloatArray
from facewright.models.landmarks import LEFT_EYE, RIGHT_EYE


@dataclass(frozen=True, eq=False)
class Glasses:
    """A pair of glasses in model space.

    Attributes:
        rims: (2, n, 3) mm, closed outlines of the lenses.
        bars: (3, n, 3) mm: bridge and both temples.
        color: (3,) linear color of the frame.
        width: mm of the frame's wire.
        tint: (3,) linear color of the lenses; opacity: of the lenses.
        glare: strength of a reflection on the lenses.
    """

    rims: FloatArray
    bars: FloatArray
    color: FloatArray
    width: float
    tint: FloatArray
    opacity: float
    glare: float


@dataclass(frozen=True, eq=False)
class GlassesDesign:
    """The form of a pair of glasses, sizes relative to the distance between the eyes or in mm.

    Attributes:
        half_width, aspect: of a lens, relative; corners: 0.4 nearly square to 1 round.
        droop: factor on the lower half's height; drop, reach: place of the lenses, mm.
        wrap: curvature around the face; color: (3,) linear; width: mm of the frame.
        tint: (3,) linear; opacity: of the lenses.
    """

    half_width: float
    aspect: float
    corners: float
    droop: float
    drop: float
    reach: float
    wrap: float
    color: FloatArray
    width: float
    tint: FloatArray
    opacity: float

    @classmethod
    def draw(cls, rng: np.random.Generator, dark: bool) -> GlassesDesign:
        """Any design; with `dark` of sunglasses."""
        color = rng.uniform(0.004, 0.05, 3) if rng.random() < 0.75 else rng.uniform(0.02, 0.5, 3)
        wire = rng.random() < (0.35 if dark else 0.6)
        gray = 0.5 * np.ones(3)
        return cls(
            half_width=rng.uniform(0.36, 0.46) if dark else rng.uniform(0.33, 0.43),
            aspect=rng.uniform(0.6, 0.95) if dark else rng.uniform(0.5, 0.95),
            corners=rng.uniform(0.4, 1.0),
            droop=rng.uniform(0.85, 1.2),
            drop=rng.uniform(-5, 1),
            reach=rng.uniform(10, 15),
            wrap=rng.uniform(0.06, 0.2 if dark else 0.13),
            color=color.astype(np.float32),
            width=rng.uniform(0.5, 1.4) if wire else rng.uniform(2.0, 4.0),
            tint=(rng.uniform(0.003, 0.04, 3) if dark else gray).astype(np.float32),
            opacity=rng.uniform(0.7, 0.98) if dark else rng.uniform(0, 0.06),
        )

    def fit(
        self, rng: np.random.Generator, landmarks: FloatArray, ear_points: FloatArray
    ) -> Glasses:
        """Put them on a face.

        Args:
            rng: source of the glare.
            landmarks: (68, 3) mm of the face.
            ear_points: (2, 3) mm where the temples rest, image-left first.
        """
        eyes = np.stack([landmarks[LEFT_EYE].mean(0), landmarks[RIGHT_EYE].mean(0)])
        distance = float(np.linalg.norm(eyes[1] - eyes[0]))
        half_width = self.half_width * distance
        half_height = half_width * self.aspect
        angle = np.linspace(0, 2 * np.pi, 29)
        across = half_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** self.corners
        up = half_height * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** self.corners
        up = np.where(up < 0, up * self.droop, up)
        depth = max(float(landmarks[27, 2]) + 3.0, float(eyes[:, 2].max()) + self.reach)
        rims, bars = [], []
        for side, eye in zip((-1, 1), eyes, strict=True):
            center = [eye[0] * 1.02, eye[1] + self.drop, depth]
            rims.append(np.stack([across, up, -self.wrap * side * across], 1) + center)
        t = np.linspace(0, 1, 29)[:, None]
        inner = [rims[0][np.argmax(rims[0][:, 0])], rims[1][np.argmin(rims[1][:, 0])]]
        arch = np.stack([0 * t[:, 0], 2 * np.sin(np.pi * t[:, 0]), 2 + 0 * t[:, 0]], 1)
        bars.append(inner[0] * (1 - t) + inner[1] * t + arch)
        outer = [rims[0][np.argmin(rims[0][:, 0])], rims[1][np.argmax(rims[1][:, 0])]]
        for start, end in zip(outer, ear_points, strict=True):
            start = start + [0, 0.3 * half_height, 0]
            bars.append(start * (1 - t) + end * t)
        return Glasses(
            rims=np.asarray(rims, np.float32),
            bars=np.asarray(bars, np.float32),
            color=self.color,
            width=self.width,
            tint=self.tint,
            opacity=self.opacity,
            glare=float(rng.uniform(0.05, 0.6)) if rng.random() < 0.4 else 0.0,
        )


@dataclass(frozen=True, eq=False)
class GlassesCase:
    """The glasses that a person owns: a pair for seeing (None: not needed) and sunglasses."""

    clear: GlassesDesign | None
    dark: GlassesDesign

    @classmethod
    def draw(cls, rng: np.random.Generator, age: float) -> GlassesCase:
        """Old people need glasses more often; `age` in [0, 1]."""
        needed = rng.random() < 0.12 + 0.25 * age
        clear = GlassesDesign.draw(rng, dark=False) if needed else None
        return cls(clear, GlassesDesign.draw(rng, dark=True))

    def take(
        self, rng: np.random.Generator, landmarks: FloatArray, ear_points: FloatArray
    ) -> Glasses | None:
        """What is worn today, fitted as `GlassesDesign.fit` does."""
        if rng.random() < 0.03:
            return self.dark.fit(rng, landmarks, ear_points)
        if self.clear is not None and rng.random() < 0.85:
            return self.clear.fit(rng, landmarks, ear_points)
        return None


def tint_lens(
    rng: np.random.Generator,
    image: FloatArray,
    nearness: FloatArray,
    bare: FloatArray,
    outline: FloatArray,
    glasses: Glasses,
    light: float,
) -> None:
    """Lay one lens over a linear image.

    Args:
        rng: source of the glare's shape.
        image: (S, S, 3), changed in place.
        nearness: (S, S) 1000 / depth of what is seen; a dark lens is something to see.
        bare: (S, S), multiplied by what the lens lets through.
        outline: (n, 3) projected rim: x px, y px, 1000 / depth.
        glasses: whose lens it is.
        light: brightness of a reflection.
    """
    if glasses.opacity < 0.01 and glasses.glare == 0:
        return
    window, shape = _window_of(outline, len(image))
    if min(shape) < 2:
        return
    cover = lens_cover(nearness, outline)[window][..., None]
    through = 1 - cover[..., 0] * np.float32(min(1.0, glasses.opacity + 0.5 * glasses.glare))
    bare[window] *= through
    if glasses.opacity > 0.5:
        near = nearness[window]
        near[cover[..., 0] > 0.5] = outline[:, 2].mean()
    patch = image[window]
    patch += cover * np.float32(glasses.opacity) * (glasses.tint * np.float32(light) - patch)
    if glasses.glare > 0:
        slope = (
            np.linspace(-1, 1, shape[1], dtype=np.float32)[None] * np.float32(rng.normal(0, 1))
            + np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
        )
        band = np.exp(-(((slope - np.float32(rng.normal(0, 0.5))) / 0.4) ** 2))[..., None]
        if rng.random() < 0.4:
            band = _window(rng, shape[1], shape[0])
        patch += cover * band * np.float32(glasses.glare * light)


def lens_cover(nearness: FloatArray, outline: FloatArray) -> FloatArray:
    """(S, S) in [0, 1]: which pixels a lens lies before; arguments as of `tint_lens`."""
    cover = np.zeros_like(nearness)
    window, shape = _window_of(outline, len(nearness))
    mask = np.zeros(shape, np.uint8)
    corners = np.round((outline[:, :2] - [window[1].start, window[0].start]) * 8)
    cv2.fillPoly(mask, [corners.astype(np.int32)], 255, cv2.LINE_AA, 3)
    in_front = nearness[window] <= outline[:, 2].mean() * 1.004
    cover[window] = (mask * in_front).astype(np.float32) / np.float32(255)
    return cover


def _window_of(outline: FloatArray, size: int) -> tuple[tuple[slice, slice], tuple[int, int]]:
    """Rows and columns of an image around projected points, and how many there are."""
    low = np.floor(outline[:, :2].min(0)).astype(int).clip(0, size - 1)
    high = np.ceil(outline[:, :2].max(0)).astype(int).clip(0, size - 1) + 1
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    return (slice(y0, y1), slice(x0, x1)), (y1 - y0, x1 - x0)


def _window(rng: np.random.Generator, width: int, height: int) -> Array:
    """(height, width, 1) reflection of a bright window or softbox."""
    layer = np.zeros((height, width), np.float32)
    middle = (float(rng.uniform(0.2, 0.8) * width), float(rng.uniform(0.2, 0.7) * height))
    extent = (float(rng.uniform(0.15, 0.5) * width), float(rng.uniform(0.2, 0.6) * height))
    corners = cv2.boxPoints((middle, extent, float(rng.normal(0, 15))))
    cv2.fillConvexPoly(layer, corners.astype(np.int32), float(rng.uniform(0.8, 1.8)), cv2.LINE_AA)
    return cv2.GaussianBlur(layer, (0, 0), 1.2)[..., None]


def draw_blur_in_front(rng: np.random.Generator, image: Array, light: float) -> Array:
    """Put something near and out of focus before the scene, away from its center.

    Args:
        rng: source of the choices.
        image: (S, S, 3) linear, changed in place.
        light: brightness factor of the scene.

    Returns:
        (S, S) float32 in [0, 1]: what it covers.
    """
    size = len(image)
    layer = np.zeros((size, size), np.uint8)
    at = rng.uniform(0, size, 2)
    while np.linalg.norm(at - size / 2) < 0.3 * size:
        at = rng.uniform(0, size, 2)
    if rng.random() < 0.6:
        axes = rng.uniform(0.08, 0.28, 2) * size
        cv2.ellipse(layer, tuple(map(int, at)), tuple(map(int, axes)),
                    float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)  # fmt: skip
    else:
        corners = (at + rng.normal(0, 0.15 * size, (int(rng.integers(3, 6)), 2))).astype(np.int32)
        cv2.fillPoly(layer, [cv2.convexHull(corners)], 255, cv2.LINE_AA)
    soft = cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(1.5, 8))).astype(np.float32) / 255
    color = (rng.uniform(0.01, 0.6, 3) ** 1.6 * light).astype(np.float32)
    shade = np.linspace(0.6, 1.2, size, dtype=np.float32)[:, None, None]
    image += soft[..., None] * (color * shade - image)
    return soft
