"""Principal components of mirror-symmetric sets of vertex fields.

Every field counts together with its mirror image, so the covariance splits into a symmetric and
an antisymmetric part: each component is exactly one or the other, and mirroring a face flips the
signs of some coefficients and does nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Components:
    """Components scaled by their standard deviations.

    Attributes:
        basis: (K, V, 3) float64; coefficients of the analyzed fields have unit mean square.
        coefficients: (N, K) float64 of the fields as given (not of their mirror images).
        mirror_signs: (K,) +1 for symmetric, -1 for antisymmetric components.
        energy: (K,) share of the weighted mean square that every component holds.
    """

    basis: np.ndarray
    coefficients: np.ndarray
    mirror_signs: np.ndarray
    energy: np.ndarray


def mirror_field(fields: np.ndarray, mirror: np.ndarray, flip: bool) -> np.ndarray:
    """Mirror images of (..., V, 3) fields; ``flip`` negates x (positions, not colors)."""
    return fields[..., mirror, :] * np.array([-1.0 if flip else 1.0, 1.0, 1.0], fields.dtype)


def symmetric_components(
    fields: np.ndarray, weights: np.ndarray, mirror: np.ndarray, n: int, flip: bool
) -> Components:
    """Leading ``n`` components of ``fields`` (N, V, 3) and their mirror images, uncentered.

    Args:
        fields: deviations, float32 or float64.
        weights: (V,) non-negative weights of the metric, symmetric.
        mirror: (V,) mirror map.
        n: number of components, over both symmetries by falling energy.
        flip: whether mirroring negates x.

    The sign of a component makes its largest entry positive, so results are reproducible.
    """
    n_fields, n_vertices, _ = fields.shape
    root = np.sqrt(weights)[None, :, None].astype(fields.dtype)
    symmetric = (fields + mirror_field(fields, mirror, flip)) / 2
    found = []
    total = 0.0
    for sign in (1, -1):
        half = symmetric if sign == 1 else fields - symmetric
        scaled = (half * root).reshape(n_fields, -1)
        gram = (scaled @ scaled.T).astype(np.float64) / n_fields
        del scaled
        total += float(np.trace(gram))
        energy, vectors = np.linalg.eigh(gram)
        order = np.argsort(energy)[::-1][:n]
        coefficients = vectors[:, order] * np.sqrt(n_fields)
        basis = (coefficients.T.astype(fields.dtype) @ half.reshape(n_fields, -1)) / n_fields
        found.append((energy[order], coefficients, basis, np.full(len(order), sign)))
    energy = np.concatenate([f[0] for f in found])
    coefficients = np.concatenate([f[1] for f in found], axis=1)
    basis = np.concatenate([f[2] for f in found])
    signs = np.concatenate([f[3] for f in found])
    chosen = np.argsort(-energy, kind="stable")[:n]
    basis = basis[chosen].reshape(n, n_vertices, 3).astype(np.float64)
    coefficients = coefficients[:, chosen]
    flat = basis.reshape(n, -1)
    # Near-ties between mirror vertices must not decide the sign: look at one half only.
    half_of_vertices = np.arange(n_vertices) <= mirror
    largest = np.argmax(
        np.abs(np.where(half_of_vertices[None, :, None], basis, 0)).reshape(n, -1), axis=1
    )
    direction = np.sign(flat[np.arange(n), largest])
    return Components(
        basis=basis * direction[:, None, None],
        coefficients=coefficients * direction,
        mirror_signs=signs[chosen],
        energy=energy[chosen] / total,
    )
