"""A texture of an album's person, baked from the photos that show the face best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facewright.models.arrays import ByteArray
from facewright.models.layout import layout_of
from facewright.models.texture.views import TextureView
from facewright.service.options import Subject
from facewright.service.pipeline.album import Album, AlbumFace, Source, album_face, album_picture
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.hairline import Scalp
from facewright.service.pipeline.job import Job
from facewright.service.pipeline.scalp import scalp_in_photo, scalp_of_album

MOST_VIEWS = 8
"""More photos than this add work and memory, and hardly anything that is not seen yet."""

_YAW_STEP = 25.0
"""Degrees; photos of one step show the same side of the face."""
_PIXELS_PER_TEXEL = 1.5
"""Resolution of the face in a decoded photo, along its longer side: a little more than used."""


def album_texture(
    engine: Engine,
    album: Album,
    sources: Sequence[Source],
    size: int,
    job: Job,
    subject: Subject = "face",
) -> ByteArray:
    """Bake the texture (size, size, 3) of the album's identity, its face or head; blocks.

    Each photo is weighed by the mean confidence in it; a head's hair is what most photos show.
    Raises `DeadlinePassed`, and `BadPhoto` when a photo that could be decoded before cannot any
    more.
    """
    views, scalps = [], []
    for index in choose_views(album):
        photo = album.photos[index]
        assert isinstance(photo, AlbumFace)  # only such are chosen
        view, scalp = _view(engine, album, sources[index], photo, size, job, subject)
        views.append(view)
        scalps += [scalp] if scalp is not None else []
    job.check()
    albedo = engine.model.albedo(album.albedo[None])[0]
    with job.stage("texture"):
        return engine.bake(
            views, albedo, size, scalp_of_album(scalps) if subject == "head" else None
        )


def choose_views(album: Album) -> list[int]:
    """Indices of at most `MOST_VIEWS` used photos, of every side of the face the most confident.

    Photos are taken in turns from the steps of the yaw angle, so that many frontal photos do not
    keep out the only one from the side.
    """
    sides: dict[int, list[tuple[float, int]]] = {}
    for index, photo in enumerate(album.photos):
        if isinstance(photo, AlbumFace) and photo.used:
            yaw = np.degrees(
                layout_of(photo.observed.coefficients)
                .split(photo.observed.coefficients[None])
                .rotation[0, 1]
            )
            ranked = (-float(photo.observed.confidences.mean()), index)
            sides.setdefault(round(float(yaw) / _YAW_STEP), []).append(ranked)
    turns = [
        (turn, *ranked) for members in sides.values() for turn, ranked in enumerate(sorted(members))
    ]
    return [index for _, _, index in sorted(turns)[:MOST_VIEWS]]


def _view(
    engine: Engine,
    album: Album,
    source: Source,
    photo: AlbumFace,
    size: int,
    job: Job,
    subject: Subject,
) -> tuple[TextureView, Scalp | None]:
    """A photo's face as the baker takes it, and what it tells of a head's hair.

    Only the part of the photo with the face is kept.
    """
    with job.stage("reconstruct"):
        face = album_face(engine, album, photo)
    points = face.projected()
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    longest = max(photo.width, photo.height)
    reduction = min(1.0, _PIXELS_PER_TEXEL * size / float((high - low).max()))
    picture = album_picture(engine, source, max(1, round(longest * reduction)), job)
    height, width = picture.shape[:2]
    scale = np.array([width / photo.width, height / photo.height])
    seen = engine.segment(picture, (face.landmarks_px * scale).astype(np.float32), job)
    scalp = None
    if subject == "head":
        scalp = scalp_in_photo(picture, face, engine.known_heads(), scale, seen)
    left, top = np.clip(np.floor(low * scale) - 2, 0, [width - 1, height - 1]).astype(int)
    right, bottom = np.clip(np.ceil(high * scale) + 2, [left + 1, top + 1], [width, height]).astype(
        int
    )
    points[:, :2] = points[:, :2] * scale - [left, top]
    part = np.ascontiguousarray(picture[top:bottom, left:right])
    weight = float(photo.observed.confidences.mean())
    if seen is not None:
        seen = seen.moved(np.array([left, top]))
    return TextureView(part, face.posed_vertices(), points, weight, seen), scalp
