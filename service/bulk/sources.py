"""The photos of a run: which there are, and how the bytes of one are read.

They are listed once, before anything is computed, in an order that depends on nothing but the
source; what cannot be listed ends the run there.  Photos themselves are read where they are
reconstructed, so that their bytes pass through no store of the cluster.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
from pyarrow import fs as pafs

from facewright.service.bulk.storage import StoragePath, storage_path
from facewright.service.errors import InvalidParameter, PhotoTooLarge, UnreadablePhoto
from facewright.service.pipeline.photo_types import PHOTO_SUFFIXES

BY_FOLDER: Final = "by-folder"

PHOTOS: Final = pa.schema(
    [
        pa.field("photo", pa.string(), nullable=False),
        pa.field("form", pa.string(), nullable=False),
        pa.field("file", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("album", pa.string()),
    ]
)
"""One row per photo: its name, and where its bytes are.

`form` is "file": the whole of `file`; "tar": `size` bytes from `offset` on; "column": row
`offset` of the Parquet file `file`.
"""

_GLOB = re.compile(r"[*?\[]")
_READ_ATTEMPTS = 3
_BATCH_ROWS = 64
_END_OF_TAR = 1024
"""Bytes of zeros that end a tar."""


def list_photos(source: str, column: str, albums: str | None) -> pa.Table:
    """The photos of a source, as `PHOTOS`, in a fixed order.

    Args:
        source: path or URI of a directory, whose photos are taken; or of files, with wildcards or
            without: photos, Parquet and CSV files with a column of paths, URIs or (Parquet)
            bytes, and WebDataset tars.
        column: name of that column.
        albums: what says which photos show one person: `BY_FOLDER` they lie in, or a column of
            the tables.  With it the photos are in the order of their albums.

    Raises:
        InvalidParameter: something cannot be read, there is no such column, a tar is truncated,
            or there is no photo.
    """
    origin = storage_path(source)
    try:
        tables = [_of_file(file, column, albums) for file in _files(origin)]
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidParameter(f"{source} cannot be read: {_first_line(error)}") from None
    photos = pa.concat_tables(tables) if tables else PHOTOS.empty_table()
    if not len(photos):
        raise InvalidParameter(f"there is no photo in {source}")
    if albums is not None:
        photos = photos.sort_by([("album", "ascending"), ("photo", "ascending")])
    return photos


def photo_readers(
    photos: pa.Table, column: str, max_bytes: int
) -> Iterator[tuple[dict[str, Any], Callable[[], bytes]]]:
    """Rows of `PHOTOS` with what reads each photo's bytes.

    A reader may be called in any thread; it raises `UnreadablePhoto`, and `PhotoTooLarge` for
    more than `max_bytes`.
    """
    rows = photos.to_pylist()
    from_columns = _column_values(
        [row for row in rows if row["form"] == "column"], column, max_bytes
    )
    for row in rows:
        if row["form"] == "column":
            yield row, next(from_columns)
        else:
            yield row, _reader(row, max_bytes)


def _files(origin: StoragePath) -> Iterator[StoragePath]:
    """The files that a source names, in order; of a directory its photos only."""
    if _GLOB.search(origin.path):
        whole = origin.path.split("/")
        fixed = next(i for i, part in enumerate(whole) if _GLOB.search(part))
        pattern = _pattern("/".join(whole))
        found = origin._replace(path="/".join(whole[:fixed])).files()
        yield from (origin._replace(path=path) for path in found if pattern.fullmatch(path))
        return
    kind = origin.kind
    if kind == pafs.FileType.NotFound:
        raise InvalidParameter(f"there is no file or directory {origin.name}")
    if kind == pafs.FileType.File:
        yield origin
        return
    for path in origin.files():
        if path.lower().endswith(PHOTO_SUFFIXES):
            yield origin._replace(path=path)


def _pattern(glob: str) -> re.Pattern[str]:
    """A glob as an expression: wildcards stay within a directory, `**` is any number of them."""
    parts = []
    for part in glob.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
        else:
            within = fnmatch.translate(part).replace(".*", "[^/]*").replace("(?s:.)", "[^/]")
            parts.append(f"{within.removesuffix(chr(92) + 'Z').removesuffix(chr(92) + 'z')}/")
    return re.compile("".join(parts).removesuffix("/"))


def _of_file(file: StoragePath, column: str, albums: str | None) -> pa.Table:
    if file.path.endswith((".parquet", ".csv")):
        return _of_table(file, column, albums)
    if albums not in (None, BY_FOLDER):
        raise InvalidParameter(
            f"{file.name} has no column {albums}: albums of photos are {BY_FOLDER}"
        )
    if file.path.endswith(".tar"):
        return _of_tar(file, albums)
    if file.path.endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")):
        raise InvalidParameter(f"{file.name} is compressed, and photos are read from the middle")
    return _table([_row(file.name, "file", file.name, album=_folder(file.name, albums))])


def _of_tar(file: StoragePath, albums: str | None) -> pa.Table:
    rows = []
    with file.filesystem.open_input_file(file.path) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    if member.isfile() and member.name.lower().endswith(PHOTO_SUFFIXES):
                        name = f"{file.name}/{member.name}"
                        where = (member.offset_data, member.size)
                        rows.append(_row(name, "tar", file.name, *where, _folder(name, albums)))
                end = archive.offset
            stream.seek(end)
            whole = stream.read(_END_OF_TAR) == bytes(_END_OF_TAR)
        except tarfile.TarError:
            whole = False
    if not whole:
        raise InvalidParameter(f"{file.name} is no tar, or is truncated")
    return _table(rows)


def _of_table(file: StoragePath, column: str, albums: str | None) -> pa.Table:
    table = _read_columns(file, [column, albums] if albums not in (None, BY_FOLDER) else [column])
    values = table.column(column)
    groups = None if albums in (None, BY_FOLDER) else table.column(albums).cast(pa.string())
    names = groups.to_pylist() if groups is not None else [None] * len(table)
    if values.type in (pa.binary(), pa.large_binary()):
        if albums == BY_FOLDER:
            raise InvalidParameter(f"the photos in {file.name} lie in no folders: name a column")
        return _table(
            [
                _row(f"{file.name}#{row}", "column", file.name, row, album=album)
                for row, album in enumerate(names)
            ]
        )
    rows = []
    for row, (value, album) in enumerate(zip(values.to_pylist(), names, strict=True)):
        if not value:
            rows.append(_row(f"{file.name}#{row}", "file", None, album=album))
            continue
        named = value if "://" in value else posixpath.join(posixpath.dirname(file.name), value)
        rows.append(_row(named, "file", named, album=album or _folder(named, albums)))
    return _table(rows)


def _read_columns(file: StoragePath, columns: list[str]) -> pa.Table:
    """The columns as text, bytes left out; raises `InvalidParameter` where there is none such."""
    if file.path.endswith(".csv"):
        text = pa.csv.ConvertOptions(
            include_columns=columns, column_types={name: pa.string() for name in columns}
        )
        with file.filesystem.open_input_stream(file.path) as stream:
            try:
                return pa.csv.read_csv(stream, convert_options=text)
            except KeyError as error:
                raise InvalidParameter(f"{file.name}: {_first_line(error)}") from None
    with file.parquet() as parquet:
        schema = parquet.schema_arrow
        for name in columns:
            if name not in schema.names:
                raise InvalidParameter(
                    f"{file.name} has no column {name}; its columns are {', '.join(schema.names)}"
                )
        kind = schema.field(columns[0]).type
        if kind in (pa.binary(), pa.large_binary()):
            others = parquet.read(columns[1:]) if columns[1:] else None
            empty = pa.nulls(parquet.metadata.num_rows, kind)
            described = {name: others.column(name) for name in columns[1:]} if others else {}
            return pa.table({columns[0]: empty, **described})
        if kind not in (pa.string(), pa.large_string()):
            raise InvalidParameter(
                f"{file.name}: column {columns[0]} holds {kind}, not text or bytes"
            )
        return parquet.read(columns)


def _column_values(
    rows: list[dict[str, Any]], column: str, max_bytes: int
) -> Iterator[Callable[[], bytes]]:
    """Readers of rows of Parquet files, in the order of `rows`, a few rows in memory at a time."""
    for row in rows:
        try:
            data = _column_row(row["file"], column, row["offset"])
        except (OSError, pa.ArrowException) as error:
            yield _failing(UnreadablePhoto(f"It cannot be read: {_first_line(error)}"))
            continue
        if data is None:
            yield _failing(UnreadablePhoto("The row is empty."))
        elif len(data) > max_bytes:
            yield _failing(_too_large(max_bytes))
        else:
            yield lambda data=data: data  # type: ignore[misc]


def _column_row(file: str, column: str, row: int) -> bytes | None:
    first, values = _column_batch(file, column, row // _BATCH_ROWS)
    return values[row - first].as_py()


@lru_cache(maxsize=1)
def _column_batch(file: str, column: str, batch: int) -> tuple[int, pa.Array]:
    """The number of the first row of a batch of `_BATCH_ROWS`, and the rows' values."""
    first = batch * _BATCH_ROWS
    with storage_path(file).parquet() as parquet:
        taken: list[int] = []
        start = skip = 0
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if start + rows > first and start < first + _BATCH_ROWS:
                if not taken:
                    skip = first - start
                taken.append(group)
            start += rows
        values: list[pa.Array] = []
        seen = 0
        for part in parquet.iter_batches(_BATCH_ROWS, row_groups=taken, columns=[column]):
            begin, end = max(skip - seen, 0), min(skip + _BATCH_ROWS - seen, len(part))
            if begin < end:
                values.append(part.column(0)[begin:end])
            seen += len(part)
            if seen >= skip + _BATCH_ROWS:
                break
    return first, pa.chunked_array(values)


