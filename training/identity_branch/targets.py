"""The identities that a head is fitted to: true shapes, seen where the picture shows them.

R-Net's pose and expression were learned together with its own identity, and make up for some of
its errors: with the true one beside them, landmarks lie farther off. So the target is the shape
that is near the true one and, with R-Net's pose and expression, near the true landmarks.
"""

from __future__ import annotations

import numpy as np

from facewright.models.arrays import Array, DoubleArray
from facewright.models.camera import pose_points, project
from facewright.models.layout import CoefficientLayout
from facewright.models.morphable_model import MorphableModel

LANDMARKS_WEIGHT = 0.1
"""Of a landmark's squared distance, px², beside the shape's squared distance."""
JAW = slice(0, 17)
JAW_SHARE = 0.3
"""Of a jaw landmark's weight: it slides along the outline."""
SIGMAS_WEIGHT = 0.3
"""Of squared sigmas beside the shape's squared distance, which hardly sees some coefficients."""
BATCH = 250
_STEP = 0.5


def fitting_identities(
    model: MorphableModel,
    layout: CoefficientLayout,
    coefficients: Array,
    identity: Array,
    landmarks: Array,
    form: DoubleArray,
) -> DoubleArray:
    """Identities between the true shapes and the true landmarks under R-Net's pose, (N, 80).

    Minimizes, for each picture, ‖α − α*‖² in the metric of `form`, whose mean eigenvalue is taken
    as 1, and in sigmas, plus the squared distances of the projected landmarks, linearized.

    Args:
        model: the face model.
        layout: of the coefficients.
        coefficients: (N, layout.size), R-Net's.
        identity: (N, 80) α*, true.
        landmarks: (N, 68, 2) px of the crop, true.
        form: (80, 80) mm².
    """
    metric = form * len(form) / np.trace(form) + SIGMAS_WEIGHT * np.eye(len(form))
    weights = np.full((68, 2), LANDMARKS_WEIGHT)
    weights[JAW] *= JAW_SHARE
    found = np.empty((len(coefficients), len(form)))
    for start in range(0, len(coefficients), BATCH):
        rows = slice(start, start + BATCH)
        true = identity[rows].astype(np.float64)
        places, slopes = _landmarks(model, layout, coefficients[rows].astype(np.float64), true)
        missed = (landmarks[rows] - places).reshape(len(true), -1, 1)
        weighted = slopes.transpose(0, 2, 1) * weights.reshape(-1)
        found[rows] = true + np.linalg.solve(weighted @ slopes + metric, weighted @ missed)[..., 0]
    return found


def _landmarks(
    model: MorphableModel,
    layout: CoefficientLayout,
    coefficients: DoubleArray,
    identity: DoubleArray,
) -> tuple[DoubleArray, DoubleArray]:
    """Landmarks (N, 68, 2) px of an identity under R-Net's rest, and their slopes (N, 136, 80)."""
    rows = model.landmarks
    basis = model.refine(model.identity_basis)[:, rows].astype(np.float64)
    moving = model.refine(model.expression_basis)[:, rows].astype(np.float64)
    parts = layout.split(coefficients)
    still = model.mean_vertices[rows] + np.einsum("nk,kvc->nvc", parts.expression, moving)

    def seen(alpha: DoubleArray) -> DoubleArray:
        shape = still + np.einsum("nk,kvc->nvc", alpha, basis)
        return np.asarray(project(pose_points(shape, parts.rotation, parts.translation)))

    slopes = np.empty((len(identity), 2 * len(rows), len(basis)))
    for k in range(len(basis)):
        step = np.zeros(len(basis))
        step[k] = _STEP
        rise = (seen(identity + step) - seen(identity - step)) / (2 * _STEP)
        slopes[:, :, k] = rise.reshape(len(identity), -1)
    return seen(identity), slopes
