"""CenterFace, the face detector that comes with the service.

CenterFace (Xu et al. 2019, arXiv 1911.03599) is an anchor-free detector: at a quarter of the
input's resolution it gives a score for "the center of a face is here", and for every such
place the face's size and its five points.

It finds faces from 12 px to the whole input, but its points are good between about 50 and
200 px only.  So the whole photo is searched at a low resolution first, with a low threshold,
and each candidate is then looked at again in a square cut from the photo at the size that
suits the network; what is not confirmed there is dropped.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from facewright.models.resampling import cut_square, halve
from facewright.service.networks.blazeface import (
    MAX_OVERLAP,
    SIZE_MULTIPLE,
    Places,
    join,
    overlaps,
)
from facewright.service.networks.centerface_graph import centerface_graph
from facewright.service.networks.detection import DetectedFace, TooCoarse, roll_angle
from facewright.service.networks.image_networks import (
    Ask,
    Float32,
    ImageNetwork,
    Query,
    RgbU8,
    answer,
)
from facewright.service.runtime.sessions import CPU_PROVIDERS, Provider

STRIDE = 4
"""Input pixels per cell of the network's outputs."""

SEARCH_SIDE = 640
"""Longer side, in pixels, of the photo in the search."""

SEARCH_THRESHOLD = 0.3
"""Score from which a place in the photo is worth a second look."""

CLOSE_SIDE = 192
CLOSE_FACE = 128.0
CLOSE_THRESHOLD = 0.5
"""The second look: side of the square, and of the face's box within it, in pixels; and the score
from which a face is confirmed."""

MAX_LOG_SIZE = 8.0
"""Sizes are exponentials of the network's output; nothing larger is a face."""

MAX_FACES = 64


class CenterFace:
    """The embedded detector.

    Faces that score below `CLOSE_THRESHOLD` in the second look are dropped; of faces whose boxes
    overlap by more than `MAX_OVERLAP` the best is kept; at most `MAX_FACES` are returned.  Raises
    `ModelError` when the graph cannot be had or loaded; see `centerface_graph`.
    """

    name = "centerface"
    license = "MIT"
    recognizer = None

    def __init__(self, providers: Sequence[Provider] = CPU_PROVIDERS, threads: int = 1) -> None:
        outputs = ("heatmap", "size", "offset", "landmarks")
        network = ImageNetwork(centerface_graph(), outputs, providers, threads)
        self.networks: Mapping[str, ImageNetwork] = {self.name: network}
        self._ask: Ask = partial(answer, self.networks)
        self._smallest = 0.0

    def asking(self, ask: Ask, *, only_largest: bool = False, reduction: int = 1) -> CenterFace:
        """See `LoadedDetector`."""
        other = copy.copy(self)
        other._ask = ask
        # If only the largest counts, it does not matter how well the others are seen.
        other._smallest = CLOSE_FACE if reduction > 1 and not only_largest else 0.0
        return other

    def warm_up(self) -> None:
        """Run on both sizes of images, so that the first photo does not pay for allocations."""
        for side in (SEARCH_SIDE, CLOSE_SIDE):
            self._run([np.zeros((side, side, 3), np.uint8)], CLOSE_THRESHOLD)

    def detect(self, rgb_u8: RgbU8, *, turned: bool = False) -> list[DetectedFace]:
        """Find the upright faces of a photo (H, W, 3), best score first."""
        return self._faces(self._look_closer(rgb_u8, self._search(rgb_u8)))

    def confirm(self, rgb_u8: RgbU8, boxes: Float32, points: Float32) -> list[DetectedFace]:
        """Of places in a photo those that are faces, best score first.

        boxes: (K, 4).  points: (K, 5, 2), as of `DetectedFace`; they only tell which way is up.
        """
        places = Places(boxes, points, np.ones(len(boxes), np.float32))
        return self._faces(self._look_closer(rgb_u8, places))

    def _faces(self, candidates: Places) -> list[DetectedFace]:
        return [
            DetectedFace(box=box, points=points, score=float(score))
            for box, points, score in zip(*_best(candidates), strict=True)
        ]

    def _search(self, rgb_u8: RgbU8) -> Places:
        """Find places in the photo that may be faces, best first."""
        height, width = rgb_u8.shape[:2]
        scale = SEARCH_SIDE / max(height, width)
        small_height = max(1, round(height * scale))
        small_width = max(1, round(width * scale))
        padded = np.zeros((_round_up(small_height), _round_up(small_width), 3), dtype=np.uint8)
        padded[:small_height, :small_width] = cv2.resize(
            halve(rgb_u8, 1 / scale)[0], (small_width, small_height), interpolation=cv2.INTER_LINEAR
        )
        found = _best(self._run([padded], SEARCH_THRESHOLD)[0])
        to_photo = np.array([width / small_width, height / small_height], dtype=np.float32)
        return Places(found.boxes * np.tile(to_photo, 2), found.points * to_photo, found.scores)

    def _look_closer(self, rgb_u8: RgbU8, faces: Places) -> Places:
        """Find each face again in an upright square of its own; drop the unconfirmed."""
        if not len(faces.scores):
            return faces
        smallest = float((faces.boxes[:, 2:] - faces.boxes[:, :2]).max(axis=1).min())
        if smallest < self._smallest:
            raise TooCoarse(self._smallest / smallest)
        transforms = [
            _close_transform(box, roll_angle(points))
            for box, points in zip(faces.boxes, faces.points, strict=True)
        ]
        squares = [cut_square(rgb_u8, t, CLOSE_SIDE) for t in transforms]
        confirmed = []
        for found, transform in zip(self._run(squares, CLOSE_THRESHOLD), transforms, strict=True):
            centers = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
            distance = np.linalg.norm(centers - CLOSE_SIDE / 2, axis=1)
            central = np.flatnonzero(distance < CLOSE_FACE / 2)
            if central.size:
                face = found.take([int(central[np.argmax(found.scores[central])])])
                confirmed.append(_to_photo(face, transform))
        if not confirmed:
            return faces.take([])
        return join(confirmed)

    def _run(self, images: Sequence[RgbU8], threshold: float) -> list[Places]:
        """Run the network on images; all places in each that score above `threshold`."""
        return [
            _decode(heatmap[0], size, offset, landmarks, threshold)
            for heatmap, size, offset, landmarks in self._ask(
                [Query(self.name, image) for image in images]
            )
        ]


