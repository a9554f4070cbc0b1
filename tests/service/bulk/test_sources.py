"""Which photos a source names, and how their bytes are read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra bulk: pyarrow is not installed")

import pyarrow.parquet as pq  # noqa: E402

from facewright.service.bulk.sources import list_photos, photo_readers  # noqa: E402
from facewright.service.bulk.storage import storage_path  # noqa: E402
from facewright.service.errors import (  # noqa: E402
    InvalidParameter,
    PhotoTooLarge,
    UnreadablePhoto,
)


def tar(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def names(table: Any, origin: Path) -> list[str]:
    return [name.removeprefix(f"{origin}/") for name in table.column("photo").to_pylist()]


def contents(table: Any, column: str = "path") -> list[bytes]:
    return [read() for _, read in photo_readers(table, column, 1_000_000)]


def test_a_directory_gives_its_photos_in_order(folder: Path) -> None:
    found = names(list_photos(str(folder), "path", None), folder)
    assert len(found) == 15
    assert found == sorted(found)
    assert found[0] == "anna/00.jpg"


@pytest.mark.parametrize(
    ("glob", "count"),
    [("anna/*.jpg", 8), ("*/0?.jpg", 10), ("**/*.png", 2), ("*.jpg", 0), ("*/*[!t].jpg", 12)],
)
def test_wildcards_stay_within_a_directory(folder: Path, glob: str, count: int) -> None:
    if not count:
        with pytest.raises(InvalidParameter, match="no photo"):
            list_photos(f"{folder}/{glob}", "path", None)
    else:
        assert len(list_photos(f"{folder}/{glob}", "path", None)) == count


def test_a_uri_that_fsspec_reads(photos: list[bytes]) -> None:
    (storage_path("memory://people") / "anna/1.jpg").write(photos[0])
    table = list_photos("memory://people", "path", None)
    assert contents(table) == [photos[0]]
    (name,) = table.column("photo").to_pylist()
    assert name.startswith("memory://")


def test_tables_of_paths(tmp_path: Path, folder: Path, photos: list[bytes]) -> None:
    (tmp_path / "own.jpg").write_bytes(photos[0])
    table = tmp_path / "photos.csv"
    table.write_text(f"who,image\nx,{folder}/anna/02.jpg\ny,own.jpg\nx,\ny,gone.jpg\n")
    found = list_photos(str(table), "image", None)
    readers = [read for _, read in photo_readers(found, "image", 1_000_000)]
    assert [readers[0](), readers[1]()] == [photos[2], photos[0]]
    for read, told in ((readers[2], "empty"), (readers[3], "no such file")):
        with pytest.raises(UnreadablePhoto, match=told):
            read()
    by_person = list_photos(str(table), "image", "who")
    assert by_person.column("album").to_pylist() == ["x", "x", "y", "y"]


@pytest.mark.parametrize("group", [3, 100, 1000])
def test_tables_of_bytes(tmp_path: Path, group: int) -> None:
    values = [bytes([n % 256]) * (1 + n) for n in range(200)]
    values[130] = None  # type: ignore[call-overload]
    table = pa.table({"data": values, "who": [n // 50 for n in range(200)]})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=group)
    found = list_photos(str(tmp_path / "p.parquet"), "data", None)
    readers = [read for _, read in photo_readers(found.slice(60, 100), "data", 150)]
    for number, read in enumerate(readers, 60):
        if number == 130:
            with pytest.raises(UnreadablePhoto):
                read()
        elif number >= 150:
            with pytest.raises(PhotoTooLarge):
                read()
        else:
            assert read() == values[number]
    albums = list_photos(str(tmp_path / "p.parquet"), "data", "who").column("album").to_pylist()
    assert albums == sorted(albums)
    assert set(albums) == {"0", "1", "2", "3"}


def test_webdataset_tars(tmp_path: Path, photos: list[bytes]) -> None:
    for shard in range(2):
        files = {f"a/{shard}.jpg": photos[shard], f"a/{shard}.json": b"{}"}
        (tmp_path / f"shard-{shard}.tar").write_bytes(tar(files))
    found = list_photos(f"{tmp_path}/shard-*.tar", "path", "by-folder")
    assert names(found, tmp_path) == ["shard-0.tar/a/0.jpg", "shard-1.tar/a/1.jpg"]
    assert contents(found) == photos[:2]
    assert found.column("album").to_pylist() == [f"{tmp_path}/shard-{n}.tar/a" for n in range(2)]


@pytest.mark.parametrize("left", [0.4, 0.9, 0.999])
def test_a_truncated_tar_ends_the_run(tmp_path: Path, photos: list[bytes], left: float) -> None:
    whole = tar({f"{number}.jpg": data for number, data in enumerate(photos)})
    used = sum(512 + -(-len(data) // 512) * 512 for data in photos)
    (tmp_path / "cut.tar").write_bytes(whole[: int(used * left)])
    with pytest.raises(InvalidParameter, match="truncated"):
        list_photos(str(tmp_path / "cut.tar"), "path", None)
    (tmp_path / "cut.tar").write_bytes(whole[:used])  # between two members
    with pytest.raises(InvalidParameter, match="truncated"):
        list_photos(str(tmp_path / "cut.tar"), "path", None)


Make = Callable[[Path], tuple[str, str, "str | None"]]


def nothing_there(directory: Path) -> tuple[str, str, str | None]:
    return str(directory / "gone"), "path", None


def empty_directory(directory: Path) -> tuple[str, str, str | None]:
    return str(directory), "path", None


def unknown_scheme(directory: Path) -> tuple[str, str, str | None]:
    return "nowhere://bucket/photos", "path", None


def no_such_column(directory: Path) -> tuple[str, str, str | None]:
    pq.write_table(pa.table({"url": ["a.jpg"]}), directory / "t.parquet")
    return str(directory / "t.parquet"), "path", None


def no_such_column_of_csv(directory: Path) -> tuple[str, str, str | None]:
    (directory / "t.csv").write_text("url\na.jpg\n")
    return str(directory / "t.csv"), "path", None


def column_of_numbers(directory: Path) -> tuple[str, str, str | None]:
    pq.write_table(pa.table({"path": [1, 2]}), directory / "t.parquet")
    return str(directory / "t.parquet"), "path", None


def no_parquet(directory: Path) -> tuple[str, str, str | None]:
    (directory / "t.parquet").write_bytes(b"no Parquet at all")
    return str(directory / "t.parquet"), "path", None


def no_tar(directory: Path) -> tuple[str, str, str | None]:
    (directory / "t.tar").write_bytes(b"no tar at all" * 100)
    return str(directory / "t.tar"), "path", None


def compressed_tar(directory: Path) -> tuple[str, str, str | None]:
    (directory / "t.tar.gz").write_bytes(b"")
    return str(directory / "t.tar.gz"), "path", None


def albums_without_folders(directory: Path) -> tuple[str, str, str | None]:
    pq.write_table(pa.table({"path": [b"a"]}), directory / "t.parquet")
    return str(directory / "t.parquet"), "path", "by-folder"


def albums_without_table(directory: Path) -> tuple[str, str, str | None]:
    (directory / "a.jpg").write_bytes(b"")
    return str(directory), "path", "person"


@pytest.mark.parametrize(
    "make",
    [
        nothing_there, empty_directory, unknown_scheme, no_such_column, no_such_column_of_csv,
        column_of_numbers, no_parquet, no_tar, compressed_tar, albums_without_folders,
        albums_without_table,
    ],
)  # fmt: skip
def test_what_cannot_be_listed_is_said_in_one_line(tmp_path: Path, make: Make) -> None:
    with pytest.raises(InvalidParameter) as raised:
        list_photos(*make(tmp_path))
    assert raised.value.detail
    assert "\n" not in raised.value.detail


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    file = storage_path(tmp_path) / "folder/file"

    def fail() -> None:
        with file.writing() as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list((tmp_path / "folder").iterdir()) == []
    file.write(b"first")
    file.write(b"second")
    assert file.read() == b"second"
    (tmp_path / "folder" / ".file.0123456789ab.tmp").write_bytes(b"of a writer that was killed")
    storage_path(tmp_path).delete_unfinished()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]
