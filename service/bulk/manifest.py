"""What a run was asked for: the manifest that makes the same command go on, and no other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from facewright import __version__
from facewright.models.assets import FACE_MODEL, WEIGHTS, asset_path, sha256
from facewright.service.bulk.sources import list_photos
from facewright.service.bulk.storage import StoragePath, is_unfinished, storage_path
from facewright.service.errors import InvalidParameter, ModelError
from facewright.service.options import MeshFormat, ReconstructOptions
from facewright.service.settings import Settings

MANIFEST: Final = "manifest.json"
INPUTS: Final = "inputs.parquet"
"""The photos, one row group per part."""
FACES_FOLDER: Final = "faces"
MESHES_FOLDER: Final = "meshes"
ALBUMS_FOLDER: Final = "albums"
DESCRIPTORS_FOLDER: Final = "descriptors"
"""What tells people apart; it is deleted when the albums are written."""

_MATTERING: Final = (
    "detector",
    "insightface_pack",
    "max_faces",
    "max_pixels",
    "max_upload_bytes",
    "tensorrt_fp16",
)
"""Settings that rows depend on."""


@dataclass(frozen=True)
class BulkOptions:
    """What is asked of a run."""

    source: str
    """Path or URI."""
    out: str
    column: str = "path"
    albums: str | None = None
    answer: ReconstructOptions = ReconstructOptions(texture="albedo")
    """`faces`, and of meshes what they look like."""
    formats: tuple[MeshFormat, ...] = ()
    """Of meshes; none without."""
    part_size: int = 256
    """Photos of one part: what is lost when it is interrupted, and one file."""


@dataclass(frozen=True)
class Run:
    """A run whose photos are listed; it travels to whoever works on its parts."""

    options: BulkOptions
    settings: Settings
    photos: int

    @property
    def out(self) -> StoragePath:
        """The directory of the results."""
        return storage_path(self.options.out)

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.photos // self.options.part_size)

    def faces_file(self, part: int) -> StoragePath:
        """The table of a part; written last, so that a part is done when it is there."""
        return self.out / FACES_FOLDER / f"part-{part:05d}.parquet"

    def meshes_file(self, part: int) -> StoragePath:
        """The tar of a part's meshes."""
        return self.out / MESHES_FOLDER / f"part-{part:05d}.tar"

    def descriptors_file(self, part: int) -> StoragePath:
        """Descriptors, row by row with the table of a part."""
        return self.out / DESCRIPTORS_FOLDER / f"part-{part:05d}.parquet"


def absolute(name: str) -> str:
    """A path from wherever a command is given; a URI as it is."""
    return name if "://" in name else str(Path(name).absolute())


def open_run(options: BulkOptions, settings: Settings) -> Run:
    """Begin a run, or find the one that the same options have begun.

    The photos are listed when a run begins, and stay what they are.

    Raises:
        InvalidParameter: `options.out` holds something else, or see `list_photos`.
        ModelError: a model is missing.
    """
    out = storage_path(options.out)
    asked = _manifest(options, settings)
    known = known_manifest(out, asked)
    if known is None:
        photos = list_photos(options.source, options.column, options.albums)
        (out / INPUTS).write_table(photos, row_group_size=options.part_size, compression="snappy")
        known = asked | {"photos": len(photos)}
        write_manifest(out, known)
    return Run(options, settings, known["photos"])


def known_manifest(out: StoragePath, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest in a directory of results, if it says what is `asked`; None without results.

    Raises:
        InvalidParameter: the directory holds results of something else.
    """
    if (out / MANIFEST).exists:
        try:
            known: dict[str, Any] = json.loads((out / MANIFEST).read())
        except ValueError:
            raise InvalidParameter(f"{(out / MANIFEST).name} is no manifest") from None
        for name, value in asked.items():
            if known.get(name) != value:
                raise InvalidParameter(
                    f"{out.name} holds a run with {name} {known.get(name)}, not {value}: "
                    "name another directory"
                )
        return known
    # A run that was killed while it listed its photos has left no more than these.
    if any(path != (out / INPUTS).path and not is_unfinished(path) for path in out.files()):
        raise InvalidParameter(f"{out.name} is not empty and holds no run: name another directory")
    return None


def write_manifest(out: StoragePath, manifest: dict[str, Any]) -> None:
    """Write what `known_manifest` reads."""
    (out / MANIFEST).write(json.dumps(manifest, indent=1).encode())


def _manifest(options: BulkOptions, settings: Settings) -> dict[str, Any]:
    answer = options.answer.model_dump(mode="json", exclude={"include", "landmarks", "mesh_format"})
    if not options.formats:
        answer = {"faces": options.answer.faces}
    return {
        "source": options.source,
        "column": options.column,
        "albums": options.albums,
        "part_size": options.part_size,
        "meshes": list(options.formats),
        **answer,
        **settings.model_dump(mode="json", include=set(_MATTERING)),
        "face_model_sha256": checksum(settings.face_model, FACE_MODEL),
        "weights_sha256": checksum(settings.weights, WEIGHTS),
        "facewright": __version__,
    }


def checksum(own: Path | None, shipped: str) -> str:
    """That of a model file, or of the shipped one.  Raises `ModelError` when it is missing."""
    try:
        return sha256(own or asset_path(shipped))
    except OSError as error:
        raise ModelError(str(error)) from None
