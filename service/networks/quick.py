"""The detector that comes with the service: a glance for faces, and a closer look at each.

BlazeFace searches and FaceMesh looks closer, whose points scatter less than those of any
detector at hand; CenterFace is asked about places where the two disagree: FaceMesh misses some
profiles, and sees faces in what BlazeFace hardly answers to.  How far the search goes depends
on what it has found:

1. The whole photo, as small as it still shows faces of `LEAST_FACE` px, or smaller.
2. If all faces are wanted, or none is there yet that could be the largest: pieces of the photo
   at the scales at which such faces are seen.
3. If there is no face: the whole photo once more with wide margins, for a face that is cut by
   the border or fills the photo.

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
from facewright.service.networks import blazeface, face_mesh
from facewright.service.networks.blazeface import (
    MAX_OVERLAP,
    SIZE_MULTIPLE,
    Places,
    covers,
    decode,
    distinct,
    join,
    overlaps,
)
from facewright.service.networks.centerface import CenterFace
from facewright.service.networks.detection import DetectedFace, TooCoarse, roll_angle
from facewright.service.networks.image_networks import (
    Ask,
    Float32,
    ImageNetwork,
    Query,
    RgbU8,
    answer,
)
from facewright.service.networks.mediapipe_graphs import BLAZEFACE, FACE_MESH, mediapipe_graph
from facewright.service.runtime.sessions import CPU_PROVIDERS, Provider

LEAST_FACE = 40.0
"""Width in photo pixels of the smallest faces that are searched for."""

SEEN_FACE = 12.0
"""Width in pixels of its image from which BlazeFace sees a face."""

_SMALL_SIDE, _LARGE_SIDE = 128, 224
"""Longer side in pixels of the image that the whole photo is searched in."""

_FAINT, _LIKELY, _SURE = 0.1, 0.3, 0.5
"""Scores of BlazeFace: worth a closer look if there are few, worth one at any rate and no doubt if
it finds a face, and worth asking CenterFace if it does not."""

_PRESENT = 0.5
"""FaceMesh's confidence from which on a face is there."""

_PRECISE = 0.5
"""How far `astray` a face may lie and not be looked at again: points scatter half as much then,
and one photo in four takes a second look."""

_MORE_LOOKS, _WAVERING = 2, 0.7
"""How often a face is looked at again that does not lie as its points say, and the score that it
has at most when that did not help: so the turned photo is searched as well."""

_STEEP = math.radians(50)
"""Roll from which on a face's points are not trusted before the turned photo was searched."""

_CROPPED = 150.0
"""Longer side in pixels of BlazeFace's box from which on the regression network's crop may be
cut without enlarging the face; it is 141 to 184 where crop and photo have the same scale."""

_LARGE = 0.12
"""Longer side of a face's box, of the photo's: whoever is larger cannot have been missed."""

_PIECE, _COMMON = 224, 48
"""Most pixels along a side of the pieces of a finer search, and what they have in common."""

_SHRUNK = 0.6
"""The photo's share, along a side, of an image with margins."""

_MOST_LOOKS, _MOST_FAINT = 128, 8
"""Places that are looked at closer, the best of them first, and faint ones among them: without a
bound a busy picture without a face would take longer than one with a hundred."""


