"""Reader of dlib's serialized networks (`.dat`), as far as its face recognition needs it.

The format is dlib's own (`serialize.h`, `dnn/core.h`, `dnn/layers.h` of dlib 19):

* an integer is a byte, whose low 4 bits count the bytes that follow and whose top bit is the
  sign, and then that many little-endian bytes; a real number is an integer mantissa and an
  integer exponent of two; a text is its length and its bytes; a truth value is `"0"` or `"1"`;
* a tensor is the integer 2, four sizes, and little-endian float32;
* a network is its loss, then one number per layer from the outermost to the innermost (2 for a
  layer, 1 for a tag, 3 for the layer next to the input), then the input, then the layers'
  contents from the innermost to the outermost, the order of computation.

A file is not trusted: every size is compared with what the file has left before anything of that
size is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import numpy as np

from facewright.models.arrays import FloatArray

MAX_FILE_BYTES: Final = 256 * 2**20
MAX_LAYERS: Final = 4096
MAX_TEXT: Final = 64
MAX_SIZE: Final = 2**31 - 1

_LAYER, _TAG, _INNERMOST_LAYER = 2, 1, 3
_CONVOLUTION_MODE = 0
_WITHOUT_BIAS = 1


class DlibFormatError(ValueError):
    """The file is no network of the kind read here, or is damaged; the message says where."""


@dataclass(frozen=True, eq=False)
class Convolution:
    """Cross-correlation with a bias.

    Attributes:
        weight: (filters, channels, rows, columns) float32.
        bias: (filters,) float32.
        stride, padding: (vertical, horizontal) px.
    """

    weight: FloatArray
    bias: FloatArray
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Affine:
    """`scale * x + offset` per channel: batch normalization after training.

    Attributes:
        scale, offset: (channels,) float32.
    """

    scale: FloatArray
    offset: FloatArray


@dataclass(frozen=True)
class Pool:
    """The largest value or the average within a window.

    Attributes:
        largest: whether it is the largest value.
        window: (rows, columns) px; (0, 0) is the whole picture.
        stride, padding: (vertical, horizontal) px.
    """

    largest: bool
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, eq=False)
class FullyConnected:
    """A matrix without bias.

    Attributes:
        weight: (inputs, outputs) float32.
    """

    weight: FloatArray


class Plain(Enum):
    """Layers without content."""

    RELU = "relu"
    ADD_PREVIOUS = "add_prev"
    """Adds what a tag remembers; whichever is smaller is padded with zeros at its far ends."""
    TAG = "tag"
    """Remembers its input, or (a skip) goes back to what a tag remembers."""


Layer = Convolution | Affine | Pool | FullyConnected | Plain


@dataclass(frozen=True, eq=False)
class DlibNetwork:
    """A network of one input and the layers in the order of computation.

    Attributes:
        mean_rgb: subtracted from the input, 0 to 255; the difference is divided by 256.
        input_size: (rows, columns) px.
        layers: the first one reads the input.
    """

    mean_rgb: tuple[float, float, float]
    input_size: tuple[int, int]
    layers: tuple[Layer, ...]


def read_dlib_network(path: str | Path) -> DlibNetwork:
    """Read a network that was trained by dlib's metric loss on RGB pictures of one size.

    Raises:
        DlibFormatError: the file is something else, or damaged.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DlibFormatError(f"{path}: {size} bytes are more than the {MAX_FILE_BYTES} allowed")
    stream = _Stream(path.read_bytes(), str(path))
    network = _network(stream)
    stream.expect_end()
    return network


