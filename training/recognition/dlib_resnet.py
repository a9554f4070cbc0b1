"""dlib's published face-recognition network, read from its own file.

`dlib_face_recognition_resnet_model_v1.dat` (Davis King, CC0) scores 99.38% on Labeled Faces in
the Wild by its author. The format is dlib's own (`serialize.h`, `dnn/core.h`, `dnn/layers.h` of
dlib 19):

* an integer is a byte, whose low 4 bits count the bytes that follow and whose top bit is the
  sign, and then that many little-endian bytes; a real number is an integer mantissa and an
  integer exponent of two; a text is its length and its bytes; a truth value is `"0"` or `"1"`;
* a tensor is the integer 2, four sizes, and little-endian float32;
* a network is its loss, then one number per layer from the outermost to the innermost (2 for a
  layer, 1 for a tag, 3 for the layer next to the input), then the input, then the layers'
  contents from the innermost to the outermost, the order of computation. Tags have none.

A file is not trusted: whatever is not that of this network is refused where it stands, and every
size is compared with what the file has left before anything of that size is made.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from facewright.models.arrays import FloatArray
from facewright.models.recognition_torch import CHIP_SIZE, FaceResNet, ResidualUnit

MAX_FILE_BYTES: Final = 256 * 2**20

_LAYER, _TAG, _INNERMOST_LAYER = 2, 1, 3
_LEARNING = 4
"""Learning rates and weight decays behind a layer's sizes, of interest to training only."""


class DlibFormatError(ValueError):
    """The file is not dlib's face recognition, or is damaged; the message says where."""


