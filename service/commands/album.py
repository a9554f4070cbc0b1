"""Reconstructing a directory of photos of one person, for the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from facewright.service.commands.photo_files import find_photos, read_photo_file
from facewright.service.errors import InvalidParameter, UndecodablePhoto
from facewright.service.formats.media_types import JPEG
from facewright.service.formats.pictures import encode_picture
from facewright.service.options import AlbumOptions, MeshFormat
from facewright.service.pipeline.album import Source, solve_album
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.job import SharedJob
from facewright.service.results.album_answers import AlbumWriter
from facewright.service.results.album_page import PhotoRow, album_page, evidence, stranger_limit
from facewright.service.results.contact_sheet import TILE_SIDE
from facewright.service.runtime.admission import map_bounded
from facewright.service.settings import Settings

PAGE = "album.html"
PAGE_MESH = "identity.glb"

Item = TypeVar("Item")
Result = TypeVar("Result")


def album_files(
    paths: Sequence[Path], out: Path, options: AlbumOptions, forms: Sequence[MeshFormat]
) -> int:
    """Reconstruct the one identity of photos, with progress bars.

    `paths` are photos, and directories whose own photos are taken; any number, at least 2.
    Writes to `out`: `result.json`, and what `options.include` asks for: `identity.glb` and the
    other `forms` (an OBJ file with its material and texture, if one is asked for), and
    `album.html`, a page of all photos with the identity drawn on them that needs no other file.

    Returns 0, or 1 when a photo failed.  Raises `InvalidParameter` when there are too few
    photos, `TooFewPhotos` when too few can be used, `ModelError` when nothing can be done.
    """
    console = Console(stderr=True)
    settings = Settings()
    photos = [path for _, path in find_photos(paths, subdirectories=False)]
    if len(photos) < 2:
        raise InvalidParameter(f"an album has at least 2 photos, and {photos[0]} is the only one")
    paged = "overlay" in options.include
    described = paged or "confidences" in options.include  # the page shows them
    asked = options.model_copy(update={"include": ["confidences"] if described else []})
    with console.status("Loading the models"):
        engine = Engine(settings)
    out.mkdir(parents=True, exist_ok=True)
    sources = [_source(photo, settings) for photo in photos]
    job = SharedJob()

    with ThreadPoolExecutor(settings.concurrency) as pool:
        photo_map = partial(map_bounded, pool, parallel=settings.concurrency)

        def finding(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            done = photo_map(work, items)
            yield from track(done, "Reconstructing", len(photos), console=console)

        def row(index: int) -> PhotoRow:
            with job.child() as own:
                pictures = writer.pictures(index, TILE_SIDE, own)
            photo, overlay = (
                None if picture is None else encode_picture(picture, JPEG) for picture in pictures
            )
            return PhotoRow(result.photos[index], photo, overlay)

        album = solve_album(engine, sources, options, finding, job)
        names = [photo.name for photo in photos]
        writer = AlbumWriter(engine, album, sources, asked, photo_map, job, names)
        result = writer.result()
        rows: list[PhotoRow] = []
        if paged:
            drawing = photo_map(row, range(len(photos)))
            rows = list(track(drawing, "Drawing", len(photos), console=console))
    meshes = dict(writer.mesh_files(forms)) if "mesh" in options.include else {}
    for file, content in meshes.items():
        (out / file).write_bytes(content)
    (out / "result.json").write_text(result.model_dump_json(exclude_none=True), "utf-8")
    if paged:
        shown = meshes.get(PAGE_MESH) or dict(writer.mesh_files(["glb"]))[PAGE_MESH]
        title = (paths[0] if paths[0].is_dir() else paths[0].parent).resolve().name
        (out / PAGE).write_text(album_page(title, result, rows, shown), "utf-8")
    engine.close()

    for photo in result.photos:
        if photo.problem is not None:
            problem = f"{photo.name}: {photo.problem.title}: {photo.problem.detail}"
            console.print(problem, style="red", markup=False, soft_wrap=True)
        elif photo.likeness is not None and photo.likeness.stranger:
            left_out = ", left out" if photo.status == "left_out" else ""
            console.print(
                f"{photo.name}: seems to show somebody else "
                f"({' '.join(evidence(photo.likeness))}, {stranger_limit(result)[1]}){left_out}",
                style="yellow", markup=False, soft_wrap=True,
            )  # fmt: skip
    console.print(
        f"identity of {album.photos_used} of {len(photos)} photos in {out}"
        + (f"; see {out / PAGE}" if paged else ""),
        soft_wrap=True,
    )
    return int(any(photo.status == "failed" for photo in result.photos))


def _source(photo: Path, settings: Settings) -> Source:
    def read() -> bytes:
        try:
            return read_photo_file(photo, settings)
        except OSError as error:
            raise UndecodablePhoto(f"The file cannot be read: {error.strerror}.") from None

    return read