def _round_up(pixels: int) -> int:
    return -(-pixels // SIZE_MULTIPLE) * SIZE_MULTIPLE


def _close_transform(box: Float32, roll: float) -> npt.NDArray[np.float64]:
    """Map (2, 3) from the photo to the square of the second look: upright, face centered."""
    scale = CLOSE_FACE / float(max(box[2] - box[0], box[3] - box[1]))
    cosine, sine = scale * math.cos(roll), scale * math.sin(roll)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    center = (box[:2] + box[2:]).astype(np.float64) / 2
    return np.column_stack([linear, CLOSE_SIDE / 2 - linear @ center])


def _to_photo(faces: Places, transform: npt.NDArray[np.float64]) -> Places:
    """Bring candidates in a square back into the photo it was cut from by `transform`."""
    back = np.linalg.inv(transform[:, :2])
    centers = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    halves = (faces.boxes[:, 2:] - faces.boxes[:, :2]) / 2
    # The box is turned by quarter turns only: one that encloses the turned box is too large.
    scale = math.sqrt(abs(float(np.linalg.det(back))))
    if abs(back[0, 1]) > abs(back[0, 0]):
        halves = halves[:, ::-1]
    centers = (centers - transform[:, 2]) @ back.T
    boxes = np.concatenate([centers - halves * scale, centers + halves * scale], axis=1)
    points = (faces.points - transform[:, 2]) @ back.T
    return Places(boxes.astype(np.float32), points.astype(np.float32), faces.scores)


def _decode(
    heatmap: Float32, size: Float32, offset: Float32, landmarks: Float32, threshold: float
) -> Places:
    """Read the graph's outputs for one image, in input pixels.

    Arguments are (h, w), (2, h, w), (2, h, w) and (10, h, w); pairs are in the order
    vertical, horizontal.  Sizes are logarithms in units of a cell, points are fractions of
    the box.
    """
    row, column = np.nonzero(heatmap > threshold)
    box_height, box_width = np.exp(np.clip(size[:, row, column], 0, MAX_LOG_SIZE)) * STRIDE
    center_y = (row + offset[0, row, column] + 0.5) * STRIDE
    center_x = (column + offset[1, row, column] + 0.5) * STRIDE
    x0, y0 = center_x - box_width / 2, center_y - box_height / 2
    boxes = np.stack([x0, y0, x0 + box_width, y0 + box_height], axis=1)
    fractions = landmarks[:, row, column].reshape(5, 2, -1)
    points = np.stack(
        [x0 + fractions[:, 1] * box_width, y0 + fractions[:, 0] * box_height], axis=-1
    )
    return Places(
        boxes.astype(np.float32),
        points.transpose(1, 0, 2).astype(np.float32),
        heatmap[row, column],
    )


def _best(faces: Places) -> Places:
    """Greedy non-maximum suppression: best score first, at most `MAX_FACES`."""
    order = np.argsort(-faces.scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < MAX_FACES:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        order = order[overlaps(faces.boxes[best], faces.boxes[order]) <= MAX_OVERLAP]
    return faces.take(kept)
