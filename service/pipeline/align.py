"""From a detected face to the crop that R-Net sees, and to a better one if R-Net disagrees.

Scale, position and in-plane rotation come from five points, see `models.alignment`.  A
detector's points are rough at times, and the network's answer depends on the crop; but even
from a poor crop its landmarks lie closer to the face than such points.  So where they ask for
another crop, the face is aligned again by them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from facewright.models.alignment import CROP_SCALE, crop_transform
from facewright.models.camera import CROP_SIZE, pose_points, project
from facewright.models.layout import layout_of
from facewright.models.morphable_model import MorphableModel
from facewright.models.resampling import cut_square
from facewright.service.networks.detection import DetectedFace

MOST_REALIGNMENTS = 2
"""How often a face is aligned again: two in three are settled after the first."""

SETTLED_PX = 8.0
"""Of the crop: how far the landmarks may ask for it to move.  See docs/detection.md."""


class Realignment(NamedTuple):
    """The crop that the network's landmarks ask for."""

    transform: npt.NDArray[np.float64]
    """(2, 3): photo pixels to pixels of that crop, both continuous."""
    shift_px: float
    """Root mean square distance in crop pixels by which it moves a mean face in the crop."""


def face_crop_transform(face: DetectedFace, template: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Map (2, 3) from photo pixels to pixels of the face's crop, both continuous.

    `template` (5, 3) is `MorphableModel.five_points` in mm.  The map turns the face upright,
    scales and shifts it as the network was trained.
    Raises ValueError for points that no face can have, such as five points on a line.
    """
    return crop_transform(face.points, template)


def realign(
    model: MorphableModel,
    transform: npt.NDArray[np.float64],
    coefficients: npt.NDArray[np.float32],
) -> Realignment:
    """Align by the landmarks of coefficients (239,) or (257,) that the network gave for a crop.

    `transform` (2, 3) is the map that the crop was cut by.  Raises ValueError when the
    landmarks are no face's.
    """
    parts = layout_of(coefficients).split(coefficients[None])
    points = model.landmark_points(parts.identity, parts.expression)
    landmarks = project(pose_points(points, parts.rotation, parts.translation))[0]
    template = model.landmark_template
    move = crop_transform(landmarks, template)
    linear = move[:, :2] @ transform[:, :2]
    asked = np.column_stack([linear, move[:, :2] @ transform[:, 2] + move[:, 2]])
    mean_face = CROP_SIZE / 2 + CROP_SCALE * template[:, :2] * [1, -1]
    shifts = mean_face @ move[:, :2].T + move[:, 2] - mean_face
    return Realignment(asked, float(np.sqrt((shifts**2).sum(axis=1).mean())))


def crop_face(
    rgb_u8: npt.NDArray[np.uint8], transform: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Cut the crop (224, 224, 3) of a face out of a photo (H, W, 3)."""
    return cut_square(rgb_u8, transform, CROP_SIZE)
