"""The detector that comes with the service: a glance for faces, and a closer look at each.

BlazeFace searches and FaceMesh looks closer, whose points scatter less than those of any
detector at hand; CenterFace, which knows profiles better, is asked about places that BlazeFace
is sure of and FaceMesh is not.  How far the search goes depends on what it has found:

1. The whole photo at the size of the networks, in both ranges.
2. If all faces are wanted, or none is there yet that could be the largest: squares of the photo
   at the scales at which a face of `LEAST_FACE` px is still seen.
3. If there is no face: the whole photo once more with wide margins, for a face that is cut by
   the border or fills the photo, down to weak answers.

docs/detection.md has the measurements behind the numbers here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from facewright.models.resampling import cut_square, halve
from facewright.service.networks import face_mesh
from facewright.service.networks.blazeface import (
    FULL,
    FULL_MULTIPLE,
    MAX_OVERLAP,
    SHORT,
    Places,
    Range,
    covers,
    decode,
    distinct,
    join,
    overlaps,
)
from facewright.service.networks.centerface import CenterFace
from facewright.service.networks.detection import DetectedFace, TooCoarse
from facewright.service.networks.image_networks import (
    Ask,
    Float32,
    ImageNetwork,
    Query,
    RgbU8,
    answer,
)
from facewright.service.networks.mediapipe_graphs import (
    FACE_MESH,
    FULL_RANGE,
    SHORT_RANGE,
    mediapipe_graph,
)
from facewright.service.runtime.sessions import CPU_PROVIDERS, Provider

LEAST_FACE = 40.0
"""Width in photo pixels of the smallest faces that are searched for."""

SEEN_FACE = 12.0
"""Width in pixels of its image from which BlazeFace's full range sees a face."""

_FAINT, _SURE = 0.1, 0.5
"""Scores of BlazeFace: worth a closer look, and worth asking CenterFace when that says no."""

_PRESENT = 0.5
"""FaceMesh's confidence from which on a face is there."""

_LARGE = 0.12
"""Longer side of a face's box, of the photo's: whoever is larger cannot have been missed."""

_TILE, _TILE_OVERLAP = 224, 48
"""Most pixels along a side of the squares of a finer search, and what they have in common."""

_SHRUNK = 0.6
"""The photo's share, along a side, of an image with margins."""

_MOST_LOOKS = 128
"""Places that are looked at closer, the best of them first."""


class _Look(NamedTuple):
    """An image for BlazeFace, and the way back from its pixels to those of the photo."""

    network: Range
    image: RgbU8
    scale: Float32
    """(2,): photo pixels per pixel of the image."""
    shift: Float32
    """(2,): where the image's first pixel begins in the photo."""


class QuickDetector:
    """BlazeFace, FaceMesh, and CenterFace for their doubts.

    Raises `ModelError` when one of the graphs cannot be had or loaded.
    """

    name = "blazeface"
    licence = "Apache-2.0 (BlazeFace, FaceMesh), MIT (CenterFace)"
    recognizer = None

    def __init__(
        self,
        providers: Sequence[Provider] = CPU_PROVIDERS,
        threads: int = 1,
        *,
        max_faces: int = 64,
    ) -> None:
        self._second = CenterFace(providers, threads)
        graphs = {FULL.name: FULL_RANGE, SHORT.name: SHORT_RANGE, face_mesh.NAME: FACE_MESH}
        self.networks: Mapping[str, ImageNetwork] = {
            **self._second.networks,
            **{
                name: ImageNetwork(mediapipe_graph(graph), graph.outputs, providers, threads)
                for name, graph in graphs.items()
            },
        }
        self._ask: Ask = partial(answer, self.networks)
        self._max_faces = max_faces
        self._only_largest = False
        self._reduction = 1

    def asking(self, ask: Ask, *, only_largest: bool = False, reduction: int = 1) -> QuickDetector:
        """See `LoadedDetector`."""
        other = copy.copy(self)
        other._ask = ask
        other._second = self._second.asking(ask, only_largest=only_largest, reduction=reduction)
        other._only_largest = only_largest
        other._reduction = reduction
        return other

    def warm_up(self) -> None:
        """See `LoadedDetector`."""
        self._second.warm_up()
        sides = {FULL.name: FULL.side, SHORT.name: SHORT.side, face_mesh.NAME: face_mesh.SIDE}
        for name, side in sides.items():
            self._ask([Query(name, np.zeros((side, side, 3), np.uint8))])

    def detect(self, rgb_u8: RgbU8, *, turned: bool = False) -> list[DetectedFace]:
        """See `Detector`."""
        wholes = [_whole(rgb_u8, FULL), _whole(rgb_u8, SHORT)]
        faces = self._confirm(rgb_u8, self._search(wholes[:1], _FAINT, wholes[1:], _SURE), [])
        settled = turned or (self._only_largest and _has_large(faces, rgb_u8))
        tiles = [] if settled else _tiles(rgb_u8, LEAST_FACE / self._reduction)
        if tiles:
            faces = self._confirm(rgb_u8, self._search(tiles, _FAINT), faces)
        if not turned and not faces:
            margins = [_whole(rgb_u8, network, _SHRUNK) for network in (FULL, SHORT)]
            faces = self._confirm(rgb_u8, self._search([*wholes[1:], *margins], _FAINT), [])
        return sorted(faces, key=lambda face: face.score, reverse=True)[: self._max_faces]

    def _search(
        self,
        looks: Sequence[_Look],
        least: float,
        more: Sequence[_Look] = (),
        more_least: float = 1.0,
    ) -> Places:
        """Places in the photo that score at least `least` in looks, and those in `more`."""
        leasts = [least] * len(looks) + [more_least] * len(more)
        everything = [*looks, *more]
        answers = self._ask([Query(look.network.name, look.image) for look in everything])
        found = []
        for look, outputs, bound in zip(everything, answers, leasts, strict=True):
            height, width = look.image.shape[:2]
            places = decode(look.network, height, width, outputs, bound)
            found.append(places.moved(look.scale, look.shift))
        return distinct(join(found)).take(slice(_MOST_LOOKS))

    def _confirm(
        self, rgb_u8: RgbU8, places: Places, known: list[DetectedFace]
    ) -> list[DetectedFace]:
        """The known faces, and those of places apart from them that a closer look confirms."""
        for face in known:
            places = places.take(overlaps(face.box, places.boxes) <= MAX_OVERLAP)
        if not len(places.scores):
            return known
        sides = (places.boxes[:, 2:] - places.boxes[:, :2]).max(axis=1)
        coarse = sides < face_mesh.FACE_SIDE
        # Weak answers are mostly none; the sure ones say what there is to be lost.
        lossy = self._reduction > 1 and not self._only_largest
        if lossy and np.any(coarse & (places.scores >= _SURE)):
            raise TooCoarse
        transforms = [
            face_mesh.square_transform(box, points[:2])
            for box, points in zip(places.boxes, places.points, strict=True)
        ]
        meshed = self._mesh(rgb_u8, transforms)
        again = [
            i
            for i, face in enumerate(meshed)
            if face.presence >= _PRESENT and not face_mesh.settled(face, transforms[i])
        ]
        looks = self._mesh(rgb_u8, [meshed[i].transform() for i in again])
        for i, look in zip(again, looks, strict=True):
            meshed[i] = look
        found = [
            DetectedFace(box=face.box, points=face.points, score=face.presence)
            for face in meshed
            if face.presence >= _PRESENT
        ]
        doubtful = [
            i
            for i, face in enumerate(meshed)
            if face.presence < _PRESENT and places.scores[i] >= _SURE
        ]
        if doubtful:
            found += self._second.confirm(
                rgb_u8, places.boxes[doubtful], _upright_points(places.points[doubtful])
            )
        return _apart([*known, *found])

    def _mesh(
        self, rgb_u8: RgbU8, transforms: Sequence[npt.NDArray[np.float64]]
    ) -> list[face_mesh.MeshedFace]:
        squares = [cut_square(rgb_u8, t, face_mesh.SIDE) for t in transforms]
        answers = self._ask([Query(face_mesh.NAME, square) for square in squares])
        return [face_mesh.read(*pair) for pair in zip(answers, transforms, strict=True)]


