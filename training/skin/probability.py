"""Skin probability from color, and the attention that the photometric loss makes of it."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facewright.training.skin.mixtures import NOT_SKIN, PRIOR_OF_SKIN, SKIN

# ITU-R BT.601, studio swing: Y, Cb, Cr of R, G, B in 0 to 255.
_YCBCR_FROM_RGB: Final = (
    np.array(
        [
            [65.481, 128.553, 24.966],
            [-37.797, -74.203, 112.0],
            [112.0, -93.786, -18.214],
        ]
    )
    / 255.0
)
_YCBCR_OFFSET: Final = np.array([16.0, 128.0, 128.0])

# Pixels evaluated at a time: their intermediate values stay in the processor's cache.
_BLOCK = 8192

_CERTAIN = 0.5
"""Above this probability a pixel counts fully (paper, section 4.1.1)."""


def skin_probability(rgb_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Posterior probability that pixels are skin, by naive Bayes on their color.

    Args:
        rgb_u8: (..., 3) uint8 RGB.

    Returns:
        (...) float32 in [0, 1].

    Raises:
        ValueError: the array is not uint8 or its last extent is not 3.
    """
    if rgb_u8.dtype != np.uint8 or rgb_u8.ndim == 0 or rgb_u8.shape[-1] != 3:
        raise ValueError(f"expected (..., 3) uint8 colors, got {rgb_u8.dtype} {rgb_u8.shape}")
    whitening, offset, factors = _folded_mixtures()
    pixels = rgb_u8.reshape(-1, 3)
    probability = np.empty(len(pixels), np.float32)
    n_skin = len(SKIN.weights)
    for start in range(0, len(pixels), _BLOCK):
        # Pixels last: every operation then runs over contiguous memory.
        colors = pixels[start : start + _BLOCK].T.astype(np.float32)
        whitened = whitening @ colors
        whitened += offset
        np.square(whitened, out=whitened)
        exponents = -whitened.reshape(3, len(factors), -1).sum(0)
        densities = np.exp(exponents, out=exponents)
        skin = factors[:n_skin] @ densities[:n_skin]
        other = factors[n_skin:] @ densities[n_skin:]
        probability[start : start + _BLOCK] = skin / (skin + other)
    return probability.reshape(rgb_u8.shape[:-1])


def skin_attention(probability: NDArray[Any]) -> NDArray[np.float32]:
    """Weight A of a pixel in the photometric loss (paper, equation 2).

    probability: (...) float in [0, 1].  Returns (...) float32: 1 where the probability exceeds
    0.5, and the probability itself elsewhere.
    """
    return np.where(probability > _CERTAIN, 1.0, probability).astype(np.float32)


@cache
def _folded_mixtures() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Everything about the mixtures that does not depend on the color.

    With K components of both classes, a color c in RGB has the density
    factor_k * exp(-|whitening_k^T c + offset_k|^2) under component k: the conversion to YCbCr,
    the mean, a root of half the inverse covariance, and in the factor the weight and the prior of
    the class.  Returns whitening (3 K, 3) and offset (3 K, 1), components within axes, and
    factors (K,).
    """
    roots, offsets, factors = [], [], []
    for mixture, prior in ((SKIN, PRIOR_OF_SKIN), (NOT_SKIN, 1.0 - PRIOR_OF_SKIN)):
        for weight, mean, determinant, inverse in zip(*mixture, strict=True):
            root = np.linalg.cholesky(np.array(inverse) / 2.0)
            roots.append(root.T @ _YCBCR_FROM_RGB)
            offsets.append(root.T @ (_YCBCR_OFFSET - np.array(mean)))
            factors.append(prior * weight / np.sqrt((2.0 * np.pi) ** 3 * determinant))
    whitening = np.stack(roots, axis=1).reshape(-1, 3)
    offset = np.stack(offsets, axis=1).reshape(-1, 1)
    # Only ratios of densities matter: scaled so that float32 underflows as late as it can.
    scale = 1.0 / max(factors)
    return (
        whitening.astype(np.float32),
        offset.astype(np.float32),
        (scale * np.array(factors)).astype(np.float32),
    )
