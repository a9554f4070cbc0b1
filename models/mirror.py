"""The mirror image of a face, in coefficients.

Mirroring takes x to -x and each vertex to its partner.  A model whose mean is symmetric and
whose bases span their own mirror images (this project's is built so) mirrors exactly; for
other models the matrices are the best approximation.  Training uses it to flip photographs
together with their labels.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CROP_SIZE
from facewright.models.landmarks import MIRROR_ORDER
from facewright.models.layout import Coefficients
from facewright.models.morphable_model import MorphableModel

FLIP_X: Final = np.array([-1.0, 1.0, 1.0], np.float32)
"""Signs of a mirrored point, and of the translation."""
FLIP_ANGLES: Final = np.array([1.0, -1.0, -1.0], np.float32)
"""Signs of mirrored pitch, yaw and roll: F R F = Rz(-roll) Ry(-yaw) Rx(pitch)."""
FLIP_LIGHT: Final = np.array([1, 1, 1, -1, -1, 1, 1, -1, 1], np.float32)
"""Signs of the mirrored light: the harmonics that are odd in x change theirs."""


class MirrorMatrices(NamedTuple):
    """Coefficients of the mirrored face are `coefficients @ matrix`; float32."""

    identity: NDArray[np.float32]
    """(n_identity, n_identity)."""
    expression: NDArray[np.float32]
    """(n_expression, n_expression)."""
    albedo: NDArray[np.float32]
    """(n_albedo, n_albedo)."""


def mirror_matrices(model: MorphableModel) -> MirrorMatrices:
    """Least-squares mirror matrices of a model, its vertices weighted by their surface area."""
    weights = _vertex_areas(model)
    return MirrorMatrices(
        _solve(model.refine(model.identity_basis), model.mirror, weights, FLIP_X),
        _solve(model.refine(model.expression_basis), model.mirror, weights, FLIP_X),
        _solve(model.albedo_basis, model.mirror, weights, np.ones(3, np.float32)),
    )


def mirror_coefficients(coefficients: Coefficients, matrices: MirrorMatrices) -> Coefficients:
    """Coefficients (NumPy) of the mirrored faces under mirrored pose and light."""
    return Coefficients(
        identity=coefficients.identity @ matrices.identity,
        expression=coefficients.expression @ matrices.expression,
        albedo=coefficients.albedo @ matrices.albedo,
        light=coefficients.light * FLIP_LIGHT,
        rotation=coefficients.rotation * FLIP_ANGLES,
        translation=coefficients.translation * FLIP_X,
    )


def mirror_landmarks(points: NDArray[Any]) -> NDArray[Any]:
    """Landmarks (..., 68, 2) in px of a crop to those in the mirrored crop."""
    mirrored = points[..., MIRROR_ORDER, :].copy()
    mirrored[..., 0] = CROP_SIZE - mirrored[..., 0]
    return mirrored


def _solve(
    basis: NDArray[np.float32],
    mirror: NDArray[np.int32],
    weights: NDArray[np.float64],
    signs: NDArray[np.float32],
) -> NDArray[np.float32]:
    """M (k, k) that minimizes the weighted norm of M @ basis - mirrored basis."""
    count = len(basis)
    mirrored = (basis[:, mirror] * signs).reshape(count, -1)
    flat = basis.reshape(count, -1)
    weighted = flat * np.repeat(weights, 3)
    # The normal equations, in float64: modes are close to orthogonal, so these are sound; the
    # pseudo-inverse allows for modes of no size.
    gram = weighted @ flat.T
    return ((mirrored @ weighted.T) @ np.linalg.pinv(gram, hermitian=True)).astype(np.float32)


def _vertex_areas(model: MorphableModel) -> NDArray[np.float64]:
    """(V,) mm^2: a third of the adjacent triangles' area on the mean shape, symmetric."""
    corners = model.mean_vertices.astype(np.float64)[model.triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(cross, axis=-1) / 6.0
    total = np.bincount(
        model.triangles.reshape(-1), np.repeat(areas, 3), minlength=model.n_vertices
    )
    return (total + total[model.mirror]) / 2.0
