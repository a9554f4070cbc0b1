"""The second table: one identity per album, from the rows of its photos (eq. 7)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from facewright.service.bulk.manifest import ALBUMS_FOLDER, DESCRIPTORS_FOLDER, Run
from facewright.service.bulk.rows import observed_face
from facewright.service.bulk.worker import part_summary
from facewright.service.errors import FacewrightError, TooFewPhotos
from facewright.service.options import AlbumOptions
from facewright.service.pipeline.album import (
    Album,
    AlbumFace,
    FailedPhoto,
    SeenPhoto,
    aggregate_album,
)

ALBUMS: Final = pa.schema(
    [
        pa.field("album", pa.string()),
        pa.field("photos", pa.int32(), nullable=False),
        pa.field("photos_used", pa.int32(), nullable=False),
        pa.field("code", pa.string()),
        pa.field("identity", pa.list_(pa.float32())),
        pa.field("albedo", pa.list_(pa.float32())),
        pa.field(
            "members",
            pa.list_(
                pa.struct(
                    [
                        ("photo_index", pa.int64()),
                        ("photo", pa.string()),
                        ("face", pa.int32()),
                        ("share", pa.float32()),
                        ("distance", pa.float32()),
                        ("similarity", pa.float32()),
                        ("stranger", pa.bool_()),
                    ]
                )
            ),
        ),
    ]
)
"""One row per album; `members` are its photos with a face, and which face of each was taken."""

_NEEDED: Final = (
    "photo_index", "photo", "album", "width", "height", "code", "detail", "face", "box", "score",
    "crop_transform", "coefficients", "confidences",
)  # fmt: skip
_ALBUMS_PER_FILE: Final = 1000


def write_albums(run: Run) -> None:
    """Write the albums of a run whose parts are all done, and delete what only they needed.

    One album is in memory at a time, with the part that it ends in.
    """
    summary = part_summary(run, 0)
    assert summary is not None
    limits = summary["stranger_distance"], summary["stranger_similarity"]
    rows = (
        _album_row(album, list(photos), *limits)
        for album, photos in groupby(_photos(run), key=lambda photo: photo[0]["album"])
    )
    folder = run.out / ALBUMS_FOLDER
    number = 0
    while some := list(islice(rows, _ALBUMS_PER_FILE)):
        table = pa.Table.from_pylist(some, schema=ALBUMS)
        (folder / f"part-{number:05d}.parquet").write_table(table)
        number += 1
    (folder / "_SUCCESS").write(b"")
    descriptors = run.out / DESCRIPTORS_FOLDER
    if descriptors.exists:
        descriptors.filesystem.delete_dir(descriptors.path)


def albums_written(run: Run) -> bool:
    """Whether `write_albums` has come to its end."""
    return (run.out / ALBUMS_FOLDER / "_SUCCESS").exists


def _photos(run: Run) -> Iterator[list[dict[str, Any]]]:
    """The rows of each photo, with what tells its faces apart, in the order of albums."""
    for part in range(run.parts):
        with run.faces_file(part).parquet() as file, run.descriptors_file(part).parquet() as beside:
            told = beside.read().column("descriptor")
            rows = file.read(list(_NEEDED)).append_column("descriptor", told).to_pylist()
        for _, photo in groupby(rows, key=lambda row: row["photo_index"]):
            yield list(photo)


def _album_row(
    album: str | None,
    photos: list[list[dict[str, Any]]],
    stranger_distance: float,
    stranger_similarity: float | None,
) -> dict[str, Any]:
    seen = [_seen(rows) for rows in photos]
    if not any(isinstance(photo, SeenPhoto) for photo in seen):
        return {"album": album, "photos": len(photos), "photos_used": 0, "code": TooFewPhotos.code}
    # Confidences of weights without a C-Net are all 1: theirs is the plain mean.
    result = aggregate_album(seen, AlbumOptions(), stranger_distance, stranger_similarity)
    return {
        "album": album,
        "photos": len(photos),
        "photos_used": result.photos_used,
        "identity": result.identity,
        "albedo": result.albedo,
        "members": list(_members(photos, seen, result)),
    }


def _seen(rows: list[dict[str, Any]]) -> SeenPhoto | FailedPhoto:
    if rows[0]["code"] is not None:
        return FailedPhoto(FacewrightError(rows[0]["detail"]))
    faces = [observed_face(row, row["descriptor"]) for row in rows]
    told = [face.descriptor for face in faces if face.descriptor is not None]
    embeddings = None if len(told) < len(faces) else np.stack(told)
    return SeenPhoto(rows[0]["width"], rows[0]["height"], faces, embeddings)


def _members(
    photos: list[list[dict[str, Any]]], seen: list[SeenPhoto | FailedPhoto], album: Album
) -> Iterator[dict[str, Any]]:
    for rows, before, after in zip(photos, seen, album.photos, strict=True):
        if not isinstance(before, SeenPhoto) or not isinstance(after, AlbumFace):
            continue
        taken = next(i for i, face in enumerate(before.faces) if face is after.observed)
        yield {
            "photo_index": rows[taken]["photo_index"],
            "photo": rows[taken]["photo"],
            "face": rows[taken]["face"],
            "share": after.share,
            "distance": after.distance,
            "similarity": after.similarity,
            "stranger": after.is_stranger,
        }
