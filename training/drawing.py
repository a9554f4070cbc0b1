"""Pictures of posed faces under soft lamps, for people to look at; nothing trains on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CROP_SIZE, depth, project
from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals
from facewright.models.rasterizer import interpolate, rasterize

# Image samples per pixel and axis.
SUPERSAMPLING = 2
BACKGROUND = 0.22
GRAY = 0.72
AMBIENT = 0.36
# Directions to the lamps (x right, y up, z to the camera) and their strengths.
LAMPS = (((0.5, 0.6, 0.8), 0.62), ((-0.7, 0.2, 0.5), 0.22), ((0.0, 1.0, 0.1), 0.10))


class Drawing(NamedTuple):
    """A face with soft edges and nothing behind it."""

    color: NDArray[np.float64]
    """(S, S, 3) RGB in [0, 1], multiplied by `cover`."""
    cover: NDArray[np.float64]
    """(S, S, 1), the share of each pixel that the face covers."""

    def over(self, background: Any, opacity: float = 1.0) -> NDArray[np.uint8]:
        """The face on a background, (S, S, 3) in [0, 1] or a shade: (S, S, 3) uint8."""
        mixed = opacity * self.color + (1 - opacity * self.cover) * background
        return (np.clip(mixed, 0, 1) * 255 + 0.5).astype(np.uint8)


def draw(
    model: MorphableModel,
    posed_mm: NDArray[Any],
    albedo: NDArray[np.float32] | None = None,
    size: int = CROP_SIZE,
) -> Drawing:
    """Draw a posed face (V, 3) mm as the crop camera sees it, `size` pixels wide.

    Args:
        model: whose triangles are drawn.
        posed_mm: vertices in the frame of the camera, see `models.camera.pose_points`.
        albedo: (V, 3) sRGB in [0, 1], or None for gray clay.
        size: of the picture in pixels.
    """
    posed = posed_mm[None].astype(np.float64)
    side = size * SUPERSAMPLING
    pixels = project(posed) * (side / CROP_SIZE)
    points = np.concatenate([pixels, depth(posed)[..., None]], axis=2)
    fragments = rasterize(points, model.triangles, side, side)
    colors = np.full(posed_mm.shape, GRAY) if albedo is None else albedo
    normals = vertex_normals(posed, model.triangles)
    attributes = np.concatenate([normals[0], colors], axis=1)[None]
    drawn = interpolate(fragments, model.triangles, attributes)[0].astype(np.float64)
    normal = drawn[..., :3] / np.maximum(
        np.linalg.norm(drawn[..., :3], axis=2, keepdims=True), 1e-6
    )
    light = np.full(normal.shape[:2], AMBIENT)
    for direction, strength in LAMPS:
        unit = np.array(direction) / np.linalg.norm(direction)
        light += strength * np.maximum(normal @ unit, 0)
    # Colors are display-referred; light adds in linear space.
    lit = drawn[..., 3:] * np.clip(light, 0, 1.2)[..., None] ** (1 / 2.2)
    cover = (fragments.triangle_ids[0] >= 0).astype(np.float64)[..., None]
    return Drawing(_shrunk(lit * cover), _shrunk(cover))


def _shrunk(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    size, channels = len(samples) // SUPERSAMPLING, samples.shape[2]
    blocks = samples.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, channels)
    shrunk: NDArray[np.float64] = blocks.mean(axis=(1, 3))
    return shrunk
