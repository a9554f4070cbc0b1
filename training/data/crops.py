"""Crops of the stored pictures, which have a margin around them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facewright.models.camera import CROP_SIZE

Images = npt.NDArray[np.uint8]


def cut_crops(images: Images, corners: npt.NDArray[Any], size: int) -> Images:
    """Crops of stored pictures, shrunk by area.

    Args:
        images: (N, 240, 240, ...) uint8.
        corners: (N, 2) x and y of the upper left corners, px.
        size: side of the result.

    Returns:
        (N, size, size, ...) uint8.
    """
    out = np.empty((len(images), size, size, *images.shape[3:]), np.uint8)
    for k, (x, y) in enumerate(corners):
        crop = images[k, y : y + CROP_SIZE, x : x + CROP_SIZE]
        if size == CROP_SIZE:
            out[k] = crop
        else:
            cv2.resize(crop, (size, size), dst=out[k], interpolation=cv2.INTER_AREA)
    return out


def crops_nchw(crops: Images) -> Tensor:
    """Crops (N, S, S, 3) uint8 as a network sees them: (N, 3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float().div_(255)
