"""Photo files that a command is given: by themselves, or in directories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from facewright.service.errors import InvalidParameter, PhotoTooLarge
from facewright.service.settings import Settings

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif"})
"""Of the files taken from a directory; photos named themselves may be called anything."""


def find_photos(paths: Sequence[Path], *, subdirectories: bool = True) -> list[tuple[str, Path]]:
    """Names and paths of photos, those of a directory in the order of their names.

    A photo's name is that of the file, or its path in the directory, with slashes.  Raises
    `InvalidParameter` when there is none at all.
    """
    if photos := list(_photos(paths, subdirectories)):
        return photos
    raise InvalidParameter(f"no photos in {', '.join(map(str, paths))}")


def _photos(paths: Sequence[Path], subdirectories: bool) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if not path.is_dir():
            yield path.name, path
            continue
        for found in sorted(path.rglob("*") if subdirectories else path.iterdir()):
            if found.suffix.lower() in PHOTO_SUFFIXES and found.is_file():
                yield found.relative_to(path).as_posix(), found


def read_photo_file(photo: Path, settings: Settings) -> bytes:
    """The bytes of a photo; raises `PhotoTooLarge` before reading it, OSError."""
    if photo.stat().st_size > settings.max_upload_bytes:
        raise PhotoTooLarge(f"The photo has more than {settings.max_upload_bytes} bytes.")
    return photo.read_bytes()
