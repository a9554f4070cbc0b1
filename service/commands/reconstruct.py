"""Reconstructing photo files into a directory, for the command line."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import track

from facewright.service.commands.photo_files import find_photos, read_photo_file
from facewright.service.errors import FacewrightError
from facewright.service.formats.media_types import JPEG, PNG
from facewright.service.options import MeshFormat, ReconstructOptions
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.job import Job
from facewright.service.results.answers import AnswerWriter
from facewright.service.settings import Settings

OVERLAY_TYPES = {"jpg": JPEG, "png": PNG}


def reconstruct_files(
    photos: Sequence[Path],
    out: Path,
    options: ReconstructOptions,
    forms: Sequence[MeshFormat],
    overlay: str,
) -> int:
    """Reconstruct photos and directories of photos into the directory `out`, with a progress bar.

    For `portrait.jpg` it writes `portrait.json`, and what `options.include` asks for:
    `portrait_overlay.jpg` (`overlay`: "jpg" or "png"), `portrait_face0.glb`, ... (largest face
    first), and confidences in the JSON.  Photos of the same name
    get `portrait-2`, and so on.  A photo whose results would overwrite one of `photos` fails.
    In the camera's frame several faces also make one scene, `portrait_scene.glb`.
    An OBJ file with a texture comes with a `.mtl` and a `.png` file.
    What goes wrong with a photo is reported at the end.

    Returns 0, or 1 when a photo failed.  Raises `InvalidParameter` when there is no photo,
    `ModelError` when nothing can be done at all.
    """
    photos = [path for _, path in find_photos(photos)]
    console = Console(stderr=True)
    settings = Settings()
    with console.status("Loading the models"):
        engine = Engine(settings)
    out.mkdir(parents=True, exist_ok=True)
    asked = options.model_copy(
        update={"include": [part for part in options.include if part == "confidences"]}
    )  # what else is included are files of their own
    originals = {photo.resolve() for photo in photos}

    def write(name: str, data: bytes) -> None:
        path = out / name
        if path.resolve() in originals:
            raise FileExistsError(errno.EEXIST, f"its {name} would overwrite one of the photos")
        path.write_bytes(data)

    def work(photo: Path, stem: str) -> int:
        job = Job()
        scene = engine.reconstruct(read_photo_file(photo, settings), options.faces, job)
        writer = AnswerWriter(engine, scene, asked, job)
        write(f"{stem}.json", writer.json_answer().body)
        if "overlay" in options.include:
            write(f"{stem}_overlay.{overlay}", writer.picture(OVERLAY_TYPES[overlay]))
        for index, face in enumerate(scene.faces):
            for form in forms if "mesh" in options.include else ():
                for name, data in writer.mesh_files(face, form, f"{stem}_face{index}"):
                    write(name, data)
        if "mesh" in options.include and "glb" in forms and writer.makes_scene:
            write(f"{stem}_scene.glb", writer.scene_file())
        return len(scene.faces)

    faces = 0
    failures: dict[Path, str] = {}
    with ThreadPoolExecutor(settings.concurrency) as pool:
        running = {
            pool.submit(work, photo, stem): photo
            for photo, stem in zip(photos, _distinct_stems(photos), strict=True)
        }
        try:
            for done in track(
                as_completed(running), "Reconstructing", len(running), console=console
            ):
                try:
                    faces += done.result()
                except FacewrightError as error:
                    failures[running[done]] = f"{error.title}: {error.detail}"
                except OSError as error:
                    failures[running[done]] = error.strerror or str(error)
        except BaseException:  # Ctrl-C ends the photos in hand, not all that were named
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    engine.close()

    for photo in photos:
        if photo in failures:
            console.print(f"{photo}: {failures[photo]}", style="red", markup=False, soft_wrap=True)
    succeeded = len(photos) - len(failures)
    console.print(f"{succeeded} of {len(photos)} photos, {faces} faces, in {out}", soft_wrap=True)
    return 1 if failures else 0


def _distinct_stems(photos: Sequence[Path]) -> Iterator[str]:
    taken: set[str] = set()
    for photo in photos:
        stem, number = photo.stem, 1
        while stem in taken:
            number += 1
            stem = f"{photo.stem}-{number}"
        taken.add(stem)
        yield stem
