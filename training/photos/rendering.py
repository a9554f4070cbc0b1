"""Faces drawn as their coefficients say, to hold against the photographs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facewright.models.arrays import Array
from facewright.models.camera import CROP_SIZE, depth, pose_points, project
from facewright.models.layout import CoefficientLayout
from facewright.models.light import shade
from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals
from facewright.models.rasterizer import EMPTY, interpolate, rasterize

# Faces at once: bounds memory.
_CHUNK = 8


def render_faces(
    model: MorphableModel, layout: CoefficientLayout, coefficients: Array
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Lit, z-buffered faces in their crops (paper, equation 1 and section 3).

    Args:
        model: the face model.
        layout: of the coefficients.
        coefficients: (N, size).

    Returns:
        Pictures (N, 224, 224, 3) in 0..255, and the region of the face (N, 224, 224).
    """
    parts = layout.split(np.asarray(coefficients, np.float32))
    shape = model.shape(parts.identity, parts.expression)
    posed = pose_points(shape, parts.rotation, parts.translation)
    normals = vertex_normals(posed, model.triangles)
    colors = shade(model.albedo(parts.albedo), normals, parts.light)
    points = np.concatenate([project(posed), depth(posed)[..., None]], axis=2)
    fragments = rasterize(points, model.triangles, CROP_SIZE, CROP_SIZE)
    pictures = interpolate(fragments, model.triangles, colors)
    return 255 * pictures.clip(0, 1), fragments.triangle_ids != EMPTY


def color_errors(
    model: MorphableModel, layout: CoefficientLayout, coefficients: Array, crops_u8: Array
) -> Array:
    """Mean absolute color difference (N,), 0..255, of drawn faces and photographs.

    Args:
        model: the face model.
        layout: of the coefficients.
        coefficients: (N, size).
        crops_u8: (N, 224, 224, 3) uint8 RGB.

    Returns:
        Over the channels and the region of the drawn face; NaN where it is empty.
    """
    errors = np.full(len(coefficients), np.nan)
    for k in range(0, len(coefficients), _CHUNK):
        rows = range(k, min(k + _CHUNK, len(coefficients)))
        pictures, regions = render_faces(model, layout, coefficients[k : k + _CHUNK])
        for row, picture, region in zip(rows, pictures, regions, strict=True):
            if region.any():
                errors[row] = np.abs(picture[region] - crops_u8[row][region]).mean()
    return errors
