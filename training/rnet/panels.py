"""Pictures of a validation: what the network makes of some faces."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from facewright.models.camera import CROP_SIZE
from facewright.training.render import Rendering

Images = npt.NDArray[np.uint8]

# Share of the rendering in the overlay: the photo's features shine through its.
OPACITY = 0.65


def panel(photos: Images, attention: Images, rendering: Rendering) -> Images:
    """One row per face: input, the predicted face on it, the face alone, skin attention.

    Args:
        photos: (N, 224, 224, 3) uint8 RGB.
        attention: (N, 224, 224) uint8.
        rendering: of the N predicted faces; image (N, 3, S, S) of any size.

    Returns:
        (224 N, 896, 3) uint8 RGB.
    """
    rows = []
    for photo, mask, image, seen in zip(
        photos, attention, rendering.image, rendering.mask, strict=True
    ):
        face = _crop_sized(_to_u8(image))
        drawn = _crop_sized(seen.cpu().numpy().astype(np.uint8) * 255)[..., None] > 127
        mixed = photo * (1 - OPACITY) + face * OPACITY
        overlay = np.where(drawn, (mixed + 0.5).astype(np.uint8), photo)
        rows.append(np.hstack([photo, overlay, face, np.repeat(mask[..., None], 3, axis=-1)]))
    return np.vstack(rows)


def _to_u8(image: Tensor) -> Images:
    hwc: npt.NDArray[Any] = image.detach().float().permute(1, 2, 0).cpu().numpy()
    return (hwc.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _crop_sized(picture: Images) -> Images:
    if len(picture) == CROP_SIZE:
        return picture
    size = (CROP_SIZE, CROP_SIZE)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)
