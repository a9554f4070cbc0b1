"""The command line, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def photos(tmp_path: Path, portrait_jpeg: bytes, group_jpeg: bytes) -> Path:
    directory = tmp_path / "photos"
    (directory / "other").mkdir(parents=True)
    (directory / "one.jpg").write_bytes(portrait_jpeg)
    (directory / "other" / "one.jpg").write_bytes(group_jpeg)
    (directory / "broken.jpg").write_bytes(portrait_jpeg[:2000])
    return directory


def test_help_names_the_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("serve", "reconstruct", "detect", "models", "bench"):
        assert command in done.stdout


def test_reconstruct_writes_every_file(photos: Path, tmp_path: Path, assets: Any) -> None:
    out = tmp_path / "out"
    done = run(
        "reconstruct", photos / "one.jpg", photos / "other" / "one.jpg", "-o", out,
        "--mesh", "both", "--overlay", "png",
        env=assets.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2 photos, 4 faces" in done.stderr
    meshes = [f"one_face0.{form}" for form in ("glb", "obj")]
    meshes += [f"one-2_face{i}.{form}" for i in range(3) for form in ("glb", "obj")]
    expected = {"one.json", "one-2.json", "one_overlay.png", "one-2_overlay.png", *meshes}
    assert {path.name for path in out.iterdir()} == expected
    assert (out / "one_face0.glb").read_bytes().startswith(b"glTF")
    assert (out / "one_overlay.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((out / "one-2.json").read_text())["faces"]) == 3


def test_reconstruct_goes_on_past_bad_photos(photos: Path, tmp_path: Path, assets: Any) -> None:
    out = tmp_path / "out"
    done = run(
        "reconstruct", photos / "broken.jpg", photos / "missing.jpg", photos / "one.jpg",
        "--out", out, "--mesh", "none", "--overlay", "none",
        env=assets.environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert [path.name for path in out.iterdir()] == ["one.json"]
    assert "1 of 3 photos" in done.stderr
    assert "broken.jpg: Photo cannot be decoded" in done.stderr
    assert "missing.jpg: No such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_reconstruct_overwrites_no_photo(tmp_path: Path, portrait_jpeg: bytes, assets: Any) -> None:
    photos = [tmp_path / "one.jpg", tmp_path / "one_overlay.jpg"]
    for photo in photos:
        photo.write_bytes(portrait_jpeg)
    done = run("reconstruct", *photos, "-o", tmp_path, "--mesh", "none", env=assets.environment)
    assert done.returncode == 1
    assert "one.jpg: its one_overlay.jpg would overwrite" in done.stderr
    assert [photo.read_bytes() for photo in photos] == [portrait_jpeg] * 2
    assert (tmp_path / "one_overlay_overlay.jpg").exists()


def test_reconstruct_does_not_read_what_is_too_large(photos: Path, assets: Any) -> None:
    huge = photos / "huge.jpg"
    with huge.open("wb") as file:
        file.truncate(1 << 40)  # a sparse file: no memory would hold it
    done = run("reconstruct", huge, "-o", photos / "out", env=assets.environment)
    assert done.returncode == 1
    assert "huge.jpg: Photo too large" in done.stderr


def test_an_interrupt_leaves_the_photos_not_yet_begun(photos: Path, assets: Any) -> None:
    out = photos / "out"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "service.cli",
            "reconstruct",
            *[photos / "one.jpg"] * 300,
            "-o",
            out,
        ],
        cwd=ROOT,
        env={**os.environ, **assets.environment, "FACEWRIGHT_CONCURRENCY": "1"},
        stderr=subprocess.DEVNULL,
        # A shell starts background jobs deaf to Ctrl-C, and so their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    patience = time.monotonic() + 60
    while not list(out.glob("*.json")):
        assert time.monotonic() < patience
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert len(list(out.glob("*.json"))) < 300


def test_models_lists_licences_and_checksums(assets: Any) -> None:
    done = run("models", env=assets.environment)
    assert done.returncode == 0, done.stderr
    for text in ("schematic", "CC0-1.0", assets.model.sha256, "centerface", "MIT"):
        assert text in done.stdout


def test_bench_holds_the_server_against_its_networks(
    photos: Path, assets: Any, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    options = ("--seconds", 0.4, "--json", file, "--memory-requests", 20)
    done = run("bench", photos / "one.jpg", *options, env=assets.environment)
    assert done.returncode == 0, done.stderr
    for text in ("concurrency 16", "concurrency 1, 12 MP", "detect", "regress", "Batches"):
        assert text in done.stdout
    result = json.loads(file.read_text())
    assert result["p50_over_floor"] > 1
    assert 0 < result["throughput_over_floor"] < 2
    assert result["non_network_ms"] > 0
    assert result["overload_goodput_over_peak"] >= 0  # too short to say more
    assert result["memory"]["requests"] >= 20
    assert result["overload"]["other"] == 0
    assert set(result["closed"]) == {"1", "2", "4", "8", "16"}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FACEWRIGHT_WEIGHTS", "/nowhere/weights.onnx", "weights.onnx"),
        ("FACEWRIGHT_FACE_MODEL", "/nowhere/model.npz", "model.npz"),
        ("FACEWRIGHT_CONCURRENCY", "0", "concurrency"),
    ],
)
def test_what_the_user_must_mend_is_one_line(
    assets: Any, variable: str, value: str, message: str
) -> None:
    done = run("models", env={**assets.environment, variable: value})
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_paths_that_cannot_be_used_are_told_at_once(photos: Path) -> None:
    for arguments in (
        ("bench", photos / "missing.jpg"),
        ("reconstruct", photos / "one.jpg", "-o", photos / "broken.jpg"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_weights_of_another_face_model_are_refused(assets: Any, tmp_path: Path) -> None:
    import dataclasses

    other = tmp_path / "other.npz"
    metadata = {**assets.model.metadata, "version": "2"}
    dataclasses.replace(assets.model, metadata=metadata).save(other)
    done = run("models", env={**assets.environment, "FACEWRIGHT_FACE_MODEL": str(other)})
    assert done.returncode == 2
    assert "trained for" in done.stderr


def test_serve_refuses_settings_out_of_range() -> None:
    done = run("serve", "--port", "70000")
    assert done.returncode == 2
    assert "port" in done.stderr