def read_dlib_resnet(path: str | Path) -> FaceResNet:
    """The network of a `.dat` file; affine layers are multiplied into the convolutions.

    Raises:
        DlibFormatError: the file is something else, or damaged.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DlibFormatError(f"{path}: {size} bytes are more than the {MAX_FILE_BYTES} allowed")
    with torch.no_grad():
        return _network(_Stream(path.read_bytes(), str(path)))


def _network(stream: _Stream) -> FaceResNet:
    stream.expect("version of the loss", 1)
    stream.expect_text("loss_metric_2")
    stream.skip_reals(2)  # margin and threshold, of interest to training only
    net = FaceResNet()
    kinds = [_INNERMOST_LAYER, _LAYER, _LAYER, _LAYER]
    for unit in net.units:
        assert isinstance(unit, ResidualUnit)
        # A halving unit remembers its result and goes back to its input for the average.
        halving = [_TAG, _TAG, _LAYER] if unit.halves else []
        kinds += [_TAG, *[_LAYER] * 5, *halving, _LAYER, _LAYER]
    stream.expect("layers", *reversed([*kinds, _LAYER, _LAYER]))
    stream.expect_text("input_rgb_image_sized")
    net.mean.copy_(torch.tensor([stream.real() for _ in range(3)])[:, None, None])
    stream.expect("size of the input", CHIP_SIZE, CHIP_SIZE)

    stream.convolution(net.stem, innermost=True)
    stream.plain("relu_")
    stream.plain("max_pool_2", 3, 3, 2, 2, 0, 0)
    for unit in net.units:
        assert isinstance(unit, ResidualUnit)
        stream.convolution(unit.conv1)
        stream.plain("relu_")
        stream.convolution(unit.conv2)
        if unit.halves:
            stream.plain("avg_pool_2", 2, 2, 2, 2, 0, 0)
        stream.plain("add_prev_")
        stream.plain("relu_")
    stream.plain("avg_pool_2", 0, 0, 1, 1, 0, 0)  # of the whole picture
    stream.matrix(net.head)
    stream.expect_end()
    return net


class _Stream:
    """The values of a file, one after the other, compared with what they have to be."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._at = 0

    def error(self, problem: str) -> DlibFormatError:
        where = f"before byte {self._at}"
        return DlibFormatError(f"{self._name}: not dlib's face recognition: {problem} ({where})")

    def _take(self, count: int) -> bytes:
        missing = count - len(self._data) + self._at
        if missing > 0:
            raise self.error(f"the file ends {missing} bytes too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def integer(self) -> int:
        control = self._take(1)[0]
        length = control & 0x0F
        if not 1 <= length <= 8 or control & 0x70:
            raise self.error(f"no integer starts with byte {control:#04x}")
        value = int.from_bytes(self._take(length), "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        mantissa, exponent = self.integer(), self.integer()
        # dlib writes infinities and not-a-number as exponents from 32000.
        if abs(exponent) > 900:
            raise self.error("a number is not finite")
        return math.ldexp(mantissa, exponent)

    def skip_reals(self, count: int) -> None:
        for _ in range(count):
            self.real()

    def expect(self, what: str, *expected: int) -> None:
        for number in expected:
            found = self.integer()
            if found != number:
                raise self.error(f"{what}: {number} was expected, found {found}")

    def expect_text(self, expected: str) -> None:
        if self.integer() != len(expected) or self._take(len(expected)) != expected.encode():
            raise self.error(f"{expected!r} was expected")

    def tensor(self, expected: int | None = None) -> FloatArray:
        """A tensor of so many numbers, or of any number, flat."""
        self.expect("version of a tensor", 2)
        sizes = [self.integer() for _ in range(4)]
        count = math.prod(sizes)
        if min(sizes) < 0 or count != (count if expected is None else expected):
            raise self.error(f"a tensor of {sizes}, {expected} numbers were expected")
        # _take compares the count with what is left before anything of that size is made.
        values = np.frombuffer(self._take(4 * count), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise self.error("a tensor has values that are not finite")
        return values

    def _skip_state(self) -> None:
        """Skip what training left behind: three flags; two gradients and the last output."""
        if not set(self._take(3)) <= set(b"01"):
            raise self.error("truth values were expected")
        for _ in range(3):
            self.tensor()

    def plain(self, name: str, *numbers: int) -> None:
        """A layer that learns nothing; of a pool: its window, stride and padding."""
        self.expect_text(name)
        self.expect(name, *numbers)
        self._skip_state()

    def convolution(self, target: nn.Conv2d, innermost: bool = False) -> None:
        """A convolution and the affine layer behind it, copied into one convolution."""
        filters, channels, *window = target.weight.shape
        assert target.bias is not None
        self.expect_text("con_4")
        values = self.tensor(target.weight.numel() + filters)
        stride, padding = target.stride, (int(p) for p in target.padding)
        self.expect("convolution", filters, *window, *stride, *padding)
        self.expect("parts of a convolution", 1, filters, channels, *window, 1, 1, filters, 1, 1)
        self.skip_reals(_LEARNING)
        self._skip_state()
        if innermost:
            self.expect("number of samples made of a picture", 1)
        self.expect_text("affine_")
        scale, offset = self.tensor(2 * filters).astype(np.float64).reshape(2, -1)
        self.expect("parts of an affine layer", *(1, 1, filters, 1, 1) * 2)
        self.expect("mode of an affine layer", 0)
        self._skip_state()
        weight = values[:-filters].reshape(target.weight.shape) * scale[:, None, None, None]
        target.weight.copy_(torch.from_numpy(weight))
        target.bias.copy_(torch.from_numpy(values[-filters:] * scale + offset))

    def matrix(self, target: nn.Linear) -> None:
        """A fully connected layer without bias."""
        outputs, inputs = target.weight.shape
        self.expect_text("fc_2")
        self.expect("matrix", outputs, inputs)
        values = self.tensor(inputs * outputs)
        self.expect("parts of a matrix", 1, inputs, outputs, 1, 1, 1, 0, 0, 0, 0)
        self.expect("bias mode of a matrix", 1)  # without
        self.skip_reals(_LEARNING)
        self._skip_state()
        target.weight.copy_(torch.from_numpy(values.reshape(inputs, outputs).T))

    def expect_end(self) -> None:
        if self._at != len(self._data):
            raise self.error(f"{len(self._data) - self._at} bytes follow the network")
