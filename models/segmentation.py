"""What the segmentation network tells apart in a face's crop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facewright.models.alignment import crop_transform
from facewright.models.camera import CROP_SIZE

Class = Literal["other", "skin", "hair", "occluder"]
"""`skin` is all that a face's texture wants: eyes, lips, teeth, brows, beards and what is seen
through clear lenses.  `hair` grows on the scalp.  `occluder` is what is worn on the head or held
before it: frames of glasses, dark lenses, hats, scarves, masks, hands, microphones.  `other` is
the background and clothes on the body."""
CLASSES: tuple[Class, ...] = get_args(Class)
OTHER, SKIN, HAIR, OCCLUDER = range(len(CLASSES))

SEGMENTATION_SIDE = 128
"""Pixels along a side of the network's input and output, to which the 224 px crop is shrunk."""
INPUT, OUTPUT = "crops", "shares"
"""Names in the ONNX file: crops (N, 3, 128, 128) RGB in [0, 1] to the probabilities of the classes
(N, 4, 128, 128)."""

Float32 = NDArray[np.float32]


def segmentation_transform(landmarks: NDArray[Any], template: NDArray[Any]) -> NDArray[np.float64]:
    """Similarity (2, 3) from photo px to px of the network's input, both continuous.

    The network sees what R-Net sees of an upright face, whatever R-Net's own alignment is.
    landmarks: (68, 2) photo px.  template: (68, 3) mm, `MorphableModel.landmark_template`.
    Raises ValueError for landmarks that no face has.
    """
    return SEGMENTATION_SIDE / CROP_SIZE * crop_transform(landmarks, template)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a part of a photo shows around one face."""

    shares: Float32
    """(4, 128, 128): probabilities of the classes."""
    transform: NDArray[np.float64]
    """(2, 3): photo px to px of the shares, both continuous."""

    def moved(self, corner: NDArray[Any]) -> Segmentation:
        """The same in a part of the photo whose upper left corner (2,) is this, px."""
        linear, shift = self.transform[:, :2], self.transform[:, 2]
        return replace(self, transform=np.column_stack([linear, shift + linear @ corner]))

    def at(self, kind: int, points: NDArray[Any], beyond: float | None = None) -> Float32:
        """(n,) probability of a class at points (n, 2) of the photo, px.

        beyond: what it is beyond the shares; that of their border without.
        """
        places = points @ self.transform[:, :2].T + self.transform[:, 2]
        side = self.shares.shape[1]
        columns, rows = np.clip(places, 0, side - 1).astype(np.intp).T
        found = np.asarray(self.shares[kind, rows, columns], np.float32)
        if beyond is not None:
            found[((places < 0) | (places >= side)).any(axis=1)] = beyond
        return found
