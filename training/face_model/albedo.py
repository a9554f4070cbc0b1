"""The albedo space: principal components of sampled skin, hair and eye colors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facewright.training.appearance.skin import SkinSampler
from facewright.training.appearance.surface import Surface
from facewright.training.face_model.components import Components, mirror_field, symmetric_components
from facewright.training.face_model.rigid import vertex_areas

N_ALBEDO = 80
N_SAMPLES = 900
SEED = 20190322
#: Limits of a vertex's weight relative to the mean: small triangles (lids, lips) still count.
WEIGHT_LIMITS = (0.3, 2.0)


def face_surface(
    points: np.ndarray,
    triangles: np.ndarray,
    parts: np.ndarray,
    landmarks: np.ndarray,
    masks: dict[str, np.ndarray],
) -> Surface:
    """The surface that colors are sampled on: the mean face (V, 3), its landmarks' indices."""
    points = points.astype(np.float32)
    return Surface(
        points=points,
        triangles=triangles.astype(np.int32),
        masks={name: mask.astype(np.float32) for name, mask in masks.items()},
        parts=parts,
        landmarks=points[landmarks],
    )


def build_albedo(
    surface: Surface, mirror: np.ndarray, advance: Callable[[], None]
) -> tuple[np.ndarray, Components]:
    """Draw people's colors and take the leading 80 components.

    Args:
        surface: the mean face.
        mirror: (V,) mirror map.
        advance: called after every sample.

    Returns:
        The (V, 3) symmetric mean, display-referred sRGB, and the components (80, V, 3).
    """
    sampler = SkinSampler(surface)
    rng = np.random.default_rng(SEED)
    colors = np.empty((N_SAMPLES, len(surface.points), 3), np.float32)
    for row in colors:
        row[:] = sampler.sample(rng).albedo_srgb
        advance()
    mean = colors.mean(axis=0, dtype=np.float64)
    mean = (mean + mirror_field(mean, mirror, flip=False)) / 2
    colors -= mean.astype(np.float32)
    areas = vertex_areas(surface.points.astype(np.float64), surface.triangles)
    weights = np.clip(areas / areas.mean(), *WEIGHT_LIMITS)
    weights = (weights + weights[mirror]) / 2
    return mean, symmetric_components(colors, weights, mirror, N_ALBEDO, flip=False)
