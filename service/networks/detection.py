"""Finding faces in a photo: what a detector is, and how turned photos are handled.

Detectors are made for upright faces, but they answer to faces on their side as well, if not
reliably, and with points that turn with the face.  So the points say which way up a face is,
and `detect_any_orientation` turns the photo when no face is found for sure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from facewright.service.networks.image_networks import Ask, ImageNetwork
from facewright.service.networks.recognition import Recognizer

__all__ = [
    "DetectedFace",
    "Detector",
    "LoadedDetector",
    "TooCoarse",
    "detect_any_orientation",
    "roll_angle",
]

SURE_SCORE = 0.8
"""From this score on, a face is not questioned by looking at the turned photo."""

_CENTRALITY = 1.5
"""A face in the middle of the border counts as much as one of 1 / e ** 1.5 its area in the
photo's middle.  See docs/detection.md."""

_QUARTER_TURNS = {
    1: cv2.ROTATE_90_COUNTERCLOCKWISE,
    3: cv2.ROTATE_90_CLOCKWISE,
    2: cv2.ROTATE_180,
}
"""Counter-clockwise turns, the likelier first."""


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """One face in a photo.

    Coordinates are photo pixels, continuous: the center of the top left pixel is (0.5, 0.5).
    They may lie outside the photo where a face is cut off by its border.
    """

    box: npt.NDArray[np.float32]
    """(4,): x0, y0, x1, y1 with x0 < x1 and y0 < y1."""

    points: npt.NDArray[np.float32]
    """(5, 2): the eye centers, nose tip and mouth corners.

    The eye and the corner that are on the left of the *upright* picture come first: image-left
    eye, image-right eye, nose tip, image-left mouth corner, image-right mouth corner.
    """

    score: float
    """The detector's confidence, 0..1."""

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))

    def prominence(self, height: int, width: int) -> float:
        """Area of the box, the less the further it is from the middle of a photo of this size.

        A bystander who is nearer to the camera is not who a photo was taken of.
        """
        middle = np.array([width, height]) / 2
        away = ((self.box[:2] + self.box[2:]) / 2 - middle) / middle
        return self.area * math.exp(-_CENTRALITY * float(away @ away))

    @property
    def roll(self) -> float:
        """Angle in radians, -pi..pi, by which the face is turned clockwise in the photo."""
        return roll_angle(self.points)


def roll_angle(points: npt.NDArray[np.float32]) -> float:
    """Angle in radians, -pi..pi, by which the face with these points (5, 2) is turned clockwise.

    It is the direction from between the eyes to between the mouth's corners, against down.
    """
    right, down = points[3:].mean(axis=0) - points[:2].mean(axis=0)
    return math.atan2(-float(right), float(down))


class TooCoarse(Exception):
    """A face may be there that needs more pixels than the photo was given with.

    times: so many along a side as it has.
    """

    def __init__(self, times: float) -> None:
        super().__init__(times)
        self.times = times


class Detector(Protocol):
    """What the way of a photo asks of a face detector."""

    @property
    def name(self) -> str:
        """A short name for reports, such as "centerface"."""
        ...

    def detect(self, rgb_u8: npt.NDArray[np.uint8], *, turned: bool = False) -> list[DetectedFace]:
        """Find the faces of a photo (H, W, 3), best score first.

        Upright faces must be found; those on their side or head may be missed.

        turned: the photo is a turned one that was searched as it is already: a glance will do.
        """
        ...


class LoadedDetector(Detector, Protocol):
    """What the service asks of a detector that it has loaded."""

    @property
    def license(self) -> str:
        """Of its networks."""
        ...

    @property
    def recognizer(self) -> Recognizer | None:
        """What tells people apart, if the detector comes with it."""
        ...

    @property
    def networks(self) -> Mapping[str, ImageNetwork]:
        """Those that its queries name; empty when its library runs networks of its own."""
        ...

    def asking(self, ask: Ask, *, only_largest: bool = False, reduction: int = 1) -> Detector:
        """This detector with another way to its networks, such as a queue before them.

        only_largest: the photo's largest face is enough.  reduction: every so many pixels of the
        photo are seen as one; `detect` raises `TooCoarse` when a face has too few for that.
        """
        ...

    def warm_up(self) -> None:
        """Run everything once, so that the first photo does not pay for allocations."""
        ...


def detect_any_orientation(detector: Detector, rgb_u8: npt.NDArray[np.uint8]) -> list[DetectedFace]:
    """Find the faces of a photo (H, W, 3) that may have been turned by quarter turns.

    If the photo as it is shows a face for sure, its faces are taken; otherwise those of the
    orientation with the best score.  Boxes and points are in pixels of the photo as given;
    best score first; the list is empty if there is no face in any orientation.
    """
    best = detector.detect(rgb_u8)
    if best and best[0].score >= SURE_SCORE:
        return best
    height, width = rgb_u8.shape[:2]
    for turns, rotation in _QUARTER_TURNS.items():
        found = detector.detect(
            cv2.rotate(rgb_u8, rotation).astype(np.uint8, copy=False), turned=True
        )
        if found and (not best or found[0].score > best[0].score):
            best = [_turn_back(face, turns, height, width) for face in found]
    return best


def _turn_back(face: DetectedFace, turns: int, height: int, width: int) -> DetectedFace:
    """Map a face found in the turned photo, see `_QUARTER_TURNS`, into the photo as given."""
    points = _turn_points_back(face.points, turns, height, width)
    corners = _turn_points_back(face.box.reshape(2, 2), turns, height, width)
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    return DetectedFace(box=box, points=points, score=face.score)


def _turn_points_back(
    points: npt.NDArray[np.float32], turns: int, height: int, width: int
) -> npt.NDArray[np.float32]:
    x, y = points[:, 0], points[:, 1]
    if turns == 1:
        x, y = width - y, x
    elif turns == 2:
        x, y = width - x, height - y
    elif turns == 3:
        x, y = y, height - x
    return np.stack([x, y], axis=1)