class _Look(NamedTuple):
    """An image for BlazeFace, and the way back from its pixels to those of the photo."""

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
    license = "Apache-2.0 (BlazeFace, FaceMesh), MIT (CenterFace)"
    recognizer = None

    def __init__(
        self,
        providers: Sequence[Provider] = CPU_PROVIDERS,
        threads: int = 1,
    ) -> None:
        self._second = CenterFace(providers, threads)
        graphs = {blazeface.NAME: BLAZEFACE, face_mesh.NAME: FACE_MESH}
        self.networks: Mapping[str, ImageNetwork] = {
            **self._second.networks,
            **{
                # One thread: what takes some 2 ms is not worth sharing out.
                name: ImageNetwork(mediapipe_graph(graph), graph.outputs, providers)
                for name, graph in graphs.items()
            },
        }
        self._ask: Ask = partial(answer, self.networks)
        self._only_largest = False
        self._reduction = 1

    def asking(self, ask: Ask, *, only_largest: bool = False, reduction: int = 1) -> QuickDetector:
        """See `LoadedDetector`."""
        other = copy.copy(self)
        other._ask = ask
        other._second = self._second.asking(ask)
        other._only_largest = only_largest
        other._reduction = reduction
        return other

    def warm_up(self) -> None:
        """See `LoadedDetector`."""
        self._second.warm_up()
        sides = {blazeface.NAME: _SMALL_SIDE, face_mesh.NAME: face_mesh.SIDE}
        for name, side in sides.items():
            self._ask([Query(name, np.zeros((side, side, 3), np.uint8))])

    def detect(self, rgb_u8: RgbU8, *, turned: bool = False) -> list[DetectedFace]:
        """See `Detector`."""
        longer = max(rgb_u8.shape[:2])
        finest = min(1.0, SEEN_FACE * self._reduction / LEAST_FACE)
        glance = turned or self._only_largest
        side = _SMALL_SIDE if glance else np.clip(finest * longer, _SMALL_SIDE, _LARGE_SIDE)
        if side < finest * longer and not glance:
            side = _SMALL_SIDE
        scale = float(side) / longer
        faces = self._confirm(
            rgb_u8, self._search([_whole(rgb_u8, scale)], _LIKELY if turned else _FAINT), []
        )
        if turned:
            return _best_first(faces)
        if not (self._only_largest and _has_large(faces, longer)):
            pieces = _pieces_at(rgb_u8, _scales(finest, scale))
            faces = self._confirm(rgb_u8, self._search(pieces, _FAINT), faces)
        if not faces and SEEN_FACE * self._reduction > LEAST_FACE:
            raise TooCoarse(SEEN_FACE * self._reduction / LEAST_FACE)
        if not faces:
            margins = _whole(rgb_u8, _SHRUNK * _SMALL_SIDE / longer, _SHRUNK)
            faces = self._confirm(rgb_u8, self._search([margins], _FAINT), [])
        return _best_first(faces)

    def _search(self, looks: Sequence[_Look], least: float) -> Places:
        """Places in the photo that score at least `least` in any look."""
        answers = self._ask([Query(blazeface.NAME, look.image) for look in looks])
        found = [Places.none()]
        for look, outputs in zip(looks, answers, strict=True):
            height, width = look.image.shape[:2]
            found.append(decode(height, width, outputs, least).moved(look.scale, look.shift))
        places = distinct(join(found))
        likely = int(np.count_nonzero(places.scores >= _LIKELY))
        return places.take(slice(min(_MOST_LOOKS, likely + _MOST_FAINT)))

    def _confirm(
        self, rgb_u8: RgbU8, places: Places, known: list[DetectedFace]
    ) -> list[DetectedFace]:
        """The known faces, and those of places apart from them that a closer look confirms."""
        for face in known:
            places = places.take(overlaps(face.box, places.boxes) <= MAX_OVERLAP)
        if not len(places.scores):
            return known
        if self._reduction > 1:
            self._check_pixels(places)
        transforms = [
            face_mesh.square_transform(box, points[:2])
            for box, points in zip(places.boxes, places.points, strict=True)
        ]
        meshed = self._mesh(rgb_u8, transforms)
        again = _astray(meshed, transforms, _PRECISE)
        for _ in range(_MORE_LOOKS):
            if not again:
                break
            closer = [meshed[i].transform() for i in again]
            looks = self._mesh(rgb_u8, closer)
            for i, look, transform in zip(again, looks, closer, strict=True):
                if face_mesh.astray(meshed[i], transforms[i]) <= 1:
                    # For its points alone: it is a face as sure as it was.
                    look = look._replace(presence=meshed[i].presence)
                meshed[i], transforms[i] = look, transform
            again = _astray(meshed, transforms, 1.0)
        found: list[DetectedFace] = []
        faint: list[DetectedFace] = []
        unseen: list[int] = []
        for i, mesh in enumerate(meshed):
            place = float(places.scores[i])
            if mesh.presence >= _PRESENT:
                score = _score(place, mesh, settled=i not in again)
                one = DetectedFace(box=mesh.box, points=mesh.points, score=score)
                (found if place >= _LIKELY else faint).append(one)
            elif place >= _SURE:
                unseen.append(i)
        boxes = np.stack([face.box for face in faint]) if faint else places.boxes[:0]
        points = np.stack([face.points for face in faint]) if faint else places.points[:0, :5]
        judged = self._second.confirm(
            rgb_u8,
            np.concatenate([boxes, places.boxes[unseen]]),
            np.concatenate([points, _five_points(places.points[unseen])]),
        )
        # FaceMesh's points are the better ones where both see a face.
        found += [face for face in faint if any(_same(face, other) for other in judged)]
        found += [other for other in judged if not any(_same(face, other) for face in faint)]
        return _apart([*known, *found])

    def _check_pixels(self, places: Places) -> None:
        """Raise `TooCoarse` if what is a face for sure has too few pixels to be looked at.

        Weak answers are mostly none, and do not say what there is to be lost.
        """
        boxes = places.boxes[places.scores >= _SURE]
        if not len(boxes):
            return
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        if self._only_largest:
            side, wanted = float(sides.max()), _CROPPED
        else:
            side, wanted = float(sides.min()), face_mesh.FACE_SIDE
        if side < wanted:
            raise TooCoarse(wanted / side)

    def _mesh(
        self, rgb_u8: RgbU8, transforms: Sequence[npt.NDArray[np.float64]]
    ) -> list[face_mesh.MeshedFace]:
        """What FaceMesh says of squares of the photo."""
        squares = [cut_square(rgb_u8, t, face_mesh.SIDE) for t in transforms]
        answers = self._ask([Query(face_mesh.NAME, square) for square in squares])
        return [face_mesh.read(*pair) for pair in zip(answers, transforms, strict=True)]


