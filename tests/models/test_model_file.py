"""The face model's file: what comes back, what is refused, and that bytes are reproducible."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facewright.models import model_file
from facewright.models.model_file import FaceModelFileError
from facewright.models.morphable_model import MorphableModel

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def saved(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "face.npz"
    model.save(path)
    return path


def tampered(saved: Path, tmp_path: Path, change: Callable[[Members], object]) -> Path:
    """A copy of the file with some entries changed."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    path = tmp_path / "tampered.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, payload in members.items():
            archive.writestr(name, payload)
    return path


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def test_everything_comes_back(model: MorphableModel, saved: Path) -> None:
    loaded = MorphableModel.load(saved)
    exact = {"sha256", "identity_basis", "expression_basis", "albedo_basis", "subdivision"}
    for item in dataclasses.fields(model):
        if item.name not in exact:
            np.testing.assert_equal(getattr(loaded, item.name), getattr(model, item.name))
    assert model.subdivision is not None
    assert loaded.subdivision is not None
    for item in dataclasses.fields(model.subdivision):
        ours, theirs = getattr(model.subdivision, item.name), getattr(loaded.subdivision, item.name)
        np.testing.assert_equal(theirs, ours)
    for name in ("identity_basis", "expression_basis"):
        ours, theirs = getattr(model, name), getattr(loaded, name)
        assert theirs.dtype == np.float32
        np.testing.assert_allclose(theirs, ours, rtol=2**-11, atol=2**-25)
    step = np.abs(model.albedo_basis).max(axis=(1, 2), keepdims=True) / 127
    assert np.all(np.abs(loaded.albedo_basis - model.albedo_basis) <= 0.501 * step)
    assert loaded.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()


def test_a_dense_model_comes_back(model: MorphableModel, tmp_path: Path) -> None:
    dense = dataclasses.replace(
        model,
        mean_shape=model.mean_vertices,
        identity_basis=model.refine(model.identity_basis),
        expression_basis=model.refine(model.expression_basis),
        subdivision=None,
        expression_units=(),
        expression_unit_coefficients=np.zeros((0, 64), np.float32),
    )
    dense.save(tmp_path / "dense.npz")
    loaded = MorphableModel.load(tmp_path / "dense.npz")
    assert loaded.subdivision is None
    assert loaded.expression_units == ()
    np.testing.assert_array_equal(loaded.mean_shape, dense.mean_shape)


def test_the_same_model_gives_the_same_bytes(
    model: MorphableModel, saved: Path, tmp_path: Path
) -> None:
    model.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


def test_a_loaded_model_is_saved_as_it_was(saved: Path, tmp_path: Path) -> None:
    MorphableModel.load(saved).save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


@given(st.floats(1e-6, 1e4), st.integers(0, 100))
def test_quantizing_twice_changes_nothing(size: float, seed: int) -> None:
    basis = np.random.default_rng(seed).standard_normal((3, 10, 3)).astype(np.float32)
    basis *= np.float32(size)
    basis[1] = 0.0
    first, scale = model_file.quantize(basis)
    again, same = model_file.quantize(first * scale[:, None, None])
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(same, scale)
    assert np.abs(first[[0, 2]]).max(axis=(1, 2)).tolist() == [127, 127]


