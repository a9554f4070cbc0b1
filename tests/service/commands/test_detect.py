"""`facewright detect`, as a user and as training runs it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as pictures

from tests.service.running import run, run_program

pytestmark = pytest.mark.slow

# Read off the astronaut's photo (512 x 512) by eye, good to some 2 px.
POINTS = np.array([[202, 101], [247, 103], [224, 126], [203, 140], [245, 141]])


@pytest.fixture
def photos(tmp_path: Path, portrait_jpeg: bytes, group_jpeg: bytes, faceless_jpeg: bytes) -> Path:
    directory = tmp_path / "photos"
    (directory / "Ann_Lee").mkdir(parents=True)
    (directory / "Ann_Lee" / "one.jpg").write_bytes(portrait_jpeg)
    turned = np.ascontiguousarray(np.rot90(pictures.astronaut(), 3)[..., ::-1])
    cv2.imwrite(str(directory / "Ann_Lee" / "turned.PNG"), turned)
    (directory / "group.jpg").write_bytes(group_jpeg)
    (directory / "cup.jpg").write_bytes(faceless_jpeg)
    (directory / "broken.jpg").write_bytes(portrait_jpeg[:2000])
    (directory / "notes.txt").write_text("no photo")
    return directory


def test_every_photo_has_a_row(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "points.npz"
    done = run_program("detect", photos, "-o", out)
    assert done.returncode == 1
    assert "broken.jpg: Photo cannot be decoded" in done.stderr
    assert "4 of 5 photos, 1 of them without a face" in done.stderr
    assert "Traceback" not in done.stderr
    with np.load(out) as file:
        rows = dict(file)
    assert rows["names"].tolist() == [
        "Ann_Lee/one.jpg", "Ann_Lee/turned.PNG", "broken.jpg", "cup.jpg", "group.jpg",
    ]  # fmt: skip
    for name in ("boxes", "points", "scores"):
        empty = np.isnan(rows[name].reshape(5, -1))
        assert empty.all(1).tolist() == empty.any(1).tolist() == [False, False, True, True, False]
    np.testing.assert_allclose(rows["points"][0], POINTS, atol=5)
    turned = np.stack([512 - POINTS[:, 1], POINTS[:, 0]], 1)  # a quarter turn clockwise
    np.testing.assert_allclose(rows["points"][1], turned, atol=8)
    np.testing.assert_allclose(rows["points"][4], POINTS + [256, 0], atol=5)  # the largest
    assert rows["scores"][0] > 0.8
    assert [path.name for path in out.parent.iterdir()] == ["points.npz"]


def test_all_faces_are_rows_of_their_own(photos: Path, tmp_path: Path) -> None:
    done = run("detect", photos / "group.jpg", "-o", tmp_path / "p.npz", "--faces", "all")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "p.npz") as file:
        assert file["names"].tolist() == ["group.jpg"] * 3
        boxes = file["boxes"]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert areas[0] > 2 * areas[1]
    assert (np.diff(areas) <= 0).all()


def test_the_limits_of_the_service_hold(photos: Path, tmp_path: Path) -> None:
    done = run("detect", photos / "cup.jpg", "-o", tmp_path / "p.npz", FACEWRIGHT_MAX_PIXELS="2000")
    assert done.returncode == 1
    assert "Photo too large" in done.stderr


def test_what_cannot_be_done_is_refused(photos: Path, tmp_path: Path) -> None:
    one = photos / "Ann_Lee" / "one.jpg"
    for arguments, message in (
        ([one, photos / "Ann_Lee", "-o", tmp_path / "p.npz"], "same name"),
        ([one, "-o", one], "is one of the photos"),
        ([tmp_path / "photos" / "Ann_Lee", "-o", photos], "directory"),
    ):
        before = one.read_bytes()
        done = run("detect", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert one.read_bytes() == before
    (tmp_path / "empty").mkdir()
    done = run("detect", tmp_path / "empty", "-o", tmp_path / "p.npz")
    assert done.returncode == 2
    assert "no photo" in done.stderr


def test_without_a_file_the_faces_are_printed(photos: Path) -> None:
    done = run("detect", photos, "--faces", "all")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["name"] for line in lines] == [
        "Ann_Lee/one.jpg", "Ann_Lee/turned.PNG", "cup.jpg", *["group.jpg"] * 3,
    ]  # fmt: skip
    np.testing.assert_allclose(lines[0]["points"], POINTS, atol=5)
    assert len(lines[0]["box"]) == 4
    assert lines[0]["score"] > 0.8
    assert lines[2] == {"name": "cup.jpg"}
    assert "4 of 5 photos, 1 of them without a face\n" in done.stderr
