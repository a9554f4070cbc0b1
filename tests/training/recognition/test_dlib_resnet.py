from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.models.recognition_torch import FaceResNet, ResidualUnit, add_padded
from facewright.training.recognition import dlib_resnet
from facewright.training.recognition.dlib_resnet import DlibFormatError, read_dlib_resnet
from facewright.training.recognition.recognizer import RecognizerMissing, installed_dlib_file
from tests.training.recognition.conftest import (
    ADD_PREVIOUS,
    RELU,
    TAG,
    Affine,
    Convolution,
    FullyConnected,
)

MEAN = (122.782, 117.001, 104.298)


@pytest.fixture(scope="module")
def net(dlib_path: Path) -> FaceResNet:
    return read_dlib_resnet(dlib_path)


@pytest.fixture(scope="module")
def whole(dlib_path: Path) -> bytes:
    return dlib_path.read_bytes()


def _read(data: bytes, directory: Path) -> FaceResNet:
    path = directory / "network.dat"
    path.write_bytes(data)
    return read_dlib_resnet(path)


def _numpy_convolution(x: np.ndarray, convolution: Convolution, affine: Affine) -> np.ndarray:
    """(C, H, W) -> (F, H', W') in double precision: convolution, then its affine layer."""
    (pad_y, pad_x), (step_y, step_x) = convolution.padding, convolution.stride
    x = np.pad(x, ((0, 0), (pad_y, pad_y), (pad_x, pad_x)))
    weight = convolution.weight.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (1, 2))
    out = np.tensordot(weight, windows[:, ::step_y, ::step_x], ([1, 2, 3], [0, 3, 4]))
    out += convolution.bias[:, None, None]
    return affine.scale[:, None, None] * out + affine.offset[:, None, None]


def _numpy_average_2x2(x: np.ndarray) -> np.ndarray:
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return sum(x[:, a:h:2, b:w:2] for a in (0, 1) for b in (0, 1)) / 4