def test_numpy_reads_the_file_without_pickles(saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as arrays:
        assert arrays["albedo_basis"].dtype == np.int8
        assert arrays["identity_basis"].dtype == np.float16
        assert arrays["triangles"].shape[1] == 3


def set_header(**changes: object) -> Callable[[Members], object]:
    def change(members: Members) -> None:
        header = json.loads(members["header.json"]) | changes
        members["header.json"] = json.dumps(header).encode()

    return change


def set_array(name: str, array: np.ndarray, **options: bool) -> Callable[[Members], object]:
    return lambda members: members.update({f"{name}.npy": npy(array, **options)})


def declare(shape: str) -> Callable[[Members], object]:
    """`uv` with a header that promises other values than follow."""

    def change(members: Members) -> None:
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
        header = text.ljust(117).encode() + b"\n"
        members["uv.npy"] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_header(format="other"), "not a facewright face model"),
        (set_header(version=2), "format version 2"),
        (set_header(version="1"), "format version '1'"),
        (set_header(expression_units="jawOpen"), "expression_units"),
        (set_header(expression_units=["jawOpen"]), "expression_units"),
        (set_header(metadata={"name": 3}), "metadata"),
        (set_header(metadata={}), "metadata lacks"),
        (lambda members: members.update({"header.json": b"{"}), "not JSON"),
        (lambda members: members.update({"header.json": b"[]"}), "not a facewright"),
        (lambda members: members.update({"header.json": b"\xff"}), "not JSON"),
        (lambda members: members.pop("header.json"), "header.json"),
        (lambda members: members.pop("uv.npy"), "uv.npy"),
        (lambda members: members.pop("subdivision_data.npy"), "subdivision_data.npy"),
        (lambda members: members.update({"more.npy": b""}), "more.npy"),
        (lambda members: members.update({"uv.npy": b"nothing"}), "uv"),
        (lambda members: members.update({"uv.npy": b""}), "uv"),
        (set_array("uv", np.array([{}], object), allow_pickle=True), "uv must be"),
        (set_array("uv", np.zeros((4, 2))), "uv must be"),
        (set_array("uv", np.zeros((), np.float32)), "uv must be"),
        (set_array("uv", np.zeros((525, 2), np.float32, order="F")), "uv must be"),
        (set_array("uv", np.zeros((4, 2), np.float32)), "uv must have shape"),
        (set_array("albedo_scale", np.ones(79, np.float32)), "fit together"),
        (set_array("albedo_scale", np.full(80, np.nan, np.float32)), "finite"),
        (set_array("landmarks", np.full(68, -1, np.int32)), "landmarks"),
        (set_array("subdivision_indices", np.zeros(3, np.int32)), "not a sound face model"),
        (set_array("subdivision_indptr", np.zeros(526, np.int32)), "not a sound face model"),
        (declare("(1000000000000, 2)"), "declares"),
        (declare("(-1, 2)"), "declares"),
        (declare("(525, 2)"), "declares"),
        (declare("__import__('os')"), "uv"),
    ],
)
def test_other_files_are_refused(
    saved: Path, tmp_path: Path, change: Callable[[Members], object], reason: str
) -> None:
    with pytest.raises(FaceModelFileError, match=reason):
        MorphableModel.load(tampered(saved, tmp_path, change))


def test_a_subdivision_that_points_outside_is_refused(
    model: MorphableModel, saved: Path, tmp_path: Path
) -> None:
    assert model.subdivision is not None
    for bad in (-1, model.n_cage_vertices):
        indices = model.subdivision.indices.copy()
        indices[-1] = bad
        path = tampered(saved, tmp_path, set_array("subdivision_indices", indices))
        with pytest.raises(FaceModelFileError, match="not a sound face model"):
            MorphableModel.load(path)


def test_what_unpacks_to_too_much_is_refused_unread(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tampered(saved, tmp_path, set_array("uv", np.zeros((2**20, 2), np.float32)))
    assert bomb.stat().st_size < 2 * saved.stat().st_size
    monkeypatch.setattr(model_file, "MAX_UNPACKED_BYTES", 2**22)

    def read(*_: object) -> bytes:
        raise AssertionError("must not be unpacked")

    monkeypatch.setattr(zipfile.ZipFile, "read", read)
    with pytest.raises(FaceModelFileError, match="unpacks to more"):
        MorphableModel.load(bomb)


def test_a_file_that_is_too_large_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "MAX_FILE_BYTES", 100)
    with pytest.raises(FaceModelFileError, match="larger than"):
        MorphableModel.load(saved)


def test_an_entry_twice_is_refused(saved: Path, tmp_path: Path) -> None:
    path = tampered(saved, tmp_path, lambda members: None)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("uv.npy", npy(np.zeros((525, 2), np.float32)))
    with pytest.raises(FaceModelFileError, match="twice"):
        MorphableModel.load(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        MorphableModel.load(tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip file at all" * 50])
def test_what_is_no_zip_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "junk.npz"
    path.write_bytes(content)
    with pytest.raises(FaceModelFileError):
        MorphableModel.load(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_never_gives_another_error(saved: Path, tmp_path: Path, data: st.DataObject) -> None:
    """A flipped byte anywhere either is noticed or did not matter."""
    content = bytearray(saved.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path = tmp_path / "damaged.npz"
    path.write_bytes(content[:cut])
    with contextlib.suppress(FaceModelFileError):
        MorphableModel.load(path)
