"""The command line, as a user runs it."""

from __future__ import annotations

import base64
import errno
import inspect
import io
import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import facewright
import facewright.service.pipeline.photo_types  # Pillow writes HEIC files with it
from facewright import cli
from facewright.service.options import AlbumOptions, ReconstructOptions
from tests.service.running import ROOT, run, run_program, start_program

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path, portrait_jpeg: bytes, group_jpeg: bytes) -> Path:
    directory = tmp_path / "photos"
    (directory / "other").mkdir(parents=True)
    (directory / "one.jpg").write_bytes(portrait_jpeg)
    (directory / "other" / "one.jpg").write_bytes(group_jpeg)
    (directory / "broken.jpg").write_bytes(portrait_jpeg[:2000])
    return directory


def test_help_names_the_commands() -> None:
    done = run_program("--help")
    assert done.returncode == 0
    for command in ("serve", "reconstruct", "album", "detect", "models", "bench"):
        assert command in done.stdout


def test_reconstruct_writes_every_file(photos: Path, tmp_path: Path, assets: Any) -> None:
    out = tmp_path / "out"
    done = run_program(
        "reconstruct", photos / "one.jpg", photos / "other" / "one.jpg", "-o", out,
        "--mesh-format", "glb,obj,ply,stl", "--overlay", "png",
        **assets.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2 photos, 4 faces" in done.stderr
    forms = ("glb", "obj", "ply", "stl", "mtl", "png")
    meshes = [f"one_face0.{form}" for form in forms]
    meshes += [f"one-2_face{i}.{form}" for i in range(3) for form in forms]
    expected = {"one.json", "one-2.json", "one_overlay.png", "one-2_overlay.png", *meshes}
    assert {path.name for path in out.iterdir()} == expected
    assert (out / "one_face0.glb").read_bytes().startswith(b"glTF")
    assert (out / "one_overlay.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((out / "one-2.json").read_text())["faces"]) == 3


def test_reconstruct_takes_directories(photos: Path, tmp_path: Path, assets: Any) -> None:
    out = tmp_path / "out"
    heic = io.BytesIO()
    Image.open(photos / "one.jpg").save(heic, "HEIF")
    (photos / "other" / "two.HEIC").write_bytes(heic.getvalue())
    (photos / "notes.txt").write_text("no photo")
    done = run(
        "reconstruct", photos, "-o", out, "--include", "confidences", "--faces", "largest",
        **assets.environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert "3 of 4 photos, 3 faces" in done.stderr
    assert "broken.jpg: Photo cannot be decoded" in done.stderr
    assert {path.name for path in out.iterdir()} == {"one.json", "one-2.json", "two.json"}
    (face,) = json.loads((out / "one.json").read_text())["faces"]
    assert len(face["confidences"]) == 80
    assert "mesh" not in face
    (tmp_path / "empty").mkdir()
    done = run("reconstruct", tmp_path / "empty", "-o", out, **assets.environment)
    assert (done.returncode, done.stderr) == (2, f"facewright: no photos in {tmp_path / 'empty'}\n")


def test_the_command_offers_every_option_of_the_api() -> None:
    for command, kind in ((cli.reconstruct, ReconstructOptions), (cli.album, AlbumOptions)):
        offered = inspect.signature(command).parameters
        assert set(kind.model_fields) <= set(offered)
        for option, field in kind.model_fields.items():
            if option not in ("include", "mesh_format"):  # by default files, where JSON has none
                assert str(offered[option].default) == str(field.default), option


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"facewright {facewright.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mesh-format", "glb,fbx"), "mesh_format must be some of glb, obj, ply, stl"),
        (("--include", "mesh,all"), "include must be a list of some of mesh, overlay, confidences"),
    ],
)
def test_messages_are_made_for_people(
    photos: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run("reconstruct", photos / "one.jpg", "-o", photos / "out", *arguments)
    assert (done.returncode, done.stderr) == (2, f"facewright: {message}\n")


def test_serve_says_that_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_program("serve", "--port", port)
    reason = os.strerror(errno.EADDRINUSE)
    message = f"facewright: cannot listen on 127.0.0.1:{port}: {reason}\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_reconstruct_bakes_textures(photos: Path, tmp_path: Path, assets: Any) -> None:
    out = tmp_path / "out"
    done = run(
        "reconstruct", photos / "one.jpg", "-o", out,
        "--mesh-format", "glb,obj", "--include", "mesh",
        "--texture", "photo", "--texture-size", "512",
        **assets.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = {"one.json", *(f"one_face0.{kind}" for kind in ("glb", "obj", "mtl", "png"))}
    assert {path.name for path in out.iterdir()} == files
    assert b"mtllib one_face0.mtl" in (out / "one_face0.obj").read_bytes()
    assert "map_Kd one_face0.png" in (out / "one_face0.mtl").read_text()
    # Width and height of the PNG's header.
    assert (out / "one_face0.png").read_bytes()[16:24] == (512).to_bytes(4, "big") * 2


def test_reconstruct_writes_heads(tmp_path: Path) -> None:
    portrait = ROOT / "docs" / "images" / "portraits" / "3_calm.png"
    out = tmp_path / "out"
    done = run(
        "reconstruct", portrait, "-o", out, "--include", "mesh",
        "--mesh", "head", "--detail", "low", "--targets", "arkit",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = (out / "3_calm_face0.glb").read_bytes()
    length = int.from_bytes(data[12:16], "little")
    skin = json.loads(data[20 : 20 + length])["meshes"][0]
    assert len(skin["extras"]["targetNames"]) == 52


def test_a_head_of_a_face_model_that_has_none_is_refused(
    photos: Path, tmp_path: Path, assets: Any
) -> None:
    done = run(
        "reconstruct", photos / "one.jpg", "-o", tmp_path / "out", "--mesh", "head",
        **assets.environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no head" in done.stderr
    assert "Traceback" not in done.stderr


def test_reconstruct_goes_on_past_bad_photos(photos: Path, tmp_path: Path, assets: Any) -> None:
    out = tmp_path / "out"
    done = run(
        "reconstruct", photos / "broken.jpg", photos / "missing.jpg", photos / "one.jpg",
        "--out", out, "--include", "",
        **assets.environment,
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
    done = run("reconstruct", *photos, "-o", tmp_path, "--include", "overlay", **assets.environment)
    assert done.returncode == 1
    assert "one.jpg: its one_overlay.jpg would overwrite" in done.stderr
    assert [photo.read_bytes() for photo in photos] == [portrait_jpeg] * 2
    assert (tmp_path / "one_overlay_overlay.jpg").exists()


def test_reconstruct_does_not_read_what_is_too_large(photos: Path, assets: Any) -> None:
    huge = photos / "huge.jpg"
    with huge.open("wb") as file:
        file.truncate(1 << 40)  # a sparse file: no memory would hold it
    done = run("reconstruct", huge, "-o", photos / "out", **assets.environment)
    assert done.returncode == 1
    assert "huge.jpg: Photo too large" in done.stderr


def test_an_interrupt_leaves_the_photos_not_yet_begun(photos: Path, assets: Any) -> None:
    out = photos / "out"
    arguments = ("reconstruct", *[photos / "one.jpg"] * 300, "-o", out)
    process = start_program(*arguments, FACEWRIGHT_CONCURRENCY="1", **assets.environment)
    patience = time.monotonic() + 60
    while not list(out.glob("*.json")):
        assert time.monotonic() < patience
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert len(list(out.glob("*.json"))) < 300


def test_album_writes_mesh_json_and_page(
    tmp_path: Path,
    portrait_jpeg: bytes,
    mirrored_jpeg: bytes,
    stranger_jpeg: bytes,
    assets: Any,
    telling_weights: Path,
) -> None:
    photos = tmp_path / "photos"
    (photos / "deeper").mkdir(parents=True)
    (photos / "notes.txt").write_text("no photo")
    (photos / "deeper" / "other.jpg").write_bytes(stranger_jpeg)
    (photos / "1 <b>.jpg").write_bytes(portrait_jpeg)
    (photos / "2.JPG").write_bytes(mirrored_jpeg)
    (photos / "3.jpg").write_bytes(stranger_jpeg)
    (photos / "4.jpg").write_bytes(portrait_jpeg[:2000])
    (photos / "5.jpg").write_bytes(portrait_jpeg)
    out = tmp_path / "out"
    environment = {**assets.environment, "FACEWRIGHT_WEIGHTS": str(telling_weights)}
    done = run("album", photos, "-o", out, "--outliers", "drop", **environment)
    assert done.returncode == 1, done.stderr
    assert "identity of 3 of 5 photos" in done.stderr
    assert "4.jpg: Photo cannot be decoded" in done.stderr
    told = r"3\.jpg: seems to show somebody else \(distance \d+\.\d\d, above 2\.5\), left out"
    assert re.search(told, done.stderr)
    assert {path.name for path in out.iterdir()} == {
        "identity.glb", "identity.obj", "identity.mtl", "identity.png", "result.json", "album.html"
    }  # fmt: skip
    assert (out / "identity.glb").read_bytes().startswith(b"glTF")
    result = json.loads((out / "result.json").read_text())
    assert [photo["name"] for photo in result["photos"]] == [
        "1 <b>.jpg", "2.JPG", "3.jpg", "4.jpg", "5.jpg"
    ]  # fmt: skip
    statuses = [photo["status"] for photo in result["photos"]]
    assert statuses == ["used", "used", "left_out", "failed", "used"]
    page = (out / "album.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 2 * 4
    assert page.count("<rect") == 80 * 4 + 4  # and the share of each that did not fail
    assert "1 &lt;b&gt;.jpg" in page
    assert "<b>" not in page.partition("<script>")[0]
    mesh = re.search(r'id="mesh">([^<]+)</script>', page)
    assert mesh is not None
    assert base64.b64decode(mesh[1]) == (out / "identity.glb").read_bytes()
    assert not re.findall(r"https?:|url\(|<script src|<link", page)


def test_album_takes_photos_and_writes_what_is_included(
    tmp_path: Path, portrait_jpeg: bytes, mirrored_jpeg: bytes, assets: Any
) -> None:
    for name, data in (("a.jpg", portrait_jpeg), ("b.jpg", mirrored_jpeg)):
        (tmp_path / name).write_bytes(data)
    out = tmp_path / "out"
    done = run(
        "album", tmp_path / "a.jpg", tmp_path / "b.jpg", "-o", out,
        "--include", "mesh", "--mesh-format", "ply,stl",
        **assets.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = {path.name for path in out.iterdir()}
    assert files == {"identity.ply", "identity.stl", "result.json"}
    photos = json.loads((out / "result.json").read_text())["photos"]
    assert all("confidences" not in photo["face"] for photo in photos)


def test_album_needs_two_photos(photos: Path, assets: Any) -> None:
    done = run("album", photos / "other", "-o", photos / "out", **assets.environment)
    assert done.returncode == 2
    assert "at least 2" in done.stderr
    done = run("album", photos / "missing", "-o", photos / "out")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_models_lists_licenses_and_checksums(assets: Any) -> None:
    done = run("models", **assets.environment)
    assert done.returncode == 0, done.stderr
    for text in ("schematic", "CC0-1.0", assets.model.sha256, "blazeface", "MIT"):
        assert text in done.stdout


def test_bench_holds_the_server_against_its_networks(
    photos: Path, assets: Any, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    options = ("--seconds", 0.4, "--json", file, "--page", page, "--memory-requests", 20)
    done = run_program("bench", photos / "one.jpg", *options, **assets.environment)
    assert done.returncode == 0, done.stderr
    for text in ("concurrency 16", "concurrency 1, 12 MP", "detect", "regress", "Batches"):
        assert text in done.stdout
    assert page.read_text() == (f"before\n<!-- bench -->\n{done.stdout}<!-- /bench -->\nafter\n")
    result = json.loads(file.read_text())
    # Too short, on a machine with other work, to say more than that they are there.
    for key in ("throughput_over_floor", "p50_over_floor", "floor_ms", "peak_throughput"):
        assert result[key] > 0
    assert isinstance(result["non_network_ms"], float)
    assert result["overload_goodput_over_peak"] >= 0
    assert result["memory"]["requests"] >= 20
    assert result["overload"]["other"] == 0
    assert set(result["closed"]) == {"1", "2", "4", "8", "16"}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FACEWRIGHT_WEIGHTS", "/nowhere/weights.onnx", "weights.onnx"),
        ("FACEWRIGHT_FACE_MODEL", "/nowhere/model.npz", "model.npz"),
        ("FACEWRIGHT_CONCURRENCY", "0", "concurrency must be a whole number of at least 1"),
    ],
)
def test_what_the_user_must_mend_is_one_line(
    assets: Any, variable: str, value: str, message: str
) -> None:
    done = run("models", **{**assets.environment, variable: value})
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


@pytest.mark.parametrize("verb", ["reconstruct", "album", "detect"])
def test_a_place_that_cannot_be_written_is_told_in_one_line(photos: Path, verb: str) -> None:
    done = run(verb, photos, "-o", photos / "one.jpg" / "x" / "y")
    assert done.returncode == 2
    assert done.stderr.startswith(f"facewright: {photos / 'one.jpg'}")
    assert done.stderr.endswith(": Not a directory\n")
    assert len(done.stderr.splitlines()) == 1


def test_weights_of_another_face_model_are_refused(assets: Any, tmp_path: Path) -> None:
    import dataclasses

    other = tmp_path / "other.npz"
    metadata = {**assets.model.metadata, "version": "2"}
    dataclasses.replace(assets.model, metadata=metadata).save(other)
    done = run("models", **{**assets.environment, "FACEWRIGHT_FACE_MODEL": str(other)})
    assert done.returncode == 2
    assert "trained for" in done.stderr


def test_serve_refuses_settings_out_of_range() -> None:
    done = run_program("serve", "--port", "70000")
    assert done.returncode == 2
    assert "port" in done.stderr
