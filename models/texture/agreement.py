"""What several views of one face agree on: the light in common, and who is out of line where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facewright.models.texture.grids import continue_smoothly

# Views that differ from the others by more than this (in natural logarithms, once their exposure
# is evened out) show something else at that place: hair, a hand, a highlight.
_DISAGREEMENT = 0.15
_ROUNDS = 4
# Holds exposures of views that have next to nothing in common, as a share of the mean overlap.
_RIDGE = 1e-3


def agree(
    colors: NDArray[np.float32], weights: NDArray[np.float32], coverage: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bring K views of a coarse texture to one light, leaving out who disagrees.

    colors: (K, G, G, 3), logarithms.  weights: (K, G, G), 0 where a view shows nothing.
    coverage: (K, G, G) in [0, 1].
    Returns the trust in each view (K, G, G), in (0, 1], and the factor of its colors
    (K, G, G, 3).
    """
    levelled = colors + _exposures(colors, weights)[:, None, None, :]
    trust = np.ones_like(weights)
    for _ in range(_ROUNDS):
        share = weights * trust
        share = share / np.maximum(share.sum(axis=0), np.float32(1e-12))
        common = np.einsum("kij,kijc->ijc", share, levelled)
        squared = ((levelled - common) ** 2).mean(axis=-1) / np.float32(_DISAGREEMENT**2)
        # The weight function of Geman and McClure: what is far off has no say.
        trust = 1.0 / (1.0 + squared) ** 2
    factors = np.stack(
        [
            np.exp(continue_smoothly(common - own, confidence))
            for own, confidence in zip(colors, coverage * trust, strict=True)
        ]
    )
    return trust, factors


def _exposures(colors: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K, 3): what to add to each view so that views are alike where they overlap.

    Minimizes the sum over pairs of views of weight times weight times squared difference; the
    weighted mean over all views is 0.
    """
    count = len(weights)
    w = weights.reshape(count, -1).astype(np.float64)
    weighted = w[..., None] * colors.reshape(count, -1, 3)
    overlap = w @ w.T
    np.fill_diagonal(overlap, 0.0)
    laplacian = np.diag(overlap.sum(axis=1)) - overlap
    laplacian += np.eye(count) * (_RIDGE * np.trace(laplacian) / count + 1e-12)
    wanted = np.einsum("km,mc->kc", w, weighted.sum(axis=0))
    wanted -= np.einsum("kmc,m->kc", weighted, w.sum(axis=0))
    exposures = np.linalg.solve(laplacian, wanted)
    mass = w.sum(axis=1)
    exposures -= mass @ exposures / max(float(mass.sum()), 1e-12)
    return exposures.astype(np.float32)
