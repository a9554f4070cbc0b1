"""Similarities: rotation, isotropic scale and translation, fitted by least squares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facewright.models.arrays import Array


class Similarity(NamedTuple):
    """Maps points x to scale · rotation x + translation; of N fits at once, every field has N rows.

    Attributes:
        scale: () or (N,), positive.
        rotation: (3, 3) or (N, 3, 3), proper.
        translation: (3,) or (N, 3).
    """

    scale: Array
    rotation: Array
    translation: Array

    def apply(self, points: Array) -> Array:
        """Map points (V, 3) or (N, V, 3)."""
        turned: Array = points @ self.rotation.swapaxes(-1, -2)
        return self.scale[..., None, None] * turned + self.translation[..., None, :]

    def undo(self, points: Array) -> Array:
        """Map points (V, 3) or (N, V, 3) back."""
        back: Array = (points - self.translation[..., None, :]) @ self.rotation
        return back / self.scale[..., None, None]


def fit_similarity(moving: Array, fixed: Array, *, scaled: bool = True) -> Similarity:
    """The similarity of least squared distance between partners (Umeyama 1991).

    Args:
        moving: (V, 3) or (N, V, 3) points, V at least 3.
        fixed: their partners.
        scaled: fit the scale too; else it is 1.
    """
    moving_mean, fixed_mean = moving.mean(-2), fixed.mean(-2)
    a = moving - moving_mean[..., None, :]
    b = fixed - fixed_mean[..., None, :]
    u, s, vt = np.linalg.svd(b.swapaxes(-1, -2) @ a)
    sign = np.ones_like(s)
    sign[..., 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[..., None, :]) @ vt
    scale = np.ones(s.shape[:-1])
    if scaled:
        scale = (s * sign).sum(-1) / (a**2).sum((-1, -2))
    turned_mean = (rotation @ moving_mean[..., None])[..., 0]
    return Similarity(scale, rotation, fixed_mean - scale[..., None] * turned_mean)
