from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from facewright.training.commands.synth import make_portraits
from facewright.training.data.shards import ShardMeta, ShardReader, shard_path
from facewright.training.synthetic.dataset import (
    GENERATOR_VERSION,
    LARGEST_SEED,
    Job,
    missing_shards,
    split_seed,
    write_shard,
)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture
def job(tmp_path: Path, toy_head) -> Job:
    return Job(tmp_path / "out", toy_head.head_path, toy_head.model_path, 5, 7, 3)


@pytest.fixture
def meta(job: Job, toy_head) -> ShardMeta:
    return ShardMeta("portraits", job.seed, GENERATOR_VERSION, toy_head.model.sha256)


def test_splits_never_share_a_seed():
    train = {split_seed("train", s) for s in (0, 1, LARGEST_SEED)}
    val = {split_seed("val", s) for s in (0, 1, LARGEST_SEED)}
    assert not train & val
    with pytest.raises(ValueError, match="seed"):
        split_seed("train", LARGEST_SEED + 1)


def test_count_is_split_into_shards(job: Job):
    assert job.sizes() == [3, 3, 1]
    assert replace(job, count=6).sizes() == [3, 3]


def test_complete_shards_are_kept_and_broken_ones_vanish(job: Job, meta: ShardMeta, generator):
    write_shard(generator, job, meta, 1, lambda: None)
    assert missing_shards(job, meta) == [0, 2]

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(generator, job, meta, 0, stop)
    assert missing_shards(job, meta) == [0, 2]
    assert [p.name for p in job.directory.iterdir()] == ["shard_00001"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path: Path, toy_head, end: signal.Signals):
    out = tmp_path / "out"
    files = ["--head", str(toy_head.head_path), "--face-model", str(toy_head.model_path)]
    program = "from facewright.training.cli import app; app()"
    command = [sys.executable, "-c", program, "synth", str(out), "--count", "4000"]
    parent = subprocess.Popen([*command, *files], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: out.is_dir() and any(out.iterdir()), "the first portrait")
        parent.send_signal(end)
        assert parent.wait(30) in (130, -signal.SIGKILL)
        # What a worker has begun goes with it.
        _wait(lambda: not any(out.iterdir()), "the worker's end")
    finally:
        parent.kill()


def _wait(done: Callable[[], bool], what: str) -> None:
    patience = time.monotonic() + 120
    while not done():
        assert time.monotonic() < patience, f"waited in vain for {what}"
        time.sleep(0.1)


def test_shards_do_not_depend_on_their_order(job: Job, meta: ShardMeta, generator):
    other = replace(job, directory=job.directory.with_name("other"))
    for index in (0, 2):
        write_shard(generator, job, meta, index, lambda: None)
    write_shard(generator, other, meta, 2, lambda: None)
    for name in ("images.npy", "attention.npy", "meta.json"):
        first, second = (shard_path(j.directory, 2) / name for j in (job, other))
        assert first.read_bytes() == second.read_bytes()


def test_pictures_depend_on_seed_and_number_only(job: Job, meta: ShardMeta, generator):
    other = replace(job, directory=job.directory.with_name("other"), shard_size=7)
    write_shard(generator, job, meta, 1, lambda: None)
    write_shard(generator, other, meta, 0, lambda: None)
    small = ShardReader(shard_path(job.directory, 1))
    large = ShardReader(shard_path(other.directory, 0))
    rows = job.numbers(1)
    assert np.array_equal(small.images, large.images[rows.start : rows.stop])
    assert np.array_equal(small.attention, large.attention[rows.start : rows.stop])
    for name, value in vars(large.labels).items():
        assert np.array_equal(getattr(small.labels, name), value[rows.start : rows.stop]), name


def test_two_processes_write_the_same_bytes_as_one(tmp_path: Path, run):
    for workers in ("1", "2"):
        arguments = ("--count", "4", "--shard-size", "2", "--workers", workers)
        result = run(str(tmp_path / workers), *arguments)
        assert result.exit_code == 0, result.output
    for index in range(2):
        first, second = (shard_path(tmp_path / w, index) / "images.npy" for w in ("1", "2"))
        assert first.read_bytes() == second.read_bytes()


def test_people_per_portrait_are_recorded_and_checked(job: Job, meta: ShardMeta, generator):
    albums = replace(job, per_person=2)
    write_shard(generator, albums, meta, 1, lambda: None)
    labels = ShardReader(shard_path(job.directory, 1)).labels
    assert labels.person.tolist() == [1, 2, 2]
    assert missing_shards(albums, meta) == [0, 2]
    with pytest.raises(ValueError, match="other settings"):
        missing_shards(job, meta)


def test_other_settings_are_refused(job: Job, meta: ShardMeta, generator):
    write_shard(generator, job, meta, 0, lambda: None)
    with pytest.raises(ValueError, match="other settings"):
        missing_shards(job, replace(meta, seed=6))
    with pytest.raises(ValueError, match="other settings"):
        missing_shards(replace(job, shard_size=2), meta)


@pytest.fixture
def run(toy_head):
    app = typer.Typer()
    app.command()(make_portraits)

    def invoke(*arguments: str):
        files = ["--head", str(toy_head.head_path), "--face-model", str(toy_head.model_path)]
        return CliRunner().invoke(app, [*arguments, *files])

    return invoke


def test_command_writes_a_data_set_and_resumes(run, tmp_path: Path):
    out = tmp_path / "data"
    arguments = (str(out), "--count", "3", "--shard-size", "2", "--seed", "1", "--split", "val")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    shards = [ShardReader(shard_path(out, k)) for k in range(2)]
    assert [len(s) for s in shards] == [2, 1]
    assert shards[0].meta.seed == split_seed("val", 1)
    assert "px (median)" in result.output
    before = (shard_path(out, 0) / "images.npy").stat().st_mtime_ns
    assert run(*arguments).exit_code == 0
    assert (shard_path(out, 0) / "images.npy").stat().st_mtime_ns == before
    refused = run(str(out), "--count", "3", "--shard-size", "2", "--seed", "2")
    assert refused.exit_code == 2


def test_command_draws_a_sheet(run, tmp_path: Path):
    sheet = tmp_path / "sheet.png"
    result = run(str(tmp_path / "unused"), "--count", "2", "--sheet", str(sheet))
    assert result.exit_code == 0, result.output
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "unused").exists()
