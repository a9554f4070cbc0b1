"""Building an ONNX graph node by node, with its weights stored small.

All arithmetic is in float32: how weights are stored concerns the file alone. ONNX Runtime makes
float32 of them once, when it loads the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from facewright.models.camera import CROP_SIZE
from facewright.models.resampling import area_weights

Precision = Literal["int8", "float16", "float32"]

SHRINK_ROWS = "shrink.rows"
SCALE = ".scale"
"""What the name of a weight's scales ends with when it is stored in 8 bits."""
SMALL = 50_000
"""Weights of fewer numbers stay in 16 bits: the first layers, whose errors go through all others,
and the identity branch's head, whose inputs are of different units.

With version 2 they are 2% of the file, and vertices move by 0.032 instead of 0.080 mm.
"""

FloatArray = npt.NDArray[np.floating]


class UnstorableWeights(ValueError):
    """A weight is not finite, or too large for the precision it should be stored in."""


class GraphBuilder:
    """Collects nodes and initializers; every method returns the name of what it computes."""

    def __init__(self, precision: Precision) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._precision = precision
        self._constants: set[str] = set()

    def node(self, op: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        """Add an operator of one output."""
        output = output or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def split(self, x: str, parts: int, axis: int) -> list[str]:
        """Equal parts of a tensor along an axis."""
        outputs = [f"Split_{len(self.nodes)}_{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [x], outputs, name=outputs[0], axis=axis))
        return outputs

    def columns(self, x: str, part: slice) -> str:
        """Some columns of a matrix."""
        bounds = [self.integers(f"columns.{part.start}", [part.start]),
                  self.integers(f"columns.{part.stop}", [part.stop]),
                  self.integers("columns.axis", [1])]  # fmt: skip
        return self.node("Slice", [x, *bounds])

    def integers(self, name: str, values: Sequence[int]) -> str:
        """A constant of int64."""
        return self.constant(name, np.array(values, np.int64))

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """An initializer that may be asked for again by its name."""
        if name not in self._constants:
            self._constants.add(name)
            self.initializer(name, values)
        return name

    def relu(self, x: str) -> str:
        """Add a rectifier."""
        return self.node("Relu", [x])

    def conv(self, name: str, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> str:
        """Add a convolution and, folded into it, the batch normalization behind it."""
        weight, bias = folded(conv, norm)
        vertical, horizontal = (int(p) for p in conv.padding)
        return self.node(
            "Conv",
            [x, self.weight(f"{name}.weight", weight), self.initializer(f"{name}.bias", bias)],
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[vertical, horizontal] * 2,
        )

    def shrink(self, x: str, side: int) -> str:
        """Average the crops' pixels by area, see `models.rnet_torch.RNet.shrink`."""
        weights = area_weights(CROP_SIZE, side)
        rows = self.initializer(SHRINK_ROWS, weights)
        columns = self.initializer("shrink.columns", weights.T)
        return self.node("MatMul", [self.node("MatMul", [rows, x]), columns])

    def linear(self, name: str, x: str, linear: nn.Linear, *, output: str = "") -> str:
        """Add a fully connected layer."""
        weight = self.weight(f"{name}.weight", double(linear.weight))
        inputs = [x, weight]
        if linear.bias is not None:
            inputs.append(self.initializer(f"{name}.bias", single(linear.bias)))
        return self.node("Gemm", inputs, output=output, transB=1)

    def weight(self, name: str, values: FloatArray) -> str:
        """A weight as the file stores it, and what makes float32 of it."""
        if self._precision == "int8" and values.size >= SMALL:
            return self._eight_bits(name, values)
        precision = "float16" if self._precision == "int8" else self._precision
        with np.errstate(over="ignore"):
            stored = values.astype(precision)
        if not np.isfinite(stored).all():
            raise UnstorableWeights(f"{name} does not fit {precision}")
        self.initializer(name, stored)
        if stored.dtype == np.float32:
            return name
        return self.node("Cast", [name], output=f"{name}.float32", to=TensorProto.FLOAT)

    def _eight_bits(self, name: str, values: FloatArray) -> str:
        # Not DequantizeLinear: ONNX Runtime would keep it for integer arithmetic and compute it
        # again in every run.
        rounded, scale = eight_bits(values)
        if not np.isfinite(scale).all():
            raise UnstorableWeights(f"{name} does not fit int8")
        self.initializer(name, rounded)
        self.initializer(f"{name}{SCALE}", scale)
        cast = self.node("Cast", [name], output=f"{name}.cast", to=TensorProto.FLOAT)
        return self.node("Mul", [cast, f"{name}{SCALE}"], output=f"{name}.float32")

    def initializer(self, name: str, values: npt.NDArray[Any]) -> str:
        """Add a constant, stored as it is."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def eight_bits(values: FloatArray) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Integers of -127 to 127 and their scale per output channel, the first axis.

    Returns:
        The integers in the shape of the values, and scales (O, 1, …) to multiply them with.
    """
    largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    with np.errstate(over="ignore"):
        scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.rint(values / scale).clip(-127, 127).astype(np.int8), scale


def folded(
    conv: nn.Conv2d, norm: nn.BatchNorm2d | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Weight and bias of a convolution with the batch normalization behind it multiplied in."""
    weight = double(conv.weight)
    bias = np.zeros(len(weight)) if conv.bias is None else double(conv.bias)
    if norm is not None:
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = double(norm.weight) / np.sqrt(double(norm.running_var) + norm.eps)
        bias = double(norm.bias) + (bias - double(norm.running_mean)) * scale
        weight = weight * scale[:, None, None, None]
    return weight, bias.astype(np.float32)


def double(tensor: Tensor) -> npt.NDArray[np.float64]:
    """A tensor's values in double precision."""
    return tensor.detach().cpu().double().numpy()


def single(tensor: Tensor) -> npt.NDArray[np.float32]:
    """The same values, rounded."""
    return double(tensor).astype(np.float32)
