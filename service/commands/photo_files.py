"""Photo files that a command is given: by themselves, or in directories."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from facewright.service.errors import FacewrightError, InvalidParameter, PhotoTooLarge
from facewright.service.pipeline.photo_types import PHOTO_SUFFIXES
from facewright.service.settings import Settings

Key = TypeVar("Key")
Result = TypeVar("Result")


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


def each_photo(
    work: Callable[[Key], Result], keys: Sequence[Key], title: str, threads: int, console: Console
) -> tuple[dict[Key, Result], dict[Key, str]]:
    """What `work` makes of every photo, and why it failed with others; with a progress bar."""
    results: dict[Key, Result] = {}
    failures: dict[Key, str] = {}
    with ThreadPoolExecutor(threads) as pool:
        running = {pool.submit(work, key): key for key in keys}
        try:
            for done in track(as_completed(running), title, len(running), console=console):
                try:
                    results[running[done]] = done.result()
                except FacewrightError as error:
                    failures[running[done]] = f"{error.title}: {error.detail}"
                except OSError as error:
                    failures[running[done]] = error.strerror or str(error)
        except BaseException:  # Ctrl-C ends the photos in hand, not all that were named
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results, failures
