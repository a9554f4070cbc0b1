"""Equation 3: projected landmarks against those found in the photo."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from facewright.models.landmarks import INNER_MOUTH, LANDMARK_COUNT, NOSE_BASE, NOSE_BRIDGE

EMPHASIS: Final = 20.0
"""Weight of the points of nose and inner mouth; all others have 1."""


def paper_landmark_weights() -> Tensor:
    """The paper's weights (68,) float32: 20 for nose and inner mouth, 1 for the others.

    The code released with the paper emphasizes only three of the nine nose points (28 to 30).
    """
    weights = torch.ones(LANDMARK_COUNT)
    for group in (NOSE_BRIDGE, NOSE_BASE, INNER_MOUTH):
        weights[group] = EMPHASIS
    return weights


def landmark_loss(predicted: Tensor, found: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean squared distance of landmarks (paper, equation 3).

    L = 1/K sum_n w_n |q_n - q'_n|^2 over the K known landmarks of a photo, then the mean over
    photos; a photo without any counts as 0.

    Args:
        predicted: (N, 68, 2) px of the 224 crop.
        found: (N, 68, 2), likewise; what is not known may be anything, NaN included.
        known: (N, 68) bool.
        weights: (68,).

    Returns:
        () in px².
    """
    # Chosen before the difference: NaN times zero would be NaN, in the gradient too.
    difference = predicted - torch.where(known[..., None], found, predicted)
    squares = difference.square().sum(2) * weights
    return (squares.sum(1) / known.sum(1).clamp(min=1)).mean()
