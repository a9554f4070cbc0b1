from __future__ import annotations

import contextlib
import hashlib
import tracemalloc
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.training.recognition import dlib_file
from facewright.training.recognition.dlib_file import (
    Affine,
    Convolution,
    DlibFormatError,
    FullyConnected,
    Plain,
    Pool,
    read_dlib_network,
)
from facewright.training.recognition.recognizer import RecognizerMissing, installed_dlib_file

rng = np.random.default_rng(1)
TINY: list[Any] = [
    Convolution(
        rng.normal(size=(4, 3, 2, 5)).astype(np.float32),
        rng.normal(size=4).astype(np.float32),
        (2, 1),
        (0, 3),
    ),
    Affine(rng.normal(size=4).astype(np.float32), rng.normal(size=4).astype(np.float32)),
    Plain.RELU,
    Plain.TAG,
    Pool(True, (3, 2), (2, 1), (0, 1)),
    Plain.ADD_PREVIOUS,
    Pool(False, (0, 0), (1, 1), (0, 0)),
    FullyConnected(rng.normal(size=(4, 6)).astype(np.float32)),
]


@pytest.fixture(scope="module")
def tiny(write_dlib) -> bytes:
    return write_dlib(TINY, (1.5, -2.25, 104.298), (20, 300))


def _read(data: bytes, directory: Path):
    path = directory / "network.dat"
    path.write_bytes(data)
    return read_dlib_network(path)


def test_every_value_comes_back(tiny: bytes, tmp_path: Path) -> None:
    network = _read(tiny, tmp_path)
    assert network.mean_rgb == (1.5, -2.25, 104.298)
    assert network.input_size == (20, 300)
    assert [type(a) for a in network.layers] == [type(b) for b in TINY]
    for found, expected in zip(network.layers, TINY, strict=True):
        if isinstance(expected, Plain):
            assert found is expected
            continue
        for field in fields(expected):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name))


def test_bytes_as_dlib_writes_them(tmp_path: Path) -> None:
    # Typed from the layout of a file that dlib wrote, not from this project's own writer:
    # 122.782 as float32 is 16093282 * 2^-17, and 300 takes two bytes.
    data = bytes.fromhex(
        "0101 010d" + b"loss_metric_2".hex() + "030ad7a3811c 039a99998118"
        "0103 0115" + b"input_rgb_image_sized".hex() + "036290f58111 0100010b 8202010100"
        "01 1e 022c01"
        "0105" + b"relu_".hex() + "313130" + 3 * "01020100010001000100" + "0101"
    )
    network = _read(data, tmp_path)
    assert network.mean_rgb == (float(np.float32(122.782)), 0.0, -258.0)
    assert network.input_size == (30, 300)
    assert network.layers == (Plain.RELU,)


@settings(max_examples=200, deadline=None)
@given(fraction=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(tiny: bytes, tmp_path_factory, fraction: float) -> None:
    with pytest.raises(DlibFormatError, match=r"network.dat: .*byte"):
        _read(tiny[: int(fraction * len(tiny))], tmp_path_factory.getbasetemp())


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(tiny: bytes, tmp_path_factory, data) -> None:
    damaged = bytearray(tiny)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(tiny) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DlibFormatError):
        _read(bytes(damaged), tmp_path_factory.getbasetemp())


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_other_content_is_refused(data: bytes, tmp_path_factory) -> None:
    with pytest.raises(DlibFormatError):
        _read(data, tmp_path_factory.getbasetemp())


def _with_tensor_sizes(tiny: bytes, sizes: str) -> bytes:
    start = tiny.index(b"con_4") + 5 + 2
    return tiny[:start] + bytes.fromhex(sizes)


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ("04ffffff7f 04ffffff7f 04ffffff7f 04ffffff7f", "too early"),
        ("08ffffffffffffff7f 0101 0101 0101", "is no size"),
        ("8101 0101 0101 0101", "is no size"),
        ("09", "no integer starts"),
        ("41", "no integer starts"),
    ],
)
def test_sizes_are_checked_before_anything_is_allocated(
    tiny: bytes, tmp_path: Path, sizes: str, problem: str
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DlibFormatError, match=problem):
            _read(_with_tensor_sizes(tiny, sizes), tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_endless_nesting_is_refused(tiny: bytes, tmp_path: Path) -> None:
    start = tiny.index(b"loss_metric_2") + 13
    with pytest.raises(DlibFormatError, match="more than 4096 layers"):
        _read(tiny[:start] + b"\x01\x01\x01\x01" + 5000 * b"\x01\x02", tmp_path)


def test_a_large_file_is_not_even_read(
    tiny: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dlib_file, "MAX_FILE_BYTES", len(tiny) - 1)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    (tmp_path / "network.dat").symlink_to(tmp_path / "content")
    (tmp_path / "content").write_bytes(tiny)
    with pytest.raises(DlibFormatError, match="more than"):
        read_dlib_network(tmp_path / "network.dat")


def test_what_is_odd_is_named(tiny: bytes, write_dlib, tmp_path: Path) -> None:
    with pytest.raises(DlibFormatError, match="unknown layer 'cox_4'"):
        _read(tiny.replace(b"con_4", b"cox_4"), tmp_path)
    with pytest.raises(
        DlibFormatError, match="'loss_metric_2' was expected, found 'loss_mmod_xx_'"
    ):
        _read(tiny.replace(b"loss_metric_2", b"loss_mmod_xx_"), tmp_path)
    with pytest.raises(DlibFormatError, match="3 bytes follow"):
        _read(tiny + b"abc", tmp_path)
    without_number = FullyConnected(np.full((2, 2), np.nan, np.float32))
    with pytest.raises(DlibFormatError, match="not finite"):
        _read(write_dlib([without_number]), tmp_path)
    with pytest.raises(FileNotFoundError):
        read_dlib_network(tmp_path / "absent.dat")


def test_the_published_file() -> None:
    try:
        path = installed_dlib_file()
    except RecognizerMissing as error:
        pytest.skip(str(error))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == (
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
    )
    network = read_dlib_network(path)
    kinds = [type(layer) for layer in network.layers]
    assert [kinds.count(k) for k in (Convolution, Affine, Pool, FullyConnected)] == [29, 29, 6, 1]
    np.testing.assert_allclose(network.mean_rgb, [122.782, 117.001, 104.298], atol=1e-5)
    assert network.input_size == (150, 150)
