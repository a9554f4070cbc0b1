"""One part of a run, from its photos to its files; nothing of a cluster in here."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from facewright import __version__
from facewright.service.bulk.manifest import INPUTS, Run
from facewright.service.bulk.rows import SECONDS, face_rows, faces_table, failure_row
from facewright.service.bulk.sources import photo_readers
from facewright.service.errors import FacewrightError, ModelError
from facewright.service.options import MeshFormat
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.job import Job
from facewright.service.pipeline.reconstruction import Reconstruction
from facewright.service.results.answers import AnswerWriter
from facewright.service.runtime.admission import map_bounded

THREADS_PER_PROCESSOR = 2
"""Photos side by side: while the networks answer for some, others are read and decoded."""
_AHEAD = 4
"""Photos in hand for each thread, so that a large one does not hold up the rest."""
SUMMARY = b"facewright.part"
_ANY = 1 << 40
_FAULTS = (FacewrightError.code, ModelError.code)
"""Codes that speak of the worker, not of a photo."""


class _Done(NamedTuple):
    """What became of one photo."""

    rows: list[dict[str, Any]]
    descriptors: list[Any]
    """One per row, or None."""
    files: list[tuple[str, bytes]]


class PartWorker:
    """The loaded models and the threads that work on photos side by side.

    Args:
        run: what to work on.
        processors: how many to use.

    Raises:
        ModelError: a model is missing, or is another than in the manifest.
    """

    def __init__(self, run: Run, processors: int) -> None:
        self._run = run
        settings = run.settings.model_copy(
            update={
                "inference_threads": processors,
                "concurrency": THREADS_PER_PROCESSOR * processors,
                # What is in hand is bounded by the threads.
                "queue_size": _ANY,
                "queue_bytes": _ANY,
            }
        )
        self.engine = Engine(settings)
        """What answers for all photos."""
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="photos")
        self._ahead = _AHEAD * settings.concurrency
        self._same = {
            "facewright": __version__,
            "face_model_sha256": self.engine.model.sha256,
            "weights_sha256": self.engine.weights_sha256,
            "detector": self.engine.detector.name,
        }

    def work(self, part: int) -> dict[str, Any]:
        """Reconstruct the photos of a part and write its files; the same every time but for times.

        Returns:
            Its summary, as `part_summary` reads it from the table.

        Raises:
            ModelError: not one photo failed for a reason of its own.  Nothing is written then.
            OSError: the files cannot be written.
        """
        run, options = self._run, self._run.options
        with (run.out / INPUTS).parquet() as file:
            photos = file.read_row_group(part)
        first = part * options.part_size
        readers = enumerate(
            photo_readers(photos, options.column, self.engine.settings.max_upload_bytes), first
        )
        rows: list[dict[str, Any]] = []
        descriptors: list[Any] = []
        writing = run.meshes_file(part).writing() if options.formats else nullcontext()
        with writing as stream:
            for done in map_bounded(self._pool, self._photo, readers, self._ahead):
                rows += done.rows
                descriptors += done.descriptors
                if stream is not None:
                    add_to_tar(stream, done.files)
            if stream is not None:
                end_tar(stream)
        if options.albums is not None:
            table = pa.table({"descriptor": pa.array(descriptors, pa.list_(pa.float32()))})
            run.descriptors_file(part).write_table(table)
        summary = _summary(rows, len(photos), self.engine)
        if sum(summary["failed"].get(code, 0) for code in _FAULTS) == len(photos):
            raise ModelError(f"every photo of part {part} failed: {rows[0]['detail']}")
        table = faces_table(rows, self.engine.regressor.layout)
        about = {**table.schema.metadata, SUMMARY: json.dumps(summary).encode()}
        run.faces_file(part).write_table(table.replace_schema_metadata(about))
        return summary

    def _photo(self, numbered: tuple[int, tuple[dict[str, Any], Callable[[], bytes]]]) -> _Done:
        index, (row, read) = numbered
        photo = {
            "photo_index": index,
            "photo": row["photo"],
            "album": row["album"],
            **self._same,
        }
        job = Job()
        try:
            done = self._reconstruct(index, photo, read, job)
        except Exception as error:  # a fault of ours in one photo must not end a million others
            if not isinstance(error, FacewrightError):
                error = FacewrightError(f"{type(error).__name__} while it was worked on.")
            done = _Done([failure_row(photo, error)], [None], [])
        for entry in done.rows:
            entry["seconds"] = {stage: job.clock.seconds.get(stage) for stage in SECONDS}
        return done

    def _reconstruct(
        self, index: int, photo: dict[str, Any], read: Callable[[], bytes], job: Job
    ) -> _Done:
        options, engine = self._run.options, self.engine
        with job.stage("read"):
            data = read()
        photo["photo_sha256"] = hashlib.sha256(data).hexdigest()
        textured = bool(options.formats) and options.answer.texture == "photo"
        opened, observed = engine.observe(data, options.answer.faces, job, reduced=not textured)
        photo |= {"width": opened.width, "height": opened.height}
        embeddings = None
        if options.albums is not None:
            embeddings = engine.embed(opened, observed, job)
        scene = engine.scene(data, opened, observed, job)
        rows = list(face_rows(photo, scene.faces, engine.blendshapes))
        writer = AnswerWriter(engine, scene, options.answer, job)
        return _Done(
            rows,
            [None] * len(rows) if embeddings is None else list(embeddings),
            list(mesh_files(writer, enumerate(scene.faces), options.formats, index)),
        )


def mesh_files(
    writer: AnswerWriter,
    faces: Iterable[tuple[int, Reconstruction]],
    formats: Iterable[MeshFormat],
    index: int,
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the meshes of a photo's numbered faces; `index` is the photo's."""
    for number, face in faces:
        for form in formats:
            yield from writer.mesh_files(face, form, f"{index:09d}_face{number}")


def add_to_tar(stream: IO[bytes], files: Iterable[tuple[str, bytes]]) -> None:
    """Append files to a tar; the same files give the same bytes."""
    for name, data in files:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        stream.write(entry.tobuf(tarfile.PAX_FORMAT))
        stream.write(data)
        stream.write(bytes(-len(data) % tarfile.BLOCKSIZE))


def end_tar(stream: IO[bytes]) -> None:
    """Write the end of a tar."""
    stream.write(bytes(2 * tarfile.BLOCKSIZE))


def part_summary(run: Run, part: int) -> dict[str, Any] | None:
    """What `PartWorker.work` said of a part; None of one that is not done.

    `photos`, `faces`, and `failed` by code; the limits of strangers for the weights in use.
    """
    file = run.faces_file(part)
    try:
        metadata = pq.read_schema(file.path, filesystem=file.filesystem).metadata
        return json.loads(metadata[SUMMARY])
    except (OSError, KeyError, pa.ArrowInvalid):
        return None


def _summary(rows: list[dict[str, Any]], photos: int, engine: Engine) -> dict[str, Any]:
    failed: dict[str, int] = {}
    for row in rows:
        if (code := row.get("code")) is not None:
            failed[code] = failed.get(code, 0) + 1
    return {
        "photos": photos,
        "faces": len(rows) - sum(failed.values()),
        "failed": failed,
        "stranger_distance": engine.regressor.stranger_distance,
        "stranger_similarity": engine.stranger_similarity,
    }
