"""Aggregation of an album's identities in torch, for training: see :mod:`models.aggregation`."""

from __future__ import annotations

import torch
from torch import Tensor


def aggregate(identity: Tensor, confidences: Tensor, weights: Tensor | None = None) -> Tensor:
    """One identity of each album, weighted element by element: Deng et al. 2019, eq. 7.

    Args:
        identity: (..., J, K) coefficients of the J >= 1 photos of an album.
        confidences: (..., J, K), >= 0, of the same dtype; only their proportions matter.  Where
            all photos of an album have 0 (or less than a normal number) for a coefficient, they
            count alike in it, and pass no gradient to the confidences.
        weights: (..., J), >= 0, how often each photo counts, at least one above 0; once if left
            out.  Albums of different sizes are padded with photos of weight 0, whose numbers
            must be finite.

    Returns:
        (..., K), exactly that of the photo if there is but one.

    Raises:
        ValueError: the shapes do not fit.  Values are not looked at: that would wait for a GPU.
    """
    if identity.ndim < 2 or not identity.shape[-2] or identity.shape != confidences.shape:
        raise ValueError(f"identity {identity.shape} and confidences {confidences.shape} differ")
    if weights is None:
        weights = identity.new_ones(identity.shape[:-1])
    if weights.shape != identity.shape[:-1]:
        raise ValueError(f"weights {weights.shape} do not fit {identity.shape}")
    often = (weights / weights.amax(-1, keepdim=True)).unsqueeze(-1).to(identity.dtype)
    # The result does not depend on the confidences' scale, so the scale may count as constant.
    largest = torch.where(often > 0, confidences, 0.0).detach().amax(-2, keepdim=True)
    usable = largest >= torch.finfo(confidences.dtype).tiny
    relative = torch.where(usable, confidences / torch.where(usable, largest, 1.0), 1.0)
    part = often * relative
    return (part * identity).sum(-2) / part.sum(-2)