def _reader(row: dict[str, Any], max_bytes: int) -> Callable[[], bytes]:
    if row["file"] is None:
        return _failing(UnreadablePhoto("The row is empty."))

    def read() -> bytes:
        for attempt in range(1, _READ_ATTEMPTS + 1):
            try:
                folder, _, name = row["file"].rpartition("/")
                return _read(_folder_path(folder) / name, row["offset"], row["size"], max_bytes)
            except (FileNotFoundError, PermissionError) as error:
                reason = (
                    "there is no such file" if isinstance(error, FileNotFoundError) else "denied"
                )
                raise UnreadablePhoto(f"It cannot be read: {reason}.") from None
            except InvalidParameter as error:
                raise UnreadablePhoto(error.detail) from None
            except OSError as error:
                if attempt == _READ_ATTEMPTS:
                    raise UnreadablePhoto(f"It cannot be read: {_first_line(error)}") from None
                time.sleep(attempt)
        raise AssertionError("unreachable")

    return read


_folder_path = lru_cache(maxsize=1024)(storage_path)
"""Photos of a folder share what connects to an object store."""


def _read(file: StoragePath, offset: int | None, size: int | None, max_bytes: int) -> bytes:
    with file.filesystem.open_input_file(file.path) as stream:
        length = stream.size() if size is None else size
        if length > max_bytes:
            raise _too_large(max_bytes)
        return bytes(stream.read() if offset is None else stream.read_at(length, offset))


def _too_large(max_bytes: int) -> PhotoTooLarge:
    return PhotoTooLarge(f"The photo has more than {max_bytes} bytes.")


def _failing(error: Exception) -> Callable[[], bytes]:
    def read() -> bytes:
        raise error

    return read


def _folder(name: str, albums: str | None) -> str | None:
    return posixpath.dirname(name) if albums == BY_FOLDER else None


def _row(
    photo: str,
    form: str,
    file: str | None,
    offset: int | None = None,
    size: int | None = None,
    album: str | None = None,
) -> tuple[Any, ...]:
    return photo, form, file, offset, size, album


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(PHOTOS)
    return pa.table([list(column) for column in columns], schema=PHOTOS)


def _first_line(error: BaseException) -> str:
    return (
        str(error).strip().strip("'").splitlines()[0]
        if str(error).strip()
        else type(error).__name__
    )
