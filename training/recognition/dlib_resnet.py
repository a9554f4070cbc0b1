"""dlib's face-recognition ResNet: a 150 px face chip to 128 numbers.

The network is that of dlib's example ``dnn_face_recognition_ex.cpp``; its weights,
``dlib_face_recognition_resnet_model_v1.dat`` (Davis King, CC0), score 99.38% on Labeled Faces in
the Wild by their author. It is ResNet-34 (He et al. 2015, arXiv 1512.03385) with fewer layers and
half as many filters: 29 convolutions. Batch normalisation is frozen into an affine layer behind
each convolution, and is multiplied into the convolution here.

A unit that halves the resolution has a 2x2 average as its shortcut. What is added then differs in
size (channels; the last row and column), and the smaller one counts as zero outside itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from facewright.training.recognition.dlib_file import (
    Affine,
    Convolution,
    DlibFormatError,
    DlibNetwork,
    FullyConnected,
    Layer,
    Plain,
    Pool,
    read_dlib_network,
)

CHIP_SIZE: Final = 150
DIMENSION: Final = 128
STEM_FILTERS: Final = 32
STAGES: Final = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
"""Filters and units of each stage; the first unit of all but the first stage halves."""

_PIXEL_RANGE: Final = 255.0
_INPUT_SCALE: Final = 256.0  # dlib's input layer divides by 256, not by 255


class FrozenConvolution(nn.Module):
    """A convolution and the affine layer behind it, as one convolution that cannot be trained.

    Its weights are not part of the state: they come with the network's file.
    """

    def __init__(self, convolution: Convolution, affine: Affine) -> None:
        super().__init__()
        weight = torch.from_numpy(convolution.weight).double()
        bias = torch.from_numpy(convolution.bias).double()
        scale = torch.from_numpy(affine.scale).double()
        offset = torch.from_numpy(affine.offset).double()
        self.stride, self.padding = convolution.stride, convolution.padding
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer(
            "weight", (weight * scale[:, None, None, None]).float(), persistent=False
        )
        self.register_buffer("bias", (bias * scale + offset).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, filters, H', W')."""
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class ResidualUnit(nn.Module):
    """Two convolutions and a shortcut, which is halved where the first convolution halves."""

    def __init__(self, first: FrozenConvolution, second: FrozenConvolution, halves: bool) -> None:
        super().__init__()
        self.first, self.second, self.halves = first, second, halves

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, filters, H', W')."""
        y = self.second(functional.relu(self.first(x)))
        if self.halves:
            x = functional.avg_pool2d(x, 2)
        return functional.relu(add_padded(x, y))


def add_padded(x: Tensor, y: Tensor) -> Tensor:
    """The sum of (N, C, H, W) tensors of different sizes, each zero outside itself."""
    if x.shape == y.shape:
        return x + y
    sizes = [max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True)]

    def padded(tensor: Tensor) -> Tensor:
        missing = [s - t for s, t in zip(sizes, tensor.shape[1:], strict=True)]
        return functional.pad(tensor, (0, missing[2], 0, missing[1], 0, missing[0]))

    return padded(x) + padded(y)


class DlibResNet(nn.Module):
    """The network with the weights of a file.

    Raises:
        DlibFormatError: the file holds another network.
    """

    def __init__(self, network: DlibNetwork) -> None:
        super().__init__()
        if network.input_size != (CHIP_SIZE, CHIP_SIZE):
            raise DlibFormatError(f"input of {network.input_size} px, {CHIP_SIZE} were expected")
        layers = _Layers(network.layers)
        self.stem = layers.convolution(3, STEM_FILTERS, window=7, stride=2, padding=0)
        layers.expect(Plain.RELU)
        layers.expect_pool(Pool(True, (3, 3), (2, 2), (0, 0)))
        units = []
        channels = STEM_FILTERS
        for stage, (filters, count) in enumerate(STAGES):
            for index in range(count):
                units.append(_unit(layers, channels, filters, halves=stage > 0 and index == 0))
                channels = filters
        self.units = nn.Sequential(*units)
        layers.expect_pool(Pool(False, (0, 0), (1, 1), (0, 0)))
        self.head: Tensor
        self.mean: Tensor
        self.register_buffer("head", layers.matrix(channels, DIMENSION), persistent=False)
        layers.expect_end()
        mean = torch.tensor(network.mean_rgb)[:, None, None]
        self.register_buffer("mean", mean, persistent=False)

    @classmethod
    def from_file(cls, path: str | Path) -> DlibResNet:
        """Read a ``.dat`` file.

        Raises:
            DlibFormatError: the file is something else, or damaged.
            FileNotFoundError: no such file.
        """
        network = read_dlib_network(path)
        try:
            return cls(network)
        except DlibFormatError as error:
            raise DlibFormatError(f"{path}: {error}") from error

    def forward(self, chips: Tensor) -> Tensor:
        """Descriptors of face chips.

        Args:
            chips: (N, 3, 150, 150) float, RGB in [0, 1].

        Returns:
            (N, 128); dlib's users tell people apart by a distance of 0.6.
        """
        x = (_PIXEL_RANGE * chips - self.mean) / _INPUT_SCALE
        x = functional.max_pool2d(functional.relu(self.stem(x)), 3, 2)
        features: Tensor = self.units(x).mean((2, 3))
        return features @ self.head


class _Layers:
    """The layers of a file, compared with what they have to be."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers: Iterator[tuple[int, Layer]] = iter(enumerate(layers))

    def _next(self) -> tuple[int, Layer | None]:
        return next(self._layers, (-1, None))

    def expect(self, *expected: Plain) -> None:
        for plain in expected:
            index, found = self._next()
            if found is not plain:
                raise _unexpected(index, found, plain.value)

    def expect_pool(self, expected: Pool) -> None:
        index, found = self._next()
        if found != expected:
            raise _unexpected(index, found, str(expected))

    def convolution(
        self, channels: int, filters: int, *, window: int, stride: int, padding: int
    ) -> FrozenConvolution:
        index, found = self._next()
        shape = (filters, channels, window, window)
        if (
            not isinstance(found, Convolution)
            or found.weight.shape != shape
            or found.stride != (stride, stride)
            or found.padding != (padding, padding)
        ):
            raise _unexpected(index, found, f"convolution {shape}, stride {stride}, pad {padding}")
        index, affine = self._next()
        if not isinstance(affine, Affine) or len(affine.scale) != filters:
            raise _unexpected(index, affine, f"affine layer of {filters}")
        return FrozenConvolution(found, affine)

    def matrix(self, inputs: int, outputs: int) -> Tensor:
        index, found = self._next()
        if not isinstance(found, FullyConnected) or found.weight.shape != (inputs, outputs):
            raise _unexpected(index, found, f"matrix {inputs} x {outputs}")
        return torch.from_numpy(found.weight)

    def expect_end(self) -> None:
        index, found = self._next()
        if found is not None:
            raise _unexpected(index, found, "end")


def _unit(layers: _Layers, channels: int, filters: int, halves: bool) -> ResidualUnit:
    layers.expect(Plain.TAG)
    stride, padding = (2, 0) if halves else (1, 1)
    first = layers.convolution(channels, filters, window=3, stride=stride, padding=padding)
    layers.expect(Plain.RELU)
    second = layers.convolution(filters, filters, window=3, stride=1, padding=1)
    if halves:
        layers.expect(Plain.TAG, Plain.TAG)  # remember the result, go back to the unit's input
        layers.expect_pool(Pool(False, (2, 2), (2, 2), (0, 0)))
    layers.expect(Plain.ADD_PREVIOUS, Plain.RELU)
    return ResidualUnit(first, second, halves)


def _unexpected(index: int, found: Layer | None, expected: str) -> DlibFormatError:
    if isinstance(found, Convolution):
        name = f"convolution {found.weight.shape}, stride {found.stride}, pad {found.padding}"
    elif isinstance(found, Plain):
        name = found.value
    else:
        name = "the end" if found is None else type(found).__name__
    return DlibFormatError(f"not dlib's face recognition: layer {index} is {name}, not {expected}")
