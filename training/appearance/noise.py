"""Smooth random scalar fields in space, cheap enough to draw anew for every person.

A field is looked up trilinearly in one tileable volume of band-limited Gaussian noise, placed at a
random offset and orientation: neighboring points get similar values, whatever the mesh.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np

from facewright.models.arrays import FloatArray

_VOLUME_SIZE = 48
_VOXELS_PER_FEATURE = 3.0


@lru_cache(maxsize=1)
def _volume() -> FloatArray:
    """Tileable (48, 48, 48) noise, zero mean, unit variance, correlation about 3 voxels."""
    white = np.random.default_rng(20190320).standard_normal((_VOLUME_SIZE,) * 3)
    frequencies = np.fft.fftfreq(_VOLUME_SIZE)
    squared = (
        frequencies[:, None, None] ** 2
        + frequencies[None, :, None] ** 2
        + frequencies[None, None, :] ** 2
    )
    sigma = _VOXELS_PER_FEATURE / 2
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * squared)
    kernel[0, 0, 0] = 0.0
    volume = np.fft.ifftn(np.fft.fftn(white) * kernel).real
    return np.ascontiguousarray(volume / volume.std(), dtype=np.float32)


@numba.njit(cache=True, fastmath=True)
def _look_up(volume, points, axes, offset, out):  # type: ignore[no-untyped-def]
    size = volume.shape[0]
    one = np.float32(1.0)
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        x = axes[0, 0] * px + axes[0, 1] * py + axes[0, 2] * pz + offset[0]
        y = axes[1, 0] * px + axes[1, 1] * py + axes[1, 2] * pz + offset[1]
        z = axes[2, 0] * px + axes[2, 1] * py + axes[2, 2] * pz + offset[2]
        floor_x, floor_y, floor_z = np.floor(x), np.floor(y), np.floor(z)
        fx, fy, fz = x - floor_x, y - floor_y, z - floor_z
        x0 = int(floor_x) % size
        y0 = int(floor_y) % size
        z0 = int(floor_z) % size
        x1 = x0 + 1 if x0 + 1 < size else 0
        y1 = y0 + 1 if y0 + 1 < size else 0
        z1 = z0 + 1 if z0 + 1 < size else 0
        near = (volume[x0, y0, z0] * (one - fz) + volume[x0, y0, z1] * fz) * (one - fy) + (
            volume[x0, y1, z0] * (one - fz) + volume[x0, y1, z1] * fz
        ) * fy
        far = (volume[x1, y0, z0] * (one - fz) + volume[x1, y0, z1] * fz) * (one - fy) + (
            volume[x1, y1, z0] * (one - fz) + volume[x1, y1, z1] * fz
        ) * fy
        out[i] = near * (one - fx) + far * fx


def random_field(
    rng: np.random.Generator,
    points: FloatArray,
    feature_mm: float,
    stretch: tuple[float, float, float] | None = None,
) -> FloatArray:
    """One random scalar field at `points`.

    Args:
        rng: source of the field's placement.
        points: (V, 3) float32, mm.
        feature_mm: size of the field's blobs.
        stretch: blob size along x, y, z as multiples of `feature_mm`; the field then keeps its
            axes. Without it the field has a random orientation.

    Returns:
        (V,) float32, zero mean and unit variance over space.
    """
    scale = _VOXELS_PER_FEATURE / feature_mm
    if stretch is None:
        axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        axes = axes * scale
    else:
        axes = np.diag(scale / np.asarray(stretch))
    offset = rng.uniform(0, _VOLUME_SIZE, 3)
    out = np.empty(len(points), np.float32)
    _look_up(_volume(), points, axes.astype(np.float32), offset.astype(np.float32), out)
    return out
