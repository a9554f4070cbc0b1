"""What is known about a portrait beside its coefficients: light, visible landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import FloatArray
from facewright.models.light import sh_basis


def fit_light(colors: FloatArray, albedo: FloatArray, normals: FloatArray) -> FloatArray:
    """Spherical-harmonics light (9,) that explains displayed colors.

    Least squares of color = albedo * (Phi(n) . gamma), the paper's Lambertian light (section 3),
    over all points and channels; bands that the visible normals leave open are kept near zero.

    Args:
        colors: (n, 3) display values in [0, 1].
        albedo: (n, 3) display-referred sRGB.
        normals: (n, 3) unit, in the frame of the posed model.
    """
    basis = sh_basis(normals.astype(np.float64))
    weight = (albedo.astype(np.float64) ** 2).sum(1)
    target = (albedo.astype(np.float64) * colors).sum(1)
    gram = (basis * weight[:, None]).T @ basis
    ridge = 1e-3 * weight.sum() * np.diag([0, *[1] * 3, *[2] * 5])
    return np.linalg.solve(gram + ridge, basis.T @ target).astype(np.float32)


def visible_landmarks(
    projected: FloatArray, nearness: FloatArray, tolerance: float
) -> NDArray[np.bool_]:
    """Which landmarks nothing hides.

    Args:
        projected: (68, 3): x px, y px of the nearness image, 1000 / depth.
        nearness: (S, S) 1000 / depth of what each pixel sees.
        tolerance: relative nearness by which something must be in front to hide a landmark.

    Returns:
        (68,) bool; False outside the image. On silhouettes one free neighbor pixel is enough.
    """
    size = nearness.shape[0]
    column = np.floor(projected[:, 0]).astype(int)
    row = np.floor(projected[:, 1]).astype(int)
    inside = (column >= 1) & (row >= 1) & (column < size - 1) & (row < size - 1)
    column, row = column.clip(1, size - 2), row.clip(1, size - 2)
    seen = np.min(
        [nearness[row + dy, column + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)], axis=0
    )
    return inside & (seen <= projected[:, 2] * (1 + tolerance))
