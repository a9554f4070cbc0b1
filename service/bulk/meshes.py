"""Meshes from the table: coefficients are all that they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs
from rich.console import Console
from rich.progress import track

from facewright.models.assets import FACE_MODEL
from facewright.service.bulk.manifest import FACES_FOLDER, checksum, known_manifest, write_manifest
from facewright.service.bulk.rows import observed_face
from facewright.service.bulk.storage import StoragePath, storage_path
from facewright.service.bulk.worker import add_to_tar, end_tar, mesh_files
from facewright.service.errors import InvalidParameter, UndecodablePhoto
from facewright.service.options import MeshFormat, ReconstructOptions
from facewright.service.pipeline.engine import Engine, Scene
from facewright.service.pipeline.job import Job
from facewright.service.pipeline.reconstruction import reconstruct_faces
from facewright.service.results.answers import AnswerWriter
from facewright.service.runtime.admission import map_bounded
from facewright.service.settings import Settings

_NEEDED: Final = (
    "photo_index", "width", "height", "face", "box", "score", "crop_transform", "coefficients",
    "confidences", "face_model_sha256",
)  # fmt: skip


def write_meshes(
    rows: str, out: str, formats: Sequence[MeshFormat], options: ReconstructOptions
) -> int:
    """Write the meshes of a table of faces: for each of its files a tar of the same name.

    Goes on where it was interrupted: tars that are there are left alone.

    Args:
        rows: path or URI of a run's results, of the directory of their table, or of one Parquet
            file with such columns, such as a selection of rows.
        out: path or URI of the directory for the tars.
        formats: of the meshes.
        options: what they look like; the texture is the albedo, for there are no photos.

    Returns:
        0.

    Raises:
        InvalidParameter: the table cannot be read or belongs to another face model, or `out` holds
            something else.
        ModelError: a model is missing or unusable.
    """
    console = Console(stderr=True, soft_wrap=True)
    files = _tables(rows)
    target = storage_path(out)
    settings = Settings()
    asked = {
        "rows": rows,
        "meshes": list(formats),
        **options.model_dump(mode="json", include={"mesh", "detail", "targets", "compression"}),
        **options.model_dump(mode="json", include={"expression", "pose"}),
        "face_model_sha256": checksum(settings.face_model, FACE_MODEL),
    }
    if known_manifest(target, asked) is None:
        write_manifest(target, asked)
    tars = [
        target / f"{file.path.rpartition('/')[2].removesuffix('.parquet')}.tar" for file in files
    ]
    missing = [(file, tar) for file, tar in zip(files, tars, strict=True) if not tar.exists]
    if missing:
        with console.status("Loading the models"):
            engine = Engine(settings)
        for file, tar in track(missing, "Meshes", console=console, disable=not console.is_terminal):
            _write_tar(engine, file, tar, formats, options.model_copy(update={"texture": "albedo"}))
        engine.close()
    target.delete_unfinished()
    console.print(f"{len(missing):,} of {len(tars):,} tars written, in {out}", markup=False)
    return 0


def _write_tar(
    engine: Engine,
    file: StoragePath,
    tar: StoragePath,
    formats: Sequence[MeshFormat],
    options: ReconstructOptions,
) -> None:
    def files_of(row: dict[str, Any]) -> list[tuple[str, bytes]]:
        reconstructed = reconstruct_faces(engine.model, [observed_face(row)])
        scene = Scene(row["width"], row["height"], reconstructed, _no_photo)
        writer = AnswerWriter(engine, scene, options, Job())
        face = (row["face"], reconstructed[0])
        return list(mesh_files(writer, [face], formats, row["photo_index"]))

    parallel = engine.settings.concurrency
    with ThreadPoolExecutor(parallel) as pool, tar.writing() as stream:
        rows = _rows(file, engine.model.sha256)
        for meshes in map_bounded(pool, files_of, rows, 2 * parallel):
            add_to_tar(stream, meshes)
        end_tar(stream)


def _tables(rows: str) -> list[StoragePath]:
    """The Parquet files that are meant."""
    origin = storage_path(rows)
    try:
        if origin.kind == pafs.FileType.File:
            return [origin]
        if (origin / FACES_FOLDER).exists:
            origin = origin / FACES_FOLDER
        files = [origin._replace(path=path) for path in origin.files() if path.endswith(".parquet")]
    except OSError as error:
        raise InvalidParameter(f"{rows} cannot be read: {error}") from None
    if not files:
        raise InvalidParameter(f"there is no Parquet file in {rows}")
    if len({path.path.rpartition("/")[2] for path in files}) < len(files):
        raise InvalidParameter(f"files of the same name lie in directories of {rows}")
    return files


def _rows(file: StoragePath, face_model_sha256: str) -> Iterator[dict[str, Any]]:
    """The rows of a file that have a face."""
    try:
        with file.parquet() as parquet:
            missing = [name for name in _NEEDED if name not in parquet.schema_arrow.names]
            if missing:
                raise InvalidParameter(f"{file.name} has no column {', '.join(missing)}")
            for batch in parquet.iter_batches(256, columns=list(_NEEDED)):
                for row in batch.to_pylist():
                    if row["face"] is None:
                        continue
                    if row["face_model_sha256"] != face_model_sha256:
                        raise InvalidParameter(
                            f"{file.name} belongs to the face model {row['face_model_sha256']}, "
                            f"and {face_model_sha256} is loaded"
                        )
                    yield row
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidParameter(f"{file.name} cannot be read: {error}") from None


def _no_photo() -> np.ndarray[Any, Any]:
    raise UndecodablePhoto("A table holds no photos.")
