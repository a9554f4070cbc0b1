"""Spherical-harmonics light on a Lambertian surface (NumPy; `light_torch` is its twin).

Ramamoorthi & Hanrahan 2001, "An Efficient Representation for Irradiance Environment Maps":
the irradiance of a convex Lambertian surface under distant light is, to about one percent,
a combination of the nine harmonics of order 0 to 2 of its normal.  The paper (section 3)
uses C(n, t | gamma) = t * sum_b gamma_b Phi_b(n) with B = 3 bands.

The scaling of the harmonics is that of the released checkpoints: Phi_lm is
s_l * A_l * Y_lm with the clamped cosine's A = (pi, 2 pi/3, pi/4), the real harmonics Y_lm
with Condon-Shortley phase, and the constants s = (1, sqrt 3, sqrt 8).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BAND_COUNT = 9
"""Number of harmonics of order 0, 1 and 2."""

PHI_0 = math.pi / math.sqrt(4 * math.pi)
PHI_1 = (2 * math.pi / math.sqrt(3)) * (math.sqrt(3) / math.sqrt(4 * math.pi))
PHI_2 = (2 * math.pi / math.sqrt(8)) * (3 * math.sqrt(5) / math.sqrt(12 * math.pi))
PHI_2_ZONAL = PHI_2 / (2 * math.sqrt(3))
"""Factors a_l * c_l of the three orders; the zonal harmonic of order 2 has its own."""


def sh_basis(normals: NDArray[Any]) -> NDArray[Any]:
    """Evaluate Phi_1..Phi_9 at unit normals.

    normals: (..., 3) float, unit length.  Returns (..., 9) of the same dtype.
    """
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    basis = np.empty((*normals.shape[:-1], BAND_COUNT), normals.dtype)
    basis[..., 0] = PHI_0
    basis[..., 1] = -PHI_1 * y
    basis[..., 2] = PHI_1 * z
    basis[..., 3] = -PHI_1 * x
    basis[..., 4] = PHI_2 * x * y
    basis[..., 5] = -PHI_2 * y * z
    basis[..., 6] = PHI_2_ZONAL * (3 * z * z - 1)
    basis[..., 7] = -PHI_2 * x * z
    basis[..., 8] = (PHI_2 / 2) * (x * x - y * y)
    return basis


def shade(albedo: NDArray[Any], normals: NDArray[Any], light: NDArray[Any]) -> NDArray[Any]:
    """Color of lit vertices: C(n, t | gamma) = t * sum_b gamma_b Phi_b(n).

    albedo: (N, V, 3).  normals: (N, V, 3), unit, in the camera-aligned frame (posed).
    light: (N, C, 9) with C = 1 (monochrome) or 3 (one set per color channel).
    Returns (N, V, 3), not clipped.
    """
    return albedo * (sh_basis(normals) @ light.swapaxes(-1, -2))