class _Stream:
    """The values of a file, one after the other."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._at = 0

    def error(self, problem: str) -> DlibFormatError:
        return DlibFormatError(f"{self._name}: {problem} (before byte {self._at})")

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise self.error(f"the file ends {count - len(self._data) + self._at} bytes too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def integer(self) -> int:
        control = self._take(1)[0]
        length = control & 0x0F
        if not 1 <= length <= 8 or control & 0x70:
            raise self.error(f"no integer starts with byte {control:#04x}")
        value = int.from_bytes(self._take(length), "little")
        return -value if control & 0x80 else value

    def size(self, least: int = 0) -> int:
        value = self.integer()
        if not least <= value <= MAX_SIZE:
            raise self.error(f"{value} is no size")
        return value

    def pair(self, least: int = 0) -> tuple[int, int]:
        return self.size(least), self.size(least)

    def real(self) -> float:
        mantissa, exponent = self.integer(), self.integer()
        # dlib writes infinities and not-a-number as exponents from 32000.
        if abs(exponent) > 1100:
            raise self.error("a number is not finite")
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError:
            raise self.error("a number is not finite") from None

    def reals(self, count: int) -> None:
        for _ in range(count):
            self.real()

    def text(self) -> str:
        length = self.size()
        if length > MAX_TEXT:
            raise self.error(f"a text of {length} bytes where a short name was expected")
        return self._take(length).decode("latin-1")

    def expect_text(self, expected: str) -> None:
        found = self.text()
        if found != expected:
            raise self.error(f"{expected!r} was expected, found {found!r}")

    def expect_integer(self, expected: int, what: str) -> None:
        found = self.integer()
        if found != expected:
            raise self.error(f"{what} {expected} was expected, found {found}")

    def flags(self, count: int) -> None:
        found = self._take(count)
        if not set(found) <= set(b"01"):
            raise self.error(f"truth values were expected, found {found!r}")

    def tensor(self) -> FloatArray:
        """Any tensor, flat."""
        self.expect_integer(2, "tensor version")
        count = math.prod(self.size() for _ in range(4))
        # _take compares the count with what is left before anything of that size is made.
        values = np.frombuffer(self._take(4 * count), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise self.error("a tensor has values that are not finite")
        return values

    def alias(self) -> tuple[int, int, int, int]:
        """The sizes of a part of a tensor."""
        self.expect_integer(1, "version of a tensor's part")
        return self.size(), self.size(), self.size(), self.size()

    def expect_end(self) -> None:
        if self._at != len(self._data):
            raise self.error(f"{len(self._data) - self._at} bytes follow the network")


def _network(stream: _Stream) -> DlibNetwork:
    stream.expect_integer(1, "version of the loss")
    stream.expect_text("loss_metric_2")
    stream.reals(2)  # margin and threshold, of interest to training only
    kinds = _kinds(stream)
    stream.expect_text("input_rgb_image_sized")
    mean_rgb = (stream.real(), stream.real(), stream.real())
    input_size = stream.pair(1)
    layers: list[Layer] = []
    for kind in reversed(kinds):
        if kind == _TAG:
            layers.append(Plain.TAG)
            continue
        layers.append(_layer(stream))
        _skip_state(stream)
        if kind == _INNERMOST_LAYER:
            stream.expect_integer(1, "number of samples made of a picture")
    return DlibNetwork(mean_rgb, input_size, tuple(layers))


def _kinds(stream: _Stream) -> list[int]:
    kinds: list[int] = []
    while not kinds or kinds[-1] != _INNERMOST_LAYER:
        kind = stream.integer()
        if kind not in (_LAYER, _TAG, _INNERMOST_LAYER):
            raise stream.error(f"unknown version {kind} of a layer")
        if len(kinds) == MAX_LAYERS:
            raise stream.error(f"more than {MAX_LAYERS} layers")
        kinds.append(kind)
    return kinds


def _skip_state(stream: _Stream) -> None:
    """Skip what training left behind: three flags; two gradients and the last output."""
    stream.flags(3)
    for _ in range(3):
        stream.tensor()


def _layer(stream: _Stream) -> Layer:
    name = stream.text()
    if name not in _LAYERS:
        raise stream.error(f"unknown layer {name!r}")
    return _LAYERS[name](stream)


def _convolution(stream: _Stream) -> Convolution:
    values = stream.tensor()
    filters = stream.size(1)
    window, stride, padding = stream.pair(1), stream.pair(1), stream.pair()
    shape = stream.alias()
    bias = stream.alias()
    stream.reals(4)  # learning rates and weight decays
    count = math.prod(shape)
    if (
        shape != (filters, shape[1], *window)
        or bias != (1, filters, 1, 1)
        or values.size != count + filters
    ):
        raise stream.error(f"the parts of a convolution do not fit each other: {shape}, {bias}")
    return Convolution(values[:count].reshape(shape), values[count:], stride, padding)


def _affine(stream: _Stream) -> Affine:
    values = stream.tensor()
    scale, offset = stream.alias(), stream.alias()
    stream.expect_integer(_CONVOLUTION_MODE, "mode of an affine layer")
    channels = scale[1]
    if scale != (1, channels, 1, 1) or offset != scale or values.size != 2 * channels:
        raise stream.error(f"the parts of an affine layer do not fit each other: {scale}, {offset}")
    return Affine(values[:channels], values[channels:])


def _fully_connected(stream: _Stream) -> FullyConnected:
    outputs, inputs = stream.pair(1)
    values = stream.tensor()
    weight, bias = stream.alias(), stream.alias()
    stream.expect_integer(_WITHOUT_BIAS, "bias mode of a fully connected layer")
    stream.reals(4)  # learning rates and weight decays
    if weight != (inputs, outputs, 1, 1) or any(bias) or values.size != inputs * outputs:
        raise stream.error(f"the parts of a fully connected layer do not fit: {weight}, {bias}")
    return FullyConnected(values.reshape(inputs, outputs))


def _pool(stream: _Stream, largest: bool) -> Pool:
    window, stride, padding = stream.pair(), stream.pair(1), stream.pair()
    return Pool(largest, window, stride, padding)


_LAYERS: Final[Mapping[str, Callable[[_Stream], Layer]]] = {
    "con_4": _convolution,
    "affine_": _affine,
    "fc_2": _fully_connected,
    "max_pool_2": lambda stream: _pool(stream, True),
    "avg_pool_2": lambda stream: _pool(stream, False),
    "relu_": lambda stream: Plain.RELU,
    "add_prev_": lambda stream: Plain.ADD_PREVIOUS,
}
