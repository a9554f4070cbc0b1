"""dlib's published face-recognition network, read from its own file.

`dlib_face_recognition_resnet_model_v1.dat` (Davis King, CC0) scores 99.38% on Labeled Faces in
the Wild by its author.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facewright.models.recognition_torch import (
    CHIP_SIZE,
    DIMENSION,
    STAGES,
    STEM_FILTERS,
    FaceResNet,
    ResidualUnit,
)
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


class DlibResNet(FaceResNet):
    """The network with the weights of a file, as parameters.

    Raises:
        DlibFormatError: the file holds another network.
    """

    def __init__(self, network: DlibNetwork) -> None:
        if network.input_size != (CHIP_SIZE, CHIP_SIZE):
            raise DlibFormatError(f"input of {network.input_size} px, {CHIP_SIZE} were expected")
        super().__init__(network.mean_rgb)
        layers = _Layers(network.layers)
        layers.fill(self.stem, 3, STEM_FILTERS, window=7, stride=2, padding=0)
        layers.expect(Plain.RELU)
        layers.expect_pool(Pool(True, (3, 3), (2, 2), (0, 0)))
        channels = STEM_FILTERS
        units = iter(self.units)
        for filters, count in STAGES:
            for _ in range(count):
                _fill_unit(layers, next(units), channels, filters)
                channels = filters
        layers.expect_pool(Pool(False, (0, 0), (1, 1), (0, 0)))
        with torch.no_grad():
            self.head.weight.copy_(layers.matrix(channels, DIMENSION).T)
        layers.expect_end()

    @classmethod
    def from_file(cls, path: str | Path) -> DlibResNet:
        """Read a `.dat` file.

        Raises:
            DlibFormatError: the file is something else, or damaged.
            FileNotFoundError: no such file.
        """
        network = read_dlib_network(path)
        try:
            return cls(network)
        except DlibFormatError as error:
            raise DlibFormatError(f"{path}: {error}") from error


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

    def fill(
        self,
        target: nn.Module,
        channels: int,
        filters: int,
        *,
        window: int,
        stride: int,
        padding: int,
    ) -> None:
        """Copy a convolution and the affine layer behind it into one convolution."""
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
        assert isinstance(target, nn.Conv2d)
        assert target.bias is not None
        scale = affine.scale.astype(np.float64)
        weight = found.weight * scale[:, None, None, None]
        bias = found.bias * scale + affine.offset
        with torch.no_grad():
            target.weight.copy_(torch.from_numpy(weight))
            target.bias.copy_(torch.from_numpy(bias))

    def matrix(self, inputs: int, outputs: int) -> Tensor:
        index, found = self._next()
        if not isinstance(found, FullyConnected) or found.weight.shape != (inputs, outputs):
            raise _unexpected(index, found, f"matrix {inputs} x {outputs}")
        return torch.from_numpy(found.weight)

    def expect_end(self) -> None:
        index, found = self._next()
        if found is not None:
            raise _unexpected(index, found, "end")


def _fill_unit(layers: _Layers, unit: nn.Module, channels: int, filters: int) -> None:
    assert isinstance(unit, ResidualUnit)
    layers.expect(Plain.TAG)
    stride, padding = (2, 0) if unit.halves else (1, 1)
    layers.fill(unit.conv1, channels, filters, window=3, stride=stride, padding=padding)
    layers.expect(Plain.RELU)
    layers.fill(unit.conv2, filters, filters, window=3, stride=1, padding=1)
    if unit.halves:
        layers.expect(Plain.TAG, Plain.TAG)  # remember the result, go back to the unit's input
        layers.expect_pool(Pool(False, (2, 2), (2, 2), (0, 0)))
    layers.expect(Plain.ADD_PREVIOUS, Plain.RELU)


def _unexpected(index: int, found: Layer | None, expected: str) -> DlibFormatError:
    if isinstance(found, Convolution):
        name = f"convolution {found.weight.shape}, stride {found.stride}, pad {found.padding}"
    elif isinstance(found, Plain):
        name = found.value
    else:
        name = "the end" if found is None else type(found).__name__
    return DlibFormatError(f"not dlib's face recognition: layer {index} is {name}, not {expected}")
