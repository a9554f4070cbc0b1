"""Whole runs: what is in the table, what survives a kill, and what is refused."""

from __future__ import annotations

import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs the extra bulk: pyarrow is not installed")
pytest.importorskip("ray", reason="needs the extra bulk: ray is not installed")

import pyarrow.parquet as pq  # noqa: E402

from facewright.service.bulk.albums import albums_written, write_albums  # noqa: E402
from facewright.service.bulk.manifest import BulkOptions, Run, open_run  # noqa: E402
from facewright.service.bulk.meshes import write_meshes  # noqa: E402
from facewright.service.bulk.worker import PartWorker, part_summary  # noqa: E402
from facewright.service.errors import InvalidParameter, ModelError  # noqa: E402
from facewright.service.options import AlbumOptions, ReconstructOptions  # noqa: E402
from facewright.service.pipeline.album import solve_album  # noqa: E402
from facewright.service.pipeline.engine import Engine  # noqa: E402
from facewright.service.pipeline.job import Job, SharedJob  # noqa: E402
from facewright.service.settings import Settings  # noqa: E402
from tests.service.running import run, run_program, start_program  # noqa: E402

pytestmark = pytest.mark.slow

PART_SIZE = 4
MESHES = ReconstructOptions(detail="low", texture="albedo")
FLOAT_NOISE = 2e-4
"""Of coefficients, in standard deviations: a network's sums depend on the size of its batch."""

Row = dict[str, Any]


@pytest.fixture(scope="session")
def options(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> BulkOptions:
    return BulkOptions(
        source=str(folder),
        out=str(tmp_path_factory.mktemp("bulk") / "out"),
        albums="by-folder",
        answer=MESHES,
        formats=("glb",),
        part_size=PART_SIZE,
    )


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Settings())


@pytest.fixture(scope="session")
def undisturbed(options: BulkOptions) -> Run:
    """A run that is worked on here, part by part, without Ray."""
    run = open_run(options, Settings())
    worker = PartWorker(run, 2)
    for part in range(run.parts):
        worker.work(part)
    write_albums(run)
    return run


def table(out: str | Path) -> list[Row]:
    rows: list[Row] = pq.read_table(Path(out) / "faces").to_pylist()
    return rows


