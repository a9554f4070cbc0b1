"""What the hybrid loss compares with, of pictures as they are stored."""

from __future__ import annotations

import numpy as np
import torch

from facewright.models.arrays import Array
from facewright.training.data.crops import Images, crops_nchw, cut_crops
from facewright.training.data.shards import Labels
from facewright.training.losses.hybrid import PhotoTargets


def photo_targets(photos: Images, masks: Images, landmarks: Array, known: Array) -> PhotoTargets:
    """Targets of N photos.

    Args:
        photos: (N, S, S, 3).
        masks: (N, S, S) skin attention.
        landmarks: (N, 68, 2) px of the 224 px crop.
        known: (N, 68), which of them to compare with.
    """
    return PhotoTargets(
        photo=crops_nchw(photos).contiguous(),
        attention=torch.from_numpy(masks).float().div_(255),
        landmarks=torch.from_numpy(np.ascontiguousarray(landmarks, np.float32)),
        landmark_known=torch.from_numpy(np.ascontiguousarray(known)),
    )


def plain_photo_targets(
    images: Images, attention: Images, labels: Labels, size: int, margin: int
) -> PhotoTargets:
    """Targets `size` px wide of the center crops of stored pictures."""
    corners = np.full((len(images), 2), margin)
    photos, masks = (cut_crops(stored, corners, size) for stored in (images, attention))
    return photo_targets(photos, masks, labels.landmarks, labels.landmark_visible)