def _numpy_network(layers: list[Any], chip: np.ndarray) -> np.ndarray:
    """The list of layers, run one after the other as dlib does, with its tags."""
    x = (chip.astype(np.float64) * 255 - np.array(MEAN)[:, None, None]) / 256
    remembered: list[np.ndarray] = []
    index = 0
    while index < len(layers):
        layer = layers[index]
        if isinstance(layer, Convolution):
            x = _numpy_convolution(x, layer, layers[index + 1])
            index += 1
        elif layer is RELU:
            x = np.maximum(x, 0)
        elif layer is TAG and layers[index + 1] is TAG:
            result, x = x, remembered.pop()
            remembered.append(result)
            index += 1
        elif layer is TAG:
            remembered.append(x)
        elif layer is ADD_PREVIOUS:
            y = remembered.pop()
            total = np.zeros(np.maximum(x.shape, y.shape))
            for part in (x, y):
                c, h, w = part.shape
                total[:c, :h, :w] += part
            x = total
        elif isinstance(layer, FullyConnected):
            x = x @ layer.weight.astype(np.float64)
        elif layer.largest:
            h, w = ((s - 3) // 2 * 2 + 1 for s in x.shape[1:])
            windows = [x[:, a : a + h : 2, b : b + w : 2] for a in range(3) for b in range(3)]
            x = np.max(windows, axis=0)
        else:
            x = _numpy_average_2x2(x) if layer.window == (2, 2) else x.mean((1, 2))
        index += 1
    return x


def test_descriptor_equals_a_second_derivation(net: FaceResNet, dlib_layers: list[Any]) -> None:
    chips = np.random.default_rng(2).random((2, 3, 150, 150)).astype(np.float32)
    with torch.no_grad():
        found = net(torch.from_numpy(chips))
    assert found.shape == (2, 128)
    expected = _numpy_network(dlib_layers, chips[1])
    np.testing.assert_allclose(found[1], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("halves", [False, True])
def test_gradient_of_a_unit(halves: bool) -> None:
    torch.manual_seed(4)
    unit = ResidualUnit(2, 3 if halves else 2, halves).double()
    x = torch.randn(1, 2, 8, 7, dtype=torch.float64, requires_grad=True)
    assert unit(x).shape == ((1, 3, 4, 3) if halves else (1, 2, 8, 7))
    assert torch.autograd.gradcheck(unit, x)


def test_gradient_of_the_network(dlib_path: Path) -> None:
    net = read_dlib_resnet(dlib_path).double()
    generator = torch.Generator().manual_seed(6)
    chip = torch.rand(1, 3, 150, 150, dtype=torch.float64, generator=generator)
    weights = torch.randn(128, dtype=torch.float64, generator=generator)
    chip.requires_grad_()
    (gradient,) = torch.autograd.grad((net(chip) @ weights).sum(), chip)
    direction, step = gradient.sign(), 1e-8
    with torch.no_grad():
        ahead, behind = (net(chip + s * direction) @ weights for s in (step, -step))
    numeric = ((ahead - behind) / (2 * step)).item()
    assert (gradient * direction).sum().item() == pytest.approx(numeric, rel=1e-4)


def test_addition_pads_both_sides() -> None:
    x, y = torch.ones(1, 1, 2, 3), torch.full((1, 2, 3, 1), 10.0)
    expected = [[[11, 1, 1], [11, 1, 1], [10, 0, 0]], [[10, 0, 0], [10, 0, 0], [10, 0, 0]]]
    assert add_padded(x, y)[0].tolist() == expected


def test_bytes_as_dlib_writes_them(whole: bytes, tmp_path: Path) -> None:
    # Typed from the layout of a file that dlib wrote, not from this project's own writer:
    # 122.782 as float32 is 16093282 * 2^-17, and 150 takes one byte.
    start = whole.index(b"input_rgb_image_sized")
    head = bytes.fromhex("0101 010d" + b"loss_metric_2".hex() + "030ad7a3811c 039a99998118")
    kinds = whole[whole.index(b"\x01\x02", whole.index(b"loss_metric_2")) : start - 2]
    kinds = kinds[len(kinds) % 2 :]
    means = "036290f58111 0100010b 8202010100"
    rest = whole[whole.index(bytes.fromhex("0196 0196"), start) :]
    of_dlib = head + kinds + b"\x01\x15input_rgb_image_sized" + bytes.fromhex(means) + rest
    mean = _read(of_dlib, tmp_path).mean.reshape(-1).tolist()
    assert mean == [float(np.float32(122.782)), 0.0, -258.0]


@settings(max_examples=40, deadline=None)
@given(fraction=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(whole: bytes, tmp_path_factory, fraction: float) -> None:
    # Half of the cuts are in the head, where everything but weights is.
    length = int((fraction**8 if fraction < 0.9 else fraction) * len(whole))
    with pytest.raises(DlibFormatError, match=r"network.dat: .*byte"):
        _read(whole[:length], tmp_path_factory.getbasetemp())


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damage_beside_the_weights_is_refused_or_harmless(
    whole: bytes, tmp_path_factory, data
) -> None:
    """In the head, or around the name of a layer."""
    names = [0, *(whole.index(name) for name in (b"con_4", b"affine_", b"relu_", b"fc_2"))]
    at = data.draw(st.sampled_from(names)) + data.draw(st.integers(0, 120))
    damaged = bytearray(whole)
    damaged[min(at, len(whole) - 1)] = data.draw(st.integers(0, 255))
    try:
        found = _read(bytes(damaged), tmp_path_factory.getbasetemp())
    except DlibFormatError:
        return
    # A weight, a mean, or what only training reads.
    assert all(bool(value.isfinite().all()) for value in found.state_dict().values())


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_other_content_is_refused(data: bytes, tmp_path_factory) -> None:
    with pytest.raises(DlibFormatError):
        _read(data, tmp_path_factory.getbasetemp())


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ("04ffffff7f 04ffffff7f 04ffffff7f 04ffffff7f", "numbers were expected"),
        ("8101 0101 0101 0101", "numbers were expected"),
        ("09", "no integer starts"),
        ("41", "no integer starts"),
        ("024013 0101 0101", "too early"),
    ],
)
def test_sizes_are_checked_before_anything_is_allocated(
    whole: bytes, tmp_path: Path, sizes: str, problem: str
) -> None:
    start = whole.index(b"con_4") + 5 + 2
    path = tmp_path / "network.dat"
    path.write_bytes(whole[:start] + bytes.fromhex(sizes))
    tracemalloc.start()
    try:
        with pytest.raises(DlibFormatError, match=problem):
            read_dlib_resnet(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_large_file_is_not_even_read(
    dlib_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dlib_resnet, "MAX_FILE_BYTES", len(whole) - 1)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(DlibFormatError, match="more than"):
        read_dlib_resnet(dlib_path)


def test_another_network_is_refused(
    whole: bytes, dlib_layers: list[Any], write_dlib, tmp_path: Path
) -> None:
    def refused(layers: list[Any], problem: str, **changes: Any) -> None:
        with pytest.raises(DlibFormatError, match=problem):
            _read(write_dlib(layers, **changes), tmp_path)

    refused([*dlib_layers[:2], TAG, *dlib_layers[2:]], "layers: 2 was expected, found 1")
    refused(dlib_layers[:-1], "layers")
    refused([*dlib_layers, RELU], "layers|bytes follow")
    refused([dlib_layers[0], RELU, *dlib_layers[2:]], "'affine_' was expected")
    narrow = dlib_layers[0]._replace(stride=(1, 1))
    refused([narrow, *dlib_layers[1:]], "convolution: 2 was expected, found 1")
    refused(dlib_layers, "size of the input: 150 was expected", size=(64, 64))
    nan = FullyConnected(np.full((256, 128), np.nan, np.float32))
    refused([*dlib_layers[:-1], nan], "not finite")
    for data, problem in (
        (whole.replace(b"con_4", b"cox_4", 1), "'con_4' was expected"),
        (whole.replace(b"loss_metric_2", b"loss_mmod_xx_"), "'loss_metric_2' was expected"),
        (whole + b"abc", "3 bytes follow"),
    ):
        with pytest.raises(DlibFormatError, match=f"network.dat: not dlib's .*{problem}"):
            _read(data, tmp_path)
    with pytest.raises(FileNotFoundError):
        read_dlib_resnet(tmp_path / "absent.dat")


def test_the_published_network() -> None:
    try:
        path = installed_dlib_file()
    except RecognizerMissing as error:
        pytest.skip(str(error))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == (
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
    )
    net = read_dlib_resnet(path)
    np.testing.assert_allclose(net.mean.reshape(-1), MEAN, atol=1e-5)
    y, x = np.mgrid[:150, :150] / 150
    chip = np.stack([0.5 + 0.5 * np.sin(9 * x), y, x * y]).astype(np.float32)
    with torch.no_grad():
        found = net(torch.from_numpy(chip)[None])[0]
    # Of the file's layers, run one after the other in double precision as above.
    expected = [-0.05045, 0.12629, 0.07294, 0.01683, -0.04983, -0.04266, -0.07978, -0.0064]
    np.testing.assert_allclose(found[:8], expected, atol=1e-5)
