"""The way of an album: its photos one by one, then one identity for all; no HTTP in here.

Deng et al. 2019, section 4: coefficients and confidences of each photo come from the networks,
identities are aggregated by confidence (eq. 7), and each photo is shown with the album's
identity in its own expression, pose and light (eq. 8).

Photos are only ever decoded a few at a time.  What is kept of each is its file and a few
hundred numbers per face; a picture of it is made from the file again, no larger than needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from facewright.models.aggregation import aggregate, shares
from facewright.models.agreement import (
    album_distances,
    album_similarities,
    consistent_faces,
    minority,
)
from facewright.models.arrays import ByteArray, FloatArray
from facewright.models.layout import layout_of
from facewright.service.errors import BadPhoto, FacewrightError, NoFaceFound, TooFewPhotos
from facewright.service.options import AlbumOptions, Faces, Strategy
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.job import Job, SharedJob
from facewright.service.pipeline.overlay import draw_overlay
from facewright.service.pipeline.photo import decode_photo
from facewright.service.pipeline.reconstruction import (
    ObservedFace,
    Reconstruction,
    reconstruct_faces,
)

Item = TypeVar("Item")
Result = TypeVar("Result")

Source = Callable[[], bytes]
"""Reads the file of a photo; may raise `BadPhoto` in its place."""


class PhotoMap(Protocol):
    """Calls a function for photos side by side; yields the results in the photos' order.

    It works on no more photos ahead of the results taken than are held in memory easily.
    """

    def __call__(
        self, work: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[Result]:
        """Yield `work` of each of `items`."""
        ...


@dataclass(frozen=True, eq=False)
class FailedPhoto:
    """A photo of an album without a usable face."""

    problem: FacewrightError


@dataclass(frozen=True, eq=False)
class AlbumFace:
    """A photo of an album and the face that was chosen in it."""

    width: int
    """Of the photo, px."""
    height: int
    observed: ObservedFace
    """The face as this photo alone shows it."""
    faces_found: int
    """How many faces there were to choose from."""
    distance: float | None
    """From the rest of the album (`models.agreement.album_distances`); None without a rest."""
    similarity: float | None
    """To the rest of the album (`models.agreement.album_similarities`); None without a rest, or
    without embeddings or descriptors."""
    is_stranger: bool
    """Whether it seems to show somebody else: by what tells faces apart, or by its shape."""
    used: bool
    """False for a photo that was left out of the album."""
    share: float
    """Part in the identity, mean of all coefficients; 0 for a photo that was left out."""


@dataclass(frozen=True, eq=False)
class Album:
    """The one identity of some photos, and what each of them is in it."""

    photos: list[AlbumFace | FailedPhoto]
    """In the order of the sources."""
    identity: FloatArray
    """(80,): alpha of eq. 7."""
    albedo: FloatArray
    """(80,): mean delta of the photos used."""

    @property
    def photos_used(self) -> int:
        """How many photos were not left out and have not failed."""
        return sum(isinstance(photo, AlbumFace) and photo.used for photo in self.photos)


@dataclass(frozen=True, eq=False)
class SeenPhoto:
    """A photo of an album before its face is chosen."""

    width: int
    height: int
    faces: list[ObservedFace]
    embeddings: FloatArray | None
    """(F, D) of the faces; of all photos of an album, or of none."""


def solve_album(
    engine: Engine,
    sources: Sequence[Source],
    options: AlbumOptions,
    photo_map: PhotoMap,
    job: SharedJob,
) -> Album:
    """Find the face in each photo and aggregate the identity; blocks.

    A photo that cannot be used is part of the result and stops nothing.

    Raises:
        TooFewPhotos: fewer than `options.min_photos` can be used.
        QueueFull, DeadlinePassed, NotReady, ModelError: as `Engine.observe` and `Engine.embed`.
    """
    which: Faces = "largest" if options.faces == "largest" else "all"

    def look(source: Source) -> SeenPhoto | FailedPhoto:
        with job.child() as own:
            try:
                photo, faces = engine.observe(source(), which, own, reduced=True)
            except (BadPhoto, NoFaceFound) as error:
                # A new one: the frames that this one came through hold the photo.
                return FailedPhoto(type(error)(error.detail))
            embeddings = engine.embed(photo, faces, own)
            return SeenPhoto(photo.width, photo.height, faces, embeddings)

    seen = list(photo_map(look, sources))
    job.check()
    if not any(isinstance(photo, SeenPhoto) for photo in seen):
        raise TooFewPhotos(_too_few(seen, 0, options.min_photos))
    with job.stage("reconstruct"):
        limits = engine.regressor.stranger_distance, engine.stranger_similarity
        options = options.model_copy(update={"strategy": album_strategy(engine, options)})
        album = aggregate_album(seen, options, *limits)
    if album.photos_used < options.min_photos:
        raise TooFewPhotos(_too_few(seen, album.photos_used, options.min_photos))
    return album


def album_strategy(engine: Engine, options: AlbumOptions) -> Strategy:
    """How photos are weighed: as asked for, but all alike by weights that have no confidences."""
    return options.strategy if engine.regressor.confides else "mean"


def album_face(engine: Engine, album: Album, photo: AlbumFace) -> Reconstruction:
    """The geometry of a photo's face with the album's identity (eq. 8); a stranger's own.

    Coefficients and confidences stay those of the photo.
    """
    shown = photo.observed
    if photo.used:
        coefficients = shown.coefficients.copy()
        coefficients[layout_of(coefficients).identity] = album.identity
        shown = replace(shown, coefficients=coefficients)
    face = reconstruct_faces(engine.model, [shown])[0]
    return replace(face, coefficients=photo.observed.coefficients)


def album_picture(engine: Engine, source: Source, longest_side: int, job: Job) -> ByteArray:
    """A photo, reduced to at most `longest_side` px: (H, W, 3).

    Raises `BadPhoto` when it cannot be decoded, `DeadlinePassed`.
    """
    job.check()
    with job.stage("decode"):
        return decode_photo(source(), engine.limits, longest_side)


def album_overlay(
    engine: Engine,
    picture: ByteArray,
    photo: AlbumFace,
    face: Reconstruction,
    *,
    landmarks: bool,
    job: Job,
) -> ByteArray:
    """A copy of the photo's `picture`, in any size, with its `face` drawn on it: (H, W, 3).

    Raises `DeadlinePassed`.
    """
    job.check()
    height, width = picture.shape[:2]
    scale = np.array([width / photo.width, height / photo.height])
    reduced = replace(
        face,
        intrinsics=np.diag([*scale, 1.0]) @ face.intrinsics,
        landmarks_px=(face.landmarks_px * scale).astype(np.float32),
    )
    with job.stage("overlay"):
        return draw_overlay(picture, engine.model, [reduced], landmarks=landmarks)


def aggregate_album(
    seen: Sequence[SeenPhoto | FailedPhoto],
    options: AlbumOptions,
    stranger_distance: float,
    stranger_similarity: float | None,
) -> Album:
    """The one identity of photos whose faces have been observed.

    Of several faces in a photo the one that is consistent with the others is taken.

    Args:
        seen: the photos, in their order; at least one of them with a face.
        options: `strategy` and `outliers` of them.
        stranger_distance: of the weights, see `Regressor.stranger_distance`.
        stranger_similarity: see `Engine.stranger_similarity`.
    """
    usable = [photo for photo in seen if isinstance(photo, SeenPhoto)]
    chosen = consistent_faces(
        [
            _identity(photo.faces) if photo.embeddings is None else photo.embeddings
            for photo in usable
        ]
    )
    faces = [photo.faces[index] for photo, index in zip(usable, chosen, strict=True)]
    embeddings = [
        photo.embeddings[index]
        for photo, index in zip(usable, chosen, strict=True)
        if photo.embeddings is not None
    ]
    identity = _identity(faces)
    confidences = np.stack([face.confidences for face in faces])
    albedo = np.stack([face.coefficients[layout_of(face.coefficients).albedo] for face in faces])
    distances: list[float | None] = [None] * len(faces)
    similarities: list[float | None] = [None] * len(faces)
    strangers = np.zeros(len(faces), bool)
    if len(faces) > 1:
        apart = album_distances(identity)
        distances, strangers = apart.tolist(), apart > stranger_distance
    if len(embeddings) > 1:
        alike = album_similarities(np.stack(embeddings))
        similarities = alike.tolist()
        if stranger_similarity is not None:
            strangers = alike < stranger_similarity
    weights = np.ones(len(faces))
    if options.outliers == "drop":
        weights[minority(strangers)] = 0.0
    part = shares(confidences, options.strategy, weights).mean(axis=1)
    placed = iter(
        AlbumFace(
            width=photo.width,
            height=photo.height,
            observed=face,
            faces_found=len(photo.faces),
            distance=distances[row],
            similarity=similarities[row],
            is_stranger=bool(strangers[row]),
            used=bool(weights[row]),
            share=float(part[row]),
        )
        for row, (photo, face) in enumerate(zip(usable, faces, strict=True))
    )
    return Album(
        photos=[photo if isinstance(photo, FailedPhoto) else next(placed) for photo in seen],
        identity=aggregate(identity, confidences, options.strategy, weights),
        albedo=np.average(albedo, axis=0, weights=weights).astype(np.float32),
    )


def _identity(faces: Sequence[ObservedFace]) -> FloatArray:
    """(N, 80)."""
    return np.stack([face.coefficients[layout_of(face.coefficients).identity] for face in faces])


def _too_few(seen: Sequence[SeenPhoto | FailedPhoto], used: int, asked: int) -> str:
    problems = [
        f"photo {index}: {photo.problem.code}"
        for index, photo in enumerate(seen)
        if isinstance(photo, FailedPhoto)
    ]
    if strangers := len(seen) - used - len(problems):
        problems.append(f"{strangers} left out as strangers")
    verb = "is" if asked == 1 else "are"
    return (
        f"{used} of {len(seen)} photos can be used, but {asked} {verb} asked for"
        f"{' (' + ', '.join(problems) + ')' if problems else ''}."
    )
