"""Face chips: what a recognition network expects to see, cut out inside the graph.

A network was trained on chips in which certain points of the face lie at fixed reference
positions, as well as a similarity transform can bring them there. Here that transform is fitted
by least squares, in closed form, and the chip is sampled differentiably: gradients reach the
image, but not the landmarks, which would otherwise let a loss move its crop instead of the face.

Points are continuous px (pixel centers at halves) in ``(x, y)`` order.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

# Mean positions of landmarks 27 to 54 and 60 to 64 (no brows, no lower lip: they move too much)
# in a box of side 1: dlib 19, image_transforms/interpolation.h, get_face_chip_details.
DLIB_LANDMARKS: Final = (*range(27, 55), *range(60, 65))
DLIB_REFERENCE: Final = (
    # nose bridge and base
    (0.490127, 0.203352), (0.490127, 0.307009), (0.490127, 0.409805), (0.490127, 0.515625),
    (0.366880, 0.587326), (0.426036, 0.609345), (0.490127, 0.628106), (0.554217, 0.609345),
    (0.613373, 0.587326),
    # eyes
    (0.121737, 0.216423), (0.187122, 0.178758), (0.265825, 0.179852), (0.334606, 0.231733),
    (0.260918, 0.245099), (0.182743, 0.244077), (0.645647, 0.231733), (0.714428, 0.179852),
    (0.793132, 0.178758), (0.858516, 0.216423), (0.797510, 0.244077), (0.719335, 0.245099),
    # upper lip, outside and inside
    (0.254149, 0.780233), (0.340985, 0.745405), (0.428858, 0.727388), (0.490127, 0.742578),
    (0.551395, 0.727388), (0.639268, 0.745405), (0.726104, 0.780233), (0.290379, 0.784792),
    (0.428096, 0.778746), (0.490127, 0.785343), (0.552157, 0.778746), (0.689874, 0.784792),
)  # fmt: skip
_DLIB_PADDING: Final = 0.25  # of the box, on each side; dlib's example of face recognition


def dlib_chips(images: Tensor, landmarks: Tensor, size: int) -> Tensor:
    """Chips as dlib cuts them; the reference is fitted to the landmarks.

    Args:
        images: (N, C, H, W) float.
        landmarks: (N, 68, 2) px of the images, finite.
        size: side of the chips.

    Returns:
        (N, C, size, size), zero where a chip reaches beyond its image.
    """
    points = landmarks.detach()[:, list(DLIB_LANDMARKS)]
    reference = dlib_reference(size).to(points)
    return cut_chips(images, fit_similarity(reference.expand_as(points), points), size)


def dlib_reference(size: int) -> Tensor:
    """Where :data:`DLIB_LANDMARKS` lie in a chip of a size, (33, 2) float32 px."""
    return size * (torch.tensor(DLIB_REFERENCE) + _DLIB_PADDING) / (1 + 2 * _DLIB_PADDING)


def fit_similarity(source: Tensor, target: Tensor) -> Tensor:
    """The similarity transforms that bring source points closest to target points.

    Least squares over scale, rotation and translation, without reflection. With points as complex
    numbers about their means the transform is one complex factor, Σ s̄·t / Σ |s|².

    Args:
        source: (N, K, 2).
        target: (N, K, 2).

    Returns:
        (N, 2, 3), the linear part and the translation.
    """
    source_mean, target_mean = source.mean(1), target.mean(1)
    sx, sy = (source - source_mean[:, None]).unbind(-1)
    tx, ty = (target - target_mean[:, None]).unbind(-1)
    spread = (sx**2 + sy**2).sum(1)
    real = (sx * tx + sy * ty).sum(1) / spread
    imaginary = (sx * ty - sy * tx).sum(1) / spread
    return _similarity(real, imaginary, source_mean, target_mean)


def invert_similarity(transforms: Tensor) -> Tensor:
    """The inverse of similarity transforms (N, 2, 3)."""
    real, imaginary = transforms[:, 0, 0], transforms[:, 1, 0]
    square = real**2 + imaginary**2
    translation = transforms[:, :, 2]
    return _similarity(real / square, -imaginary / square, translation, translation * 0)


def _similarity(real: Tensor, imaginary: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The transforms (N, 2, 3) with complex factors (N,) that take points (N, 2) to (N, 2)."""
    linear = torch.stack([real, -imaginary, imaginary, real], dim=1).reshape(-1, 2, 2)
    translation = target[:, :, None] - linear @ source[:, :, None]
    return torch.cat([linear, translation], dim=2)


def cut_chips(images: Tensor, chip_to_image: Tensor, size: int) -> Tensor:
    """Sample square chips.

    Args:
        images: (N, C, H, W) float.
        chip_to_image: (N, 2, 3) chip px to image px.
        size: side of the chips.

    Returns:
        (N, C, size, size), zero outside the image. Samples are bilinear: an image that shrinks to
        less than half has pixels left out. Crops of 224 px shrink by 1.2 (dlib), 1.8 (ArcFace).
    """
    height, width = images.shape[-2:]
    # grid_sample has both images span [-1, 1], from outer edge to outer edge.
    scale = images.new_tensor([[2 / width], [2 / height]])
    linear = chip_to_image[:, :, :2]
    center = linear.sum(2, keepdim=True) * (size / 2) + chip_to_image[:, :, 2:]
    theta = torch.cat([linear * (size / 2) * scale, center * scale - 1], dim=2)
    shape = [len(images), 1, size, size]
    grid = functional.affine_grid(theta.to(images.dtype), shape, align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)
