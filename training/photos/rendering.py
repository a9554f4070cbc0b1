"""Faces drawn as their coefficients say, to hold against the photographs."""

from __future__ import annotations

from collections.abc import Iterator

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
    both = drawn_and_seen(model, layout, coefficients, crops_u8)
    return np.array([np.abs(d - s).mean() if len(d) else np.nan for d, s in both])


def drawn_and_seen(
    model: MorphableModel, layout: CoefficientLayout, coefficients: Array, crops_u8: Array
) -> Iterator[Array]:
    """Colors (2, P, 3), 0..255, of each face as drawn and of its photograph beneath it.

    Arguments are those of `color_errors`; P is 0 where nothing of the face is in the crop.
    """
    for k in range(0, len(coefficients), _CHUNK):
        rows = slice(k, k + _CHUNK)
        pictures, regions = render_faces(model, layout, coefficients[rows])
        for picture, region, photo in zip(pictures, regions, crops_u8[rows], strict=True):
            yield np.stack([picture[region], photo[region]])