def same(one: Any, other: Any) -> bool:
    """Whether values are equal, floats but for noise."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= FLOAT_NOISE * max(1.0, abs(one))
    return bool(one == other)


def assert_same_table(one: list[Row], other: list[Row]) -> None:
    assert [row["photo"] for row in one] == [row["photo"] for row in other]
    for left, right in zip(one, other, strict=True):
        for name in left.keys() - {"seconds"}:
            assert same(left[name], right[name]), (left["photo"], name)


def test_a_row_per_face_and_per_failure(undisturbed: Run, folder: Path) -> None:
    rows = table(undisturbed.options.out)
    assert len(rows) == 15
    assert [row["photo_index"] for row in rows] == list(range(15))
    failed = {Path(row["photo"]).name: row["code"] for row in rows if row["code"] is not None}
    assert failed == {
        "cut.jpg": "undecodable_photo",
        "empty.png": "undecodable_photo",
        "nobody.png": "no_face_found",
    }
    summaries = [part_summary(undisturbed, part) for part in range(undisturbed.parts)]
    assert sum(summary["photos"] for summary in summaries if summary) == 15
    assert sum(summary["faces"] for summary in summaries if summary) == 12


def test_rows_are_what_the_engine_says(undisturbed: Run, engine: Engine) -> None:
    rows = {Path(row["photo"]).name: row for row in table(undisturbed.options.out)}
    row = rows["02.jpg"]
    data = Path(row["photo"]).read_bytes()
    scene = engine.reconstruct(data, "all", Job(), reduced=True)
    (face,) = scene.faces
    assert (row["width"], row["height"]) == (scene.width, scene.height)
    for name, value in (
        ("coefficients", face.coefficients),
        ("confidences", face.confidences),
        ("rotation_matrix", face.rotation_matrix.ravel()),
        ("box", face.face.box),
    ):
        np.testing.assert_allclose(row[name], value, rtol=FLOAT_NOISE, atol=FLOAT_NOISE)
    np.testing.assert_allclose(row["landmarks"], face.landmarks_px.ravel(), atol=0.01)
    np.testing.assert_allclose(row["intrinsics"], face.intrinsics.ravel(), rtol=1e-4)
    np.testing.assert_allclose(row["crop_transform"], face.crop_transform.ravel(), atol=0.01)
    assert len(row["blendshapes"]) == 52
    assert row["weights_sha256"] == engine.weights_sha256
    assert row["seconds"]["decode"] > 0


def test_albums_are_those_of_the_album_command(undisturbed: Run, engine: Engine) -> None:
    albums = pq.read_table(Path(undisturbed.options.out) / "albums").to_pylist()
    assert [Path(row["album"]).name for row in albums] == ["anna", "berta"]
    assert albums_written(undisturbed)
    assert not (Path(undisturbed.options.out) / "descriptors").exists()
    for row in albums:
        files = sorted(Path(row["album"]).iterdir())
        album = solve_album(
            engine,
            [file.read_bytes for file in files],
            AlbumOptions(),
            lambda work, items: map(work, items),
            SharedJob(),
        )
        assert row["photos"] == len(files)
        assert row["photos_used"] == album.photos_used == len(row["members"])
        np.testing.assert_allclose(row["identity"], album.identity, atol=FLOAT_NOISE)
        np.testing.assert_allclose(row["albedo"], album.albedo, atol=FLOAT_NOISE)
        assert sum(member["share"] for member in row["members"]) == pytest.approx(1, abs=1e-5)
    # All photos of the second folder are of one portrait.
    assert not any(member["stranger"] for member in albums[1]["members"])


def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]


def test_meshes_come_from_the_table_as_from_the_photos(undisturbed: Run, tmp_path: Path) -> None:
    assert write_meshes(undisturbed.options.out, str(tmp_path / "meshes"), ["glb"], MESHES) == 0
    made = Path(undisturbed.options.out) / "meshes"
    tars = sorted(made.iterdir())
    assert len(tars) == undisturbed.parts
    for tar in tars:
        assert (tmp_path / "meshes" / tar.name).read_bytes() == tar.read_bytes()
    assert "000000002_face0.glb" in members(tars[0])
    before = (tmp_path / "meshes" / tars[0].name).stat().st_mtime_ns
    with pytest.raises(InvalidParameter, match="name another directory"):
        write_meshes(undisturbed.options.out, str(tmp_path / "meshes"), ["obj"], MESHES)
    write_meshes(undisturbed.options.out, str(tmp_path / "meshes"), ["glb"], MESHES)
    assert (tmp_path / "meshes" / tars[0].name).stat().st_mtime_ns == before


def test_a_worker_with_other_models_refuses(undisturbed: Run, options: BulkOptions) -> None:
    with pytest.raises(InvalidParameter, match="faces all, not largest: name another directory"):
        open_run(replace(options, answer=MESHES.model_copy(update={"faces": "largest"})),
                 Settings())  # fmt: skip
    with pytest.raises(ModelError):
        open_run(options, Settings(weights=Path("/nowhere.onnx")))


def test_a_killed_run_goes_on_to_the_same_table(
    undisturbed: Run, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("bulk", folder, out, "--albums", "by-folder", "--part-size", 3)
    first = start_program(*arguments)
    try:
        deadline = time.monotonic() + 120
        while not list(out.glob("faces/part-*.parquet")):
            assert first.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        first.kill()
        first.wait()
    assert not list(out.glob("albums/*"))
    second = run_program(*arguments)
    assert second.returncode == 1, second.stderr  # photos failed
    (line,) = second.stderr.splitlines()  # no terminal, no progress
    assert line.startswith("15 of 15 photos, 12 faces, 3 failed (undecodable_photo 2")
    assert_same_table(table(out), table(undisturbed.options.out))
    left = {path.name for path in out.rglob("*") if path.is_file()}
    assert left == {
        "manifest.json", "inputs.parquet", "_SUCCESS", *(f"part-{n:05d}.parquet" for n in range(5))
    }  # fmt: skip
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert run(*arguments).returncode == 1
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == times


def test_another_run_is_never_overwritten(
    undisturbed: Run, options: BulkOptions, tmp_path: Path
) -> None:
    manifest = Path(options.out) / "manifest.json"
    before = manifest.read_bytes()
    done = run("bulk", options.source, options.out, "--part-size", PART_SIZE)
    assert done.returncode == 2
    assert done.stderr.startswith(f"facewright: {options.out} holds a run with ")
    assert done.stderr.count("\n") == 1
    assert manifest.read_bytes() == before
    (tmp_path / "letter.txt").write_text("dear")
    done = run("bulk", options.source, tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not empty and holds no run" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_bad_inputs_are_one_line(tmp_path: Path) -> None:
    for arguments in (
        ("bulk", tmp_path / "gone", tmp_path / "out"),
        ("bulk", "nowhere://photos", tmp_path / "out"),
        ("bulk", tmp_path, tmp_path / "out", "--meshes", "fbx"),
        ("mesh", tmp_path / "gone", tmp_path / "out"),
        ("mesh", tmp_path, tmp_path / "out"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith("facewright: ")
        assert not (tmp_path / "out").exists()
