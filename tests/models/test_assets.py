from __future__ import annotations

from pathlib import Path

import pytest

from facewright.models import assets


def test_finds_what_lies_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_DIRECTORY", tmp_path)
    (tmp_path / assets.FACE_MODEL).write_bytes(b"x")
    assert assets.asset_path(assets.FACE_MODEL) == tmp_path / assets.FACE_MODEL


def test_missing_asset_says_where_it_was_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "_DIRECTORY", tmp_path)
    with pytest.raises(FileNotFoundError, match="face_model.npz.*expected at") as caught:
        assets.asset_path(assets.FACE_MODEL)
    assert str(tmp_path) in str(caught.value)


def test_a_directory_is_not_an_asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_DIRECTORY", tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError):
        assets.asset_path("folder")


@pytest.mark.parametrize("name", ["../layout.py", "/etc/passwd", "a/b.npz"])
def test_paths_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="file name alone"):
        assets.asset_path(name)


def test_sha256_of_known_content(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # the example of FIPS 180-4
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert assets.sha256(path) == expected
    path.write_bytes(b"")
    assert assets.sha256(path).startswith("e3b0c44298fc1c149afbf4c8996fb924")
    with pytest.raises(FileNotFoundError):
        assets.sha256(tmp_path / "absent")
