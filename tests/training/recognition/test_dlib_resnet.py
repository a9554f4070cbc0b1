from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from facewright.training.recognition.dlib_file import (
    Affine,
    Convolution,
    DlibFormatError,
    DlibNetwork,
    FullyConnected,
    Plain,
    read_dlib_network,
)
from facewright.training.recognition.dlib_resnet import (
    DlibResNet,
    FrozenConvolution,
    ResidualUnit,
    add_padded,
)
from facewright.training.recognition.recognizer import RecognizerMissing, installed_dlib_file

MEAN = (122.782, 117.001, 104.298)


@pytest.fixture(scope="module")
def net(dlib_layers: list[Any]) -> DlibResNet:
    return DlibResNet(DlibNetwork(MEAN, (150, 150), tuple(dlib_layers)))


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
        elif layer is Plain.RELU:
            x = np.maximum(x, 0)
        elif layer is Plain.TAG and layers[index + 1] is Plain.TAG:
            result, x = x, remembered.pop()
            remembered.append(result)
            index += 1
        elif layer is Plain.TAG:
            remembered.append(x)
        elif layer is Plain.ADD_PREVIOUS:
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


def test_descriptor_equals_a_second_derivation(net: DlibResNet, dlib_layers: list[Any]) -> None:
    chips = np.random.default_rng(2).random((2, 3, 150, 150)).astype(np.float32)
    found = net(torch.from_numpy(chips))
    assert found.shape == (2, 128)
    expected = _numpy_network(dlib_layers, chips[1])
    np.testing.assert_allclose(found[1], expected, atol=1e-4 * np.abs(expected).max())


def test_reading_the_file_gives_the_same_network(net: DlibResNet, dlib_path) -> None:
    chips = torch.rand(1, 3, 150, 150, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(DlibResNet.from_file(dlib_path)(chips), net(chips))


def test_frozen_and_not_part_of_a_checkpoint(net: DlibResNet) -> None:
    assert not list(net.parameters())
    assert not net.state_dict()


@pytest.mark.parametrize("halves", [False, True])
def test_gradient_of_a_unit(halves: bool) -> None:
    rng = np.random.default_rng(4)

    def convolution(channels: int, filters: int, stride: int, padding: int) -> FrozenConvolution:
        weight = rng.normal(size=(filters, channels, 3, 3)).astype(np.float32)
        affine = Affine(*(rng.normal(size=(2, filters)).astype(np.float32)))
        bias = rng.normal(size=filters).astype(np.float32)
        pairs = (stride, stride), (padding, padding)
        return FrozenConvolution(Convolution(weight, bias, *pairs), affine).double()

    filters = 3 if halves else 2
    first = convolution(2, filters, 2 if halves else 1, 0 if halves else 1)
    unit = ResidualUnit(first, convolution(filters, filters, 1, 1), halves)
    x = torch.from_numpy(rng.normal(size=(1, 2, 8, 7))).requires_grad_()
    assert unit(x).shape == ((1, 3, 4, 3) if halves else (1, 2, 8, 7))
    assert torch.autograd.gradcheck(unit, x)


def test_gradient_of_the_network(dlib_layers: list[Any]) -> None:
    net = DlibResNet(DlibNetwork(MEAN, (150, 150), tuple(dlib_layers))).double()
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


def test_another_network_is_refused(dlib_layers: list[Any], write_dlib, tmp_path) -> None:
    def build(*layers: Any) -> DlibResNet:
        return DlibResNet(DlibNetwork(MEAN, (150, 150), layers))

    with pytest.raises(DlibFormatError, match="layer 2 is tag, not relu"):
        build(*dlib_layers[:2], Plain.TAG, *dlib_layers[2:])
    with pytest.raises(DlibFormatError, match="the end, not matrix 256 x 128"):
        build(*dlib_layers[:-1])
    with pytest.raises(DlibFormatError, match="is relu, not end"):
        build(*dlib_layers, Plain.RELU)
    with pytest.raises(DlibFormatError, match=r"layer 1 is Pool, not affine layer of 32"):
        build(dlib_layers[0], dlib_layers[3])
    with pytest.raises(DlibFormatError, match="input of"):
        DlibResNet(DlibNetwork(MEAN, (64, 64), tuple(dlib_layers)))
    path = tmp_path / "other.dat"
    path.write_bytes(write_dlib([Plain.RELU]))
    with pytest.raises(DlibFormatError, match="other.dat: not dlib's face recognition"):
        DlibResNet.from_file(path)


def test_the_published_network() -> None:
    try:
        path = installed_dlib_file()
    except RecognizerMissing as error:
        pytest.skip(str(error))
    network = read_dlib_network(path)
    y, x = np.mgrid[:150, :150] / 150
    chip = np.stack([0.5 + 0.5 * np.sin(9 * x), y, x * y]).astype(np.float32)
    found = DlibResNet(network)(torch.from_numpy(chip)[None])[0]
    expected = _numpy_network(list(network.layers), chip)
    np.testing.assert_allclose(found, expected, atol=1e-5)
