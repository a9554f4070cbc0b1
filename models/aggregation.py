"""One identity from the photos of an album: Deng et al. 2019, section 4, in NumPy.

The same definition for training is :mod:`models.aggregation_torch`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import Array

Strategy = Literal["confidence", "scalar", "mean", "best"]
"""How much each photo counts.

- `confidence`: by its confidence in each coefficient, eq. 7;
- `scalar`: by its mean confidence, the same for all coefficients;
- `mean`: all photos alike;
- `best`: only the photo of the highest mean confidence; photos that tie share.
"""


def aggregate(
    identity: Array,
    confidences: Array,
    strategy: Strategy = "confidence",
    weights: Array | None = None,
) -> NDArray[np.float32]:
    """One identity of each album: eq. 7, alpha = (sum_j c_j * alpha_j) / (sum_j c_j).

    Args:
        identity: (..., J, K) coefficients of the J >= 1 photos of an album.
        confidences: (..., J, K), finite, >= 0; only their proportions matter.
        strategy: what to weigh the photos by.
        weights: see `shares`.

    Returns:
        (..., K) float32: that of the photo itself if there is but one, and never outside of
        what the photos span.

    Raises:
        ValueError: see `shares`; or the shapes differ.
    """
    if identity.shape != confidences.shape:
        raise ValueError(f"identity {identity.shape} and confidences {confidences.shape} differ")
    part = shares(confidences, strategy, weights)
    # In float64, so that rounding to float32 at the end keeps the result between its photos'.
    total = np.sum(part * identity.astype(np.float64), axis=-2)
    return (total / part.sum(axis=-2)).astype(np.float32)


def shares(
    confidences: Array, strategy: Strategy = "confidence", weights: Array | None = None
) -> NDArray[np.float64]:
    """The part that each photo has in each coefficient of the aggregated identity.

    Args:
        confidences: (..., J, K), finite, >= 0, of the J >= 1 photos of an album.  Where all
            photos of an album have 0 for a coefficient, they count alike in it.
        strategy: what to weigh the photos by.
        weights: (..., J), finite, >= 0, how often each photo counts; once if left out.  A photo
            of weight 0 is as good as not there, so albums of different sizes are padded with
            such.

    Returns:
        (..., J, K) in 0..1; the J parts of a coefficient sum to 1.

    Raises:
        ValueError: an array of another shape, a number that is not finite or is negative, an
            album without a photo of weight above 0, or an unknown strategy.
    """
    if confidences.ndim < 2:
        raise ValueError(f"expected (..., J, K) confidences, got {confidences.shape}")
    if weights is None:
        weights = np.ones(confidences.shape[:-1])
    if weights.shape != confidences.shape[:-1]:
        raise ValueError(f"weights {weights.shape} do not fit {confidences.shape}")
    for name, values in (("confidences", confidences), ("weights", weights)):
        if not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"{name} must be finite and not negative")
    if not (weights > 0).any(axis=-1).all():
        raise ValueError("an album has no photo that counts")
    often = weights.astype(np.float64)[..., None]
    trust = _trust(np.where(often > 0, confidences.astype(np.float64), 0.0), strategy)
    part = often / often.max(axis=-2, keepdims=True) * _relative(trust)
    part /= part.sum(axis=-2, keepdims=True)
    return part


def _trust(confidences: Array, strategy: Strategy) -> Array:
    """(..., J, K): `confidences`, which are 0 for photos that do not count, as they matter."""
    if strategy == "confidence":
        return confidences
    means = confidences.mean(axis=-1, keepdims=True)
    if strategy == "best":
        means = (means == means.max(axis=-2, keepdims=True)).astype(np.float64)
    elif strategy == "mean":
        means = np.ones_like(means)
    elif strategy != "scalar":
        raise ValueError(f"unknown strategy: {strategy}")
    return np.broadcast_to(means, confidences.shape)


def _relative(trust: Array) -> Array:
    """`trust` over the largest of its album, so that no sum of it vanishes; 1 where all are 0."""
    largest = trust.max(axis=-2, keepdims=True)
    return np.where(largest > 0, trust / np.where(largest > 0, largest, 1.0), 1.0)
