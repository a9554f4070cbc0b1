"""Equation 4: a face-recognition network should take the rendering for the person on the photo."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity


def perceptual_loss(of_photo: Tensor, of_rendering: Tensor) -> Tensor:
    """Cosine distance of two embeddings (paper, equation 4), mean over photos.

    of_photo, of_rendering: (N, D), of any length but zero.  Returns () in [0, 2].
    """
    return (1.0 - cosine_similarity(of_photo, of_rendering, dim=1)).mean()


def composite(photo: Tensor, rendered: Tensor, mask: Tensor) -> Tensor:
    """The photo (N, 3, H, W) with the rendering in place of the face region, in [0, 1].

    Recognition networks have seen whole heads: hair, ears and background around a face.  A face
    alone on black is nothing they know, and its distance from the photo's embedding would tell
    of the missing head rather than of the face.  So both pictures share all but the face.

    rendered: (N, 3, H, W), clipped.  mask: (N, H, W) bool, the face region.
    """
    return torch.where(mask[:, None], rendered.clamp(0.0, 1.0), photo)
