"""How far lids and lips are open and how wide the mouth is, whatever the pose."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

PAIRS: Final = (
    (37, 41), (38, 40), (43, 47), (44, 46),  # lids
    (61, 67), (62, 66), (63, 65),  # lips
    (48, 54),  # corners of the mouth
)  # fmt: skip
"""Landmarks across an opening, or at both ends of the mouth."""


def opening_loss(predicted: Tensor, found: Tensor, known: Tensor) -> Tensor:
    """Mean distance between the vectors from one landmark of a pair to the other.

    Not in the paper, after the eye closure loss of DECA (Feng et al. 2021, arXiv 2012.04012). In
    equation 3, lids and lips are a matter of a pixel or two beside the error of the pose, which
    the vector between two neighbors does not have.

    Args:
        predicted: (N, 68, 2) px of the 224 crop.
        found: (N, 68, 2), likewise; what is not known may be anything, NaN included.
        known: (N, 68) bool.

    Returns:
        () in px; 0 where no photo has a known pair.
    """
    first, second = torch.tensor(PAIRS, device=predicted.device).T
    both = known[:, first] & known[:, second]
    found = torch.where(known[..., None], found, predicted.detach())
    difference = (predicted[:, second] - predicted[:, first]) - (found[:, second] - found[:, first])
    # Keeps the gradient finite where nothing is left to correct.
    distance = (difference.square().sum(2) + 1e-6).sqrt()
    return (distance * both).sum() / both.sum().clamp(min=1)
