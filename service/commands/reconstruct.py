"""Reconstructing photo files into a directory, for the command line."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from facewright.service.commands.photo_files import each_photo, find_photos, read_photo_file
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
    out.mkdir(parents=True, exist_ok=True)
    with console.status("Loading the models"):
        engine = Engine(settings)
    asked = options.model_copy(
        update={"include": [part for part in options.include if part == "confidences"]}
    )  # what else is included are files of their own
    originals = {photo.resolve() for photo in photos}

    def write(name: str, data: bytes) -> None:
        path = out / name
        if path.resolve() in originals:
            raise FileExistsError(errno.EEXIST, f"its {name} would overwrite one of the photos")
        path.write_bytes(data)

    def work(named: tuple[Path, str]) -> int:
        photo, stem = named
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

    named = list(zip(photos, _distinct_stems(photos), strict=True))
    faces, failures = each_photo(work, named, "Reconstructing", settings.concurrency, console)
    engine.close()

    for photo, stem in named:
        if problem := failures.get((photo, stem)):
            console.print(f"{photo}: {problem}", style="red", markup=False, soft_wrap=True)
    console.print(
        f"{len(faces)} of {len(photos)} photos, {sum(faces.values())} faces, in {out}",
        soft_wrap=True,
    )
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
