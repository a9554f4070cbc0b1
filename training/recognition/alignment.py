"""The chips that ArcFace networks are trained with.

Points are continuous px (pixel centers at halves) in `(x, y)` order.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from facewright.models.chips_torch import cut_chips, fit_similarity, invert_similarity
from facewright.models.landmarks import (
    LEFT_EYE,
    LEFT_MOUTH_CORNER,
    NOSE_TIP,
    RIGHT_EYE,
    RIGHT_MOUTH_CORNER,
)

# Eye centers, nose tip, mouth corners in a chip of 112 px with pixel centers at integers:
# the template that ArcFace (Deng et al. 2019, arXiv 1801.07698) and its successors are trained
# with; insightface, utils/face_align.py, arcface_dst.
ARCFACE_SIZE: Final = 112
_ARCFACE_REFERENCE: Final = (
    (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655),
    (70.7299, 92.2041),
)  # fmt: skip
_PIXEL_CENTER: Final = 0.5


def arcface_chips(images: Tensor, landmarks: Tensor, size: int) -> Tensor:
    """Chips as ArcFace networks are trained with; the five points are fitted to the reference.

    Args:
        images: (N, C, H, W) float.
        landmarks: (N, 68, 2) px of the images, finite; an eye's center is the mean of its points.
        size: side of the chips; the reference grows with it.

    Returns:
        (N, C, size, size), zero where a chip reaches beyond its image.
    """
    landmarks = landmarks.detach()
    eyes = [landmarks[:, eye].mean(1) for eye in (LEFT_EYE, RIGHT_EYE)]
    others = (NOSE_TIP, LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER)
    points = torch.stack([*eyes, *(landmarks[:, k] for k in others)], dim=1)
    reference = (landmarks.new_tensor(_ARCFACE_REFERENCE) + _PIXEL_CENTER) * size / ARCFACE_SIZE
    image_to_chip = fit_similarity(points, reference.expand_as(points))
    return cut_chips(images, invert_similarity(image_to_chip), size)
