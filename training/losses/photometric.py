"""Equation 2: colors of the rendering against those of the photo."""

from __future__ import annotations

import torch
from torch import Tensor


def photometric_loss(photo: Tensor, rendered: Tensor, mask: Tensor, attention: Tensor) -> Tensor:
    """Mean distance of colors over the face, weighted by skin attention (paper, equation 2).

    L = sum_i A_i |I_i - I'_i|_2 / sum_i A_i over the pixels i of the face region M, per photo,
    then the mean over photos.  A photo whose region holds no attention counts as 0 and gives no
    gradient, nor does a pixel that fits exactly.

    Args:
        photo: (N, 3, H, W) in [0, 1].
        rendered: (N, 3, H, W), same scale.
        mask: (N, H, W) bool, the region M.
        attention: (N, H, W) in [0, 1], A.

    Returns:
        () in units of the color range.
    """
    weights = attention * mask
    # Its gradient at no difference is defined as 0 by torch.
    distances = torch.linalg.vector_norm(photo - rendered, dim=1)
    total = weights.sum((1, 2))
    per_photo = (weights * distances).sum((1, 2)) / torch.where(total > 0, total, 1.0)
    return per_photo.mean()