def _score(place: float, face: face_mesh.MeshedFace, *, settled: bool) -> float:
    """How sure a face is, 0..1, by BlazeFace's score of its place and FaceMesh's presence.

    FaceMesh sees a face in one that lies on its side or head as well, with points that are none;
    BlazeFace hardly does.  What is not sure makes the turned photo be searched too.
    """
    steady = settled and abs(roll_angle(face.points)) < _STEEP
    return min(face.presence, 0.4 + 0.6 * place, 1.0 if steady else _WAVERING)


def _astray(
    meshed: Sequence[face_mesh.MeshedFace],
    transforms: Sequence[npt.NDArray[np.float64]],
    most: float,
) -> list[int]:
    """Faces that are there, but further from where the square was cut than `most`."""
    return [
        i
        for i, (face, transform) in enumerate(zip(meshed, transforms, strict=True))
        if face.presence >= _PRESENT and face_mesh.astray(face, transform) > most
    ]


def _best_first(faces: Sequence[DetectedFace]) -> list[DetectedFace]:
    return sorted(faces, key=lambda face: face.score, reverse=True)


def _has_large(faces: Sequence[DetectedFace], longer_side: int) -> bool:
    return any(float((face.box[2:] - face.box[:2]).max()) >= _LARGE * longer_side for face in faces)


def _whole(rgb_u8: RgbU8, scale: float, share: float = 1.0) -> _Look:
    """The whole photo in the middle of an image, of which it takes `share` along a side."""
    small, to_photo = _shrunk(rgb_u8, scale)
    height, width = (_round_up(side / share) for side in small.shape[:2])
    image = np.zeros((height, width, 3), np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return _Look(image, to_photo, -to_photo * np.array([left, top], np.float32))


def _scales(finest: float, whole: float) -> list[float]:
    """Scales from `finest` on, halved until the whole photo at once is as good.

    A face that is larger than what two pieces have in common, and cut by both, is seen at the
    next scale.
    """
    scales = []
    while finest > 1.05 * whole:
        scales.append(finest)
        finest /= 2
    return scales


def _pieces_at(rgb_u8: RgbU8, scales: Sequence[float]) -> list[_Look]:
    """The photo in pieces, at every scale."""
    looks = []
    for scale in scales:
        small, to_photo = _shrunk(rgb_u8, scale)
        rows, columns = (_pieces(side) for side in small.shape[:2])
        for top, height in rows:
            for left, width in columns:
                image = np.zeros((height, width, 3), np.uint8)
                piece = small[top : top + height, left : left + width]
                image[: piece.shape[0], : piece.shape[1]] = piece
                shift = to_photo * np.array([left, top], np.float32)
                looks.append(_Look(image, to_photo, shift))
    return looks


def _pieces(side: int) -> list[tuple[int, int]]:
    """Begin and length of pieces of equal length that cover `side` pixels."""
    count = max(1, math.ceil((side - _COMMON) / (_PIECE - _COMMON)))
    length = _round_up((side + (count - 1) * _COMMON) / count)
    return [(int(begin), length) for begin in np.linspace(0, max(0, side - length), count)]


def _round_up(pixels: float) -> int:
    return math.ceil(pixels / SIZE_MULTIPLE) * SIZE_MULTIPLE


def _shrunk(rgb_u8: RgbU8, scale: float) -> tuple[RgbU8, Float32]:
    """The photo scaled to whole pixels, and photo pixels per pixel of it, (2,)."""
    height, width = rgb_u8.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(halve(rgb_u8, 1 / scale)[0], size, interpolation=cv2.INTER_LINEAR)
    return small.astype(np.uint8, copy=False), np.array([width, height], np.float32) / size


def _five_points(points: Float32) -> Float32:
    """Five points (K, 5, 2) from BlazeFace's six: enough to tell which way is up."""
    return np.concatenate([points[:, :3], points[:, 3:4], points[:, 3:4]], axis=1)


def _same(face: DetectedFace, other: DetectedFace) -> bool:
    return bool(overlaps(face.box, other.box[None])[0] > MAX_OVERLAP)


def _apart(faces: Sequence[DetectedFace]) -> list[DetectedFace]:
    """Faces without those that are mostly within a better one's box, or around it."""
    kept: list[DetectedFace] = []
    for face in sorted(faces, key=lambda face: face.score, reverse=True):
        if not kept or covers(face.box, np.stack([k.box for k in kept])).max() <= 0.6:
            kept.append(face)
    return kept
