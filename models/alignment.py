"""Alignment of a photo to the crop that R-Net sees, from five facial points.

Scale and position come from a weak-perspective fit of the photo's points to a 3D template,
as in the code released with the paper.  No in-plane rotation is removed: the network
regresses it.  The template is `MorphableModel.five_points`; the points' order is image-left
eye, image-right eye, nose tip, image-left mouth corner, image-right mouth corner.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CROP_SIZE

CROP_SCALE = 1.02
"""Pixels of the crop per mm of the template (102 px per 100 mm)."""

# Points whose spread across their main direction is below this share of the spread along it
# lie on a line, and say nothing about scale.  No view of a face comes near it.
_FLATNESS_LIMIT = 1e-3

# One quarter turn counter-clockwise of a picture, whose y axis points down: a point on the
# right (x) moves to the top (-y).
_QUARTER_TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])


def fit_weak_perspective(
    points: NDArray[Any], template: NDArray[Any]
) -> tuple[float, NDArray[np.float64]]:
    """Scale and translation of the weak-perspective camera that maps template to photo.

    points: (5, 2) photo px, y down.  template: (5, 3) mm.  The eight unknowns of
    (u, v) = A X + t, A (2, 3), are the least-squares solution of ten equations; the scale is
    the mean norm of A's rows.  Returns the scale in px per mm and the photo position (2,) of
    the template's origin.  Raises ValueError for shapes or values that cannot be fitted:
    points that are not finite, coincide or lie on a line, or a template in a plane.
    """
    points = np.asarray(points, np.float64)
    template = np.asarray(template, np.float64)
    if points.shape != (5, 2) or template.shape != (5, 3):
        raise ValueError(
            f"expected (5, 2) points and a (5, 3) template, got {points.shape} and {template.shape}"
        )
    if not (np.all(np.isfinite(points)) and np.all(np.isfinite(template))):
        raise ValueError("points and template must be finite")
    if _flatness(points) < _FLATNESS_LIMIT:
        raise ValueError("the facial points coincide or lie on a line")
    if _flatness(template) < _FLATNESS_LIMIT:
        raise ValueError("the template's points lie in a plane")
    # The ten equations fall apart into five for u and five for v with the same matrix.
    # Centring both sides takes the translation out, which keeps far-off points exact.
    centre, template_centre = points.mean(axis=0), template.mean(axis=0)
    affine = np.linalg.lstsq(template - template_centre, points - centre, rcond=None)[0].T
    scale = float(np.linalg.norm(affine, axis=1).mean())
    return scale, centre - affine @ template_centre


def crop_transform(
    points: NDArray[Any], template: NDArray[Any], quarter_turns: int = 0
) -> NDArray[np.float64]:
    """Affine map from photo px to px of the 224 crop: quarter turns, scale and translation.

    Arguments and errors as for `fit_weak_perspective`.  The photo is first turned
    counter-clockwise by `quarter_turns`; then the template's origin goes to the crop's centre,
    and one mm of the template spans 1.02 px.  Returns (2, 3) float64.
    """
    turn = np.linalg.matrix_power(_QUARTER_TURN, quarter_turns % 4)
    scale, origin = fit_weak_perspective(np.asarray(points, np.float64) @ turn.T, template)
    zoom = CROP_SCALE / scale
    return np.column_stack([zoom * turn, CROP_SIZE / 2 - zoom * origin])


def _flatness(points: NDArray[np.float64]) -> float:
    """Smallest over largest spread of points (n, d) about their mean; 0 when they coincide."""
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return float(spread[-1] / spread[0]) if spread[0] > 0.0 else 0.0
