"""A picture of the face model itself, for the benchmark: nobody's photo, and always at hand."""

from __future__ import annotations

import cv2
import numpy as np

from facewright.models.arrays import ByteArray
from facewright.models.camera import CROP_SIZE, depth, pose_points, project
from facewright.models.light import shade
from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals
from facewright.models.rasterizer import interpolate, rasterize

_HEIGHT, _WIDTH = 800, 640
_SCALE = 2.6
"""Photo pixels per pixel of the crop camera: the face is some 450 px high."""

_ANGLES = np.radians([[3.0, -12.0, 4.0]]).astype(np.float32)
_LIGHT = np.array([[[0.80, -0.18, 0.30, 0.12, 0.0, 0.0, 0.0, 0.0, 0.0]]], np.float32)


def render_portrait(model: MorphableModel, seed: int = 7) -> ByteArray:
    """Render a random person of the face model before a plain backdrop.

    Returns (800, 640, 3) RGB.  The same seed gives the same person.
    """
    random = np.random.default_rng(seed)
    identity = 0.6 * random.standard_normal((1, model.n_identity), dtype=np.float32)
    albedo = model.albedo(0.6 * random.standard_normal((1, model.n_albedo), dtype=np.float32))
    vertices = model.shape(identity, np.zeros((1, model.n_expression), np.float32))
    posed = pose_points(vertices, _ANGLES, np.zeros((1, 3), np.float32))
    colors = shade(albedo, vertex_normals(posed, model.triangles), _LIGHT)

    pixels = (project(posed) - CROP_SIZE / 2) * _SCALE + (_WIDTH / 2, _HEIGHT / 2)
    points = np.concatenate([pixels, depth(posed)[..., None]], axis=-1).astype(np.float32)
    fragments = rasterize(points, model.triangles, _HEIGHT, _WIDTH)
    face = interpolate(fragments, model.triangles, colors)[0]
    covered = (fragments.triangle_ids[0] >= 0).astype(np.float32)

    # A soft edge stands in for hair and neck, which the face model does not have.
    weight = cv2.GaussianBlur(covered, (0, 0), 2.0)[..., None]
    down = np.linspace(0.75, 0.35, _HEIGHT, dtype=np.float32)[:, None, None]
    backdrop = down * np.array([0.80, 0.88, 0.95], np.float32)
    picture = np.where(covered[..., None] > 0, weight * face + (1 - weight) * backdrop, backdrop)
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
