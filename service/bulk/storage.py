"""Files wherever they are: local paths, and URIs of what pyarrow or fsspec reads.

A file appears whole or not at all: it is written under another name and moved.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from facewright.service.errors import InvalidParameter

_UNFINISHED = ".tmp"


class StoragePath(NamedTuple):
    """A file or directory and the file system that it lies in."""

    filesystem: pafs.FileSystem
    path: str
    prefix: str
    """What stands before `path` in the URI; empty for local paths."""

    @property
    def name(self) -> str:
        """The path or URI."""
        return self.prefix + self.path

    def __truediv__(self, name: str) -> StoragePath:
        return self._replace(path=f"{self.path.rstrip('/')}/{name}")

    @property
    def kind(self) -> pafs.FileType:
        """Whether it is a file, a directory or nothing."""
        return self.filesystem.get_file_info(self.path).type

    @property
    def exists(self) -> bool:
        """Whether there is a file or directory."""
        return bool(self.kind != pafs.FileType.NotFound)

    def files(self) -> list[str]:
        """Paths of the files of a directory and of those below it, sorted; none of nothing."""
        selector = pafs.FileSelector(self.path, allow_not_found=True, recursive=True)
        found = self.filesystem.get_file_info(selector)
        return sorted(info.path for info in found if info.type == pafs.FileType.File)

    def read(self) -> bytes:
        """The whole file; raises OSError."""
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def write(self, data: bytes) -> None:
        """Write the file; see `writing`."""
        with self.writing() as stream:
            stream.write(data)

    def write_table(self, table: pa.Table, **options: Any) -> None:
        """Write a Parquet file; see `writing`.  options: as of `pyarrow.parquet.write_table`."""
        with self.writing() as stream:
            pq.write_table(table, stream, **{"compression": "zstd", **options})

    def parquet(self) -> pq.ParquetFile:
        """The Parquet file, to be closed by a `with` block; raises OSError and pyarrow's errors."""
        return pq.ParquetFile(self.path, filesystem=self.filesystem)

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """A stream whose content becomes the file when the `with` block ends without an error.

        Whoever writes the same file at the same time does not disturb it: the last one stays.
        """
        folder, _, name = self.path.rpartition("/")
        self.filesystem.create_dir(folder, recursive=True)
        unfinished = f"{folder}/.{name}.{uuid.uuid4().hex[:12]}{_UNFINISHED}"
        try:
            with self.filesystem.open_output_stream(unfinished) as stream:
                yield stream
            self.filesystem.move(unfinished, self.path)
        except BaseException:
            if self.filesystem.get_file_info(unfinished).type == pafs.FileType.File:
                self.filesystem.delete_file(unfinished)
            raise

    def delete_unfinished(self) -> None:
        """Delete what writers that were killed have left in this directory and below."""
        for path in self.files():
            if is_unfinished(path):
                self.filesystem.delete_file(path)


def is_unfinished(path: str) -> bool:
    """Whether a file is what a writer has not finished, or was killed before it could."""
    return path.endswith(_UNFINISHED) and path.rpartition("/")[2].startswith(".")


def storage_path(name: str | Path) -> StoragePath:
    """What a local path or a URI names.

    Raises:
        InvalidParameter: nothing that is installed reads such URIs.
    """
    text = str(name)
    if "://" not in text:
        return StoragePath(pafs.LocalFileSystem(), str(Path(text).absolute()), "")
    scheme = text.partition("://")[0]
    try:
        filesystem, path = pafs.FileSystem.from_uri(text)
    except pa.ArrowInvalid:
        import fsspec

        try:
            other, path = fsspec.core.url_to_fs(text)
        except (ImportError, ValueError, OSError) as error:
            raise InvalidParameter(f"{text} cannot be read: {error}") from None
        filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(other))
    except OSError as error:
        raise InvalidParameter(f"{text} cannot be read: {error}") from None
    if scheme == "file":
        return StoragePath(filesystem, path, "")
    return StoragePath(filesystem, path, f"{scheme}://")
