"""Detecting the faces of photo files into one `.npz`, for the command line.

Training aligns photographs with these points, and so sees the crops that the service makes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from facewright.models.arrays import Array
from facewright.service.commands.photo_files import each_photo, find_photos, read_photo_file
from facewright.service.errors import InvalidParameter
from facewright.service.networks.detection import DetectedFace, Detector, detect_any_orientation
from facewright.service.options import Faces
from facewright.service.pipeline.loading import open_detector
from facewright.service.pipeline.photo import ImageLimits, decode_photo
from facewright.service.settings import Settings


def detect_files(photos: Sequence[Path], out: Path | None, faces: Faces) -> int:
    """Detect the faces of photos and of directories of photos, with a progress bar.

    Without `out` it prints one JSON object per face, with `name`, `box`, `points` and `score`; of
    a photo without a face only the name.  Else it writes `out`, an `.npz` whose rows are ordered by
    name and, if all faces are asked for, the largest first (N rows):

    - `names`: path of the photo relative to the directory it was found in, with slashes;
    - `boxes` (N, 4) float32: x0, y0, x1, y1;
    - `points` (N, 5, 2) float32: the alignment points in the order of `DetectedFace.points`;
    - `scores` (N,) float32: confidence, 0..1.

    Coordinates are pixels of the photo as a viewer shows it (EXIF applied), pixel centers at
    halves.  A photo without a face, or that cannot be read, has one row of NaN.  What
    goes wrong with a photo is reported at the end; the file is written all the same.

    Returns 0, or 1 when a photo failed; one without a face does not fail.  Raises
    `InvalidParameter` when two photos have the same name, there is none at all or `out` is one
    of them, `ModelError` when the detector cannot be loaded.
    """
    console = Console(stderr=True)
    settings = Settings()
    named = _name_photos(photos)
    if out is not None and out.resolve() in {path.resolve() for path in named.values()}:
        raise InvalidParameter(f"{out} is one of the photos")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    # Photos are worked on side by side already: more threads would only switch.
    cv2.setNumThreads(1)
    with console.status("Loading the detector"):
        detector = open_detector(settings)

    def work(name: str) -> list[DetectedFace]:
        return _detect(detector, named[name], settings)

    found, failures = each_photo(work, list(named), "Detecting", settings.concurrency, console)

    count = None if faces == "all" else 1
    detected = {name: found.get(name, [])[:count] for name in named}
    if out is None:
        _print({name: faces for name, faces in detected.items() if name not in failures})
    else:
        _write(out, detected)
    for name in sorted(failures):
        console.print(f"{name}: {failures[name]}", style="red", markup=False, soft_wrap=True)
    faceless = sum(not detected for detected in found.values())
    console.print(
        f"{len(named) - len(failures)} of {len(named)} photos, {faceless} of them without a face"
        + (f" in {out}" if out is not None else ""),
        soft_wrap=True,
    )
    return 1 if failures else 0


def _name_photos(photos: Sequence[Path]) -> dict[str, Path]:
    """Every photo by its name, in the order of the names."""
    named: dict[str, Path] = {}
    for name, path in find_photos(photos):
        if name in named:
            raise InvalidParameter(f"{named[name]} and {path} have the same name, {name}")
        named[name] = path
    return dict(sorted(named.items()))


def _detect(detector: Detector, photo: Path, settings: Settings) -> list[DetectedFace]:
    limits = ImageLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
    data = read_photo_file(photo, settings)
    faces = detect_any_orientation(detector, decode_photo(data, limits))
    return sorted(faces, key=lambda face: face.area, reverse=True)


def _print(detected: dict[str, list[DetectedFace]]) -> None:
    for name, faces in detected.items():
        if not faces:
            print(json.dumps({"name": name}))
        for face in faces:
            about = {
                "name": name,
                "box": np.round(face.box.astype(float), 2).tolist(),
                "points": np.round(face.points.astype(float), 2).tolist(),
                "score": round(float(face.score), 4),
            }
            print(json.dumps(about))


def _write(out: Path, detected: dict[str, list[DetectedFace]]) -> None:
    rows: list[tuple[str, DetectedFace | None]] = []
    for name, faces in detected.items():
        rows += [(name, face) for face in faces] or [(name, None)]
    count = len(rows)
    arrays: dict[str, Array] = {
        "names": np.array([name for name, _ in rows]),
        "boxes": np.full((count, 4), np.nan, np.float32),
        "points": np.full((count, 5, 2), np.nan, np.float32),
        "scores": np.full(count, np.nan, np.float32),
    }
    for row, (_, face) in enumerate(rows):
        if face is not None:
            arrays["boxes"][row] = face.box
            arrays["points"][row] = face.points
            arrays["scores"][row] = face.score
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
