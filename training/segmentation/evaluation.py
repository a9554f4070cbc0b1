"""How well a segmentation network does on portraits that it was not trained on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from facewright.models.arrays import FloatArray
from facewright.models.segmentation import CLASSES
from facewright.training.data.crops import crops_nchw
from facewright.training.segmentation.augmentation import place, shrunk
from facewright.training.segmentation.dataset import SegmentationShards

_CHECKED = 16


def held_out_iou(net: nn.Module, shards: SegmentationShards) -> dict[str, float]:
    """Intersection over union of each class, over all pixels of all portraits, as they are."""
    both, either = np.zeros(len(CLASSES)), np.zeros(len(CLASSES))
    for row in range(len(shards)):
        crop, true = _known(shards, row)
        with torch.inference_mode():
            found = net(crops_nchw(crop[None]))[0].argmax(0).numpy()
        for kind in range(len(CLASSES)):
            both[kind] += ((found == kind) & (true == kind)).sum()
            either[kind] += ((found == kind) | (true == kind)).sum()
    return dict(zip(CLASSES, (both / np.maximum(either, 1)).tolist(), strict=True))


def check_crops(shards: SegmentationShards) -> FloatArray:
    """Some crops (N, 3, 128, 128) in [0, 1]."""
    rows = range(min(_CHECKED, len(shards)))
    result: FloatArray = crops_nchw(np.stack([_known(shards, row)[0] for row in rows])).numpy()
    return result


def _known(shards: SegmentationShards, row: int) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """A portrait's crop (128, 128, 3) and the largest class of each of its pixels."""
    one = shards.picture(row)
    crop, shares = shrunk(place(None, one.images[0], one.classes[0], one.landmarks[0]))
    return crop, shares.argmax(axis=0)
