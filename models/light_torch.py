"""Torch twin of `light`: same names, shapes and constants, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from facewright.models.light import BAND_COUNT, PHI_0, PHI_1, PHI_2, PHI_2_ZONAL

__all__ = ["BAND_COUNT", "sh_basis", "shade"]


def sh_basis(normals: Tensor) -> Tensor:
    """Phi_1..Phi_9 (..., 9) at unit normals (..., 3)."""
    x, y, z = normals.unbind(-1)
    return torch.stack(
        [
            torch.full_like(x, PHI_0),
            -PHI_1 * y,
            PHI_1 * z,
            -PHI_1 * x,
            PHI_2 * x * y,
            -PHI_2 * y * z,
            PHI_2_ZONAL * (3 * z * z - 1),
            -PHI_2 * x * z,
            (PHI_2 / 2) * (x * x - y * y),
        ],
        dim=-1,
    )


def shade(albedo: Tensor, normals: Tensor, light: Tensor) -> Tensor:
    """Colors (N, V, 3) of albedo (N, V, 3), posed unit normals (N, V, 3), light (N, C, 9)."""
    return albedo * (sh_basis(normals) @ light.transpose(-1, -2))