def _has_large(faces: Sequence[DetectedFace], rgb_u8: RgbU8) -> bool:
    return any(
        float((face.box[2:] - face.box[:2]).max()) >= _LARGE * max(rgb_u8.shape) for face in faces
    )


def _whole(rgb_u8: RgbU8, network: Range, share: float = 1.0) -> _Look:
    """The whole photo in the middle of an image of the network, `share` of its longer side."""
    small, scale = _shrunk(rgb_u8, share * network.side / max(rgb_u8.shape[:2]))
    image = np.zeros((network.side, network.side, 3), np.uint8)
    top, left = ((network.side - side) // 2 for side in small.shape[:2])
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return _Look(network, image, scale, -scale * np.array([left, top], np.float32))


def _tiles(rgb_u8: RgbU8, least_face: float) -> list[_Look]:
    """The photo in pieces, at scales that show faces from `least_face` px on.

    Scales are halved until the whole photo at once is as good: a face that is larger than what
    two pieces have in common, and cut by both, is seen at the next scale.
    """
    whole = FULL.side / max(rgb_u8.shape[:2])
    scale = min(1.0, SEEN_FACE / least_face)
    looks = []
    while scale > 1.05 * whole:
        small, to_photo = _shrunk(rgb_u8, scale)
        rows, columns = (_pieces(side) for side in small.shape[:2])
        for top, height in rows:
            for left, width in columns:
                image = np.zeros((height, width, 3), np.uint8)
                piece = small[top : top + height, left : left + width]
                image[: piece.shape[0], : piece.shape[1]] = piece
                shift = to_photo * np.array([left, top], np.float32)
                looks.append(_Look(FULL, image, to_photo, shift))
        scale /= 2
    return looks


def _pieces(side: int) -> list[tuple[int, int]]:
    """Begin and length of pieces of equal length that cover `side` pixels."""
    count = max(1, math.ceil((side - _TILE_OVERLAP) / (_TILE - _TILE_OVERLAP)))
    length = math.ceil((side + (count - 1) * _TILE_OVERLAP) / count)
    length = math.ceil(length / FULL_MULTIPLE) * FULL_MULTIPLE
    return [(int(begin), length) for begin in np.linspace(0, max(0, side - length), count)]


def _shrunk(rgb_u8: RgbU8, scale: float) -> tuple[RgbU8, Float32]:
    """The photo scaled to whole pixels, and photo pixels per pixel of it, (2,)."""
    height, width = rgb_u8.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(halve(rgb_u8, 1 / scale)[0], size, interpolation=cv2.INTER_LINEAR)
    return small.astype(np.uint8, copy=False), np.array([width, height], np.float32) / size


def _upright_points(points: Float32) -> Float32:
    """Five points (K, 5, 2) from BlazeFace's six: enough to tell which way is up."""
    return np.concatenate([points[:, :3], points[:, 3:4], points[:, 3:4]], axis=1)


def _apart(faces: Sequence[DetectedFace]) -> list[DetectedFace]:
    """Faces without those that are mostly within a better one's box, or around it."""
    kept: list[DetectedFace] = []
    for face in sorted(faces, key=lambda face: face.score, reverse=True):
        if not kept or covers(face.box, np.stack([k.box for k in kept])).max() <= 0.6:
            kept.append(face)
    return kept
