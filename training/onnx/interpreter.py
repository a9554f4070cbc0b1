"""Any recognition network in ONNX form as a differentiable torch module.

A small interpreter of the operators that convolutional networks of this kind consist of. Their
definitions are ONNX's (https://onnx.ai/onnx/operators), opset 7 and later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

OLDEST_OPSET: Final = 7  # before it, broadcasting and batch normalization were defined otherwise
_INT64_LIMIT: Final = 2**62


class UnsupportedNetwork(ValueError):
    """The ONNX file cannot be interpreted here; the message names the operator or what is odd."""


class OnnxNetwork(nn.Module):
    """The graph of an ONNX file with one image as its input and one output, frozen.

    Weights are not part of the state: they come with the network's file.

    Attributes:
        input_shape: of the input, None for what the file leaves open.
        first_operators: types of the nodes that read the input.

    Raises:
        UnsupportedNetwork: an operator, or one of its attributes, is not known here.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        graph = model.graph
        opset = next((o.version for o in model.opset_import if o.domain in _ONNX_DOMAINS), 0)
        if opset < OLDEST_OPSET:
            raise UnsupportedNetwork(f"opset {opset}: {OLDEST_OPSET} or later is needed")
        self._integers: dict[str, Tensor] = {}
        self._weights: dict[str, str] = {}
        for initializer in graph.initializer:
            self._add_constant(initializer.name, initializer)
        known = {initializer.name for initializer in graph.initializer}
        inputs = [value for value in graph.input if value.name not in known]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise UnsupportedNetwork(
                f"{len(inputs)} inputs and {len(graph.output)} outputs: one of each is needed"
            )
        self._input, self._output = inputs[0].name, graph.output[0].name
        self.input_shape = tuple(
            d.dim_value if d.HasField("dim_value") else None
            for d in inputs[0].type.tensor_type.shape.dim
        )
        self.first_operators = {node.op_type for node in graph.node if self._input in node.input}
        self._steps = self._compile(graph, known | {self._input})

    @classmethod
    def from_file(cls, path: str | Path) -> OnnxNetwork:
        """Read a file.

        Raises:
            UnsupportedNetwork: it is no ONNX file, or cannot be interpreted here.
            FileNotFoundError: no such file.
        """
        try:
            return cls(onnx.load(path))
        except (DecodeError, ValueError) as error:
            raise UnsupportedNetwork(f"{path}: {error}") from error

    def forward(self, images: Tensor) -> Tensor:
        """The output for an input of the shape that the file says."""
        values: dict[str, Tensor] = {
            self._input: images,
            **self._integers,
            **{name: getattr(self, buffer) for name, buffer in self._weights.items()},
        }
        for step in self._steps:
            arguments = [values[name] if name else None for name in step.inputs]
            values[step.output] = step.compute(arguments, step.attributes)
        return values[self._output]

    def _add_constant(self, name: str, tensor: onnx.TensorProto) -> None:
        value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        if value.is_floating_point():
            # Half-precision weights are for storage: computation is in float32.
            self._weights[name] = f"weight_{len(self._weights)}"
            self.register_buffer(self._weights[name], value.float(), persistent=False)
        else:
            # Shapes and indices stay on the CPU, where their values are needed.
            self._integers[name] = value

    def _compile(self, graph: onnx.GraphProto, known: set[str]) -> list[_Step]:
        unknown = {n.op_type for n in graph.node} - set(_OPERATORS) - {"Constant"}
        unknown |= {f"{n.domain}.{n.op_type}" for n in graph.node if n.domain not in _ONNX_DOMAINS}
        if unknown:
            raise UnsupportedNetwork(f"unsupported operators: {', '.join(sorted(unknown))}")
        steps = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            missing = sorted(set(node.input) - known - {""})
            if missing:
                raise UnsupportedNetwork(f"{node.op_type} reads {missing}, which nothing makes")
            # Only the first output of a node is computed; a file that uses another is refused
            # above, where the node that reads it is reached.
            known.add(node.output[0])
            if node.op_type == "Constant":
                self._add_constant(node.output[0], _constant(attributes))
            else:
                compute = _OPERATORS[node.op_type]
                steps.append(_Step(compute, tuple(node.input), node.output[0], attributes))
        if self._output not in known:
            raise UnsupportedNetwork(f"nothing makes the output {self._output}")
        return steps


Arguments = Sequence[Tensor | None]
Attributes = Mapping[str, Any]
Operator = Callable[[Arguments, Attributes], Tensor]


@dataclass(frozen=True, eq=False)
class _Step:
    compute: Operator
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes


_ONNX_DOMAINS: Final = ("", "ai.onnx")


def _constant(attributes: Attributes) -> onnx.TensorProto:
    for name, kind in (
        ("value_float", onnx.TensorProto.FLOAT),
        ("value_floats", onnx.TensorProto.FLOAT),
        ("value_int", onnx.TensorProto.INT64),
        ("value_ints", onnx.TensorProto.INT64),
    ):
        if name in attributes:
            value = attributes[name]
            many = name.endswith("s")
            return onnx.helper.make_tensor(
                name, kind, [len(value)] if many else [], value if many else [value]
            )
    if "value" not in attributes:
        raise UnsupportedNetwork(f"Constant with {sorted(attributes)}")
    tensor: onnx.TensorProto = attributes["value"]
    return tensor


def _given(arguments: Arguments, index: int) -> Tensor | None:
    """An argument that may be left out."""
    return arguments[index] if index < len(arguments) else None


def _needed(arguments: Arguments, index: int = 0) -> Tensor:
    value = _given(arguments, index)
    if value is None:
        raise UnsupportedNetwork(f"an operator lacks its input {index}")
    return value


def _integers(arguments: Arguments, index: int, attributes: Attributes, name: str) -> list[int]:
    """What older opsets have as an attribute and newer ones as an input; [] if left out."""
    value = _given(arguments, index)
    if value is not None:
        return [int(v) for v in value.reshape(-1).tolist()]
    return [int(v) for v in attributes.get(name, ())]


def _refuse(operator: str, attributes: Attributes, **defaults: Any) -> None:
    """Refuse attributes that are given and are not what they are by default."""
    for name, default in defaults.items():
        found = attributes.get(name, default)
        if found != default:
            raise UnsupportedNetwork(f"{operator} with {name}={found!r}")


def _convolution(arguments: Arguments, attributes: Attributes) -> Tensor:
    weight = _needed(arguments, 1)
    if weight.ndim != 4:
        raise UnsupportedNetwork(f"Conv with weights of {weight.ndim} dimensions")
    x, padding = _padded("Conv", _needed(arguments), attributes, 0.0)
    return functional.conv2d(
        x,
        weight,
        _given(arguments, 2),
        attributes.get("strides", [1, 1]),
        padding,
        attributes.get("dilations", [1, 1]),
        attributes.get("group", 1),
    )


def _padded(
    operator: str, x: Tensor, attributes: Attributes, value: float
) -> tuple[Tensor, list[int]]:
    """Pad what torch cannot pad itself: before and after differently."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise UnsupportedNetwork(f"{operator} with auto_pad={attributes['auto_pad'].decode()}")
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) == (bottom, right):
        return x, [top, left]
    return functional.pad(x, (left, right, top, bottom), value=value), [0, 0]


def _max_pool(arguments: Arguments, attributes: Attributes) -> Tensor:
    _refuse("MaxPool", attributes, storage_order=0)
    x, padding = _padded("MaxPool", _needed(arguments), attributes, -torch.inf)
    return functional.max_pool2d(
        x,
        attributes["kernel_shape"],
        attributes.get("strides", [1, 1]),
        padding,
        attributes.get("dilations", [1, 1]),
        bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(arguments: Arguments, attributes: Attributes) -> Tensor:
    _refuse("AveragePool", attributes, dilations=[1, 1])
    counts_padding = bool(attributes.get("count_include_pad", 0))
    x = _needed(arguments)
    padded, padding = _padded("AveragePool", x, attributes, 0.0)
    if padded is not x and not counts_padding:
        raise UnsupportedNetwork(f"AveragePool with pads={attributes['pads']}")
    return functional.avg_pool2d(
        padded,
        attributes["kernel_shape"],
        attributes.get("strides", [1, 1]),
        padding,
        bool(attributes.get("ceil_mode", 0)),
        counts_padding,
    )


def _batch_normalization(arguments: Arguments, attributes: Attributes) -> Tensor:
    _refuse("BatchNormalization", attributes, training_mode=0, spatial=1)
    x, scale, offset, mean, variance = (_needed(arguments, k) for k in range(5))
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.batch_norm(x, mean, variance, scale, offset, training=False, eps=epsilon)


def _prelu(arguments: Arguments, attributes: Attributes) -> Tensor:
    x, slope = _needed(arguments), _needed(arguments, 1)
    return torch.where(x > 0, x, slope * x)


def _gemm(arguments: Arguments, attributes: Attributes) -> Tensor:
    a, b, c = _needed(arguments), _needed(arguments, 1), _given(arguments, 2)
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + attributes.get("beta", 1.0) * c


def _flatten(arguments: Arguments, attributes: Attributes) -> Tensor:
    x, axis = _needed(arguments), attributes.get("axis", 1)
    return x.reshape(x.shape[:axis].numel(), x.shape[axis:].numel())


def _reshape(arguments: Arguments, attributes: Attributes) -> Tensor:
    _refuse("Reshape", attributes, allowzero=0)
    x = _needed(arguments)
    shape = _integers(arguments, 1, attributes, "shape")
    return x.reshape([x.shape[k] if size == 0 else size for k, size in enumerate(shape)])


def _clip(arguments: Arguments, attributes: Attributes) -> Tensor:
    low, high = (_given(arguments, k) for k in (1, 2))
    if low is None and high is None:
        return _needed(arguments).clamp(
            attributes.get("min", -torch.inf), attributes.get("max", torch.inf)
        )
    return torch.clamp(_needed(arguments), low, high)


def _pad(arguments: Arguments, attributes: Attributes) -> Tensor:
    _refuse("Pad", attributes, mode=b"constant")
    if _given(arguments, 3) is not None:
        raise UnsupportedNetwork("Pad with axes")
    x, pads = _needed(arguments), _integers(arguments, 1, attributes, "pads")
    value = _given(arguments, 2)
    constant = float(value) if value is not None else attributes.get("value", 0.0)
    # ONNX lists all starts and then all ends; torch wants pairs, the last dimension first.
    pairs = [pads[k + offset] for k in reversed(range(x.ndim)) for offset in (0, x.ndim)]
    return functional.pad(x, pairs, value=constant)


def _squeeze(arguments: Arguments, attributes: Attributes) -> Tensor:
    x, axes = _needed(arguments), _integers(arguments, 1, attributes, "axes")
    return x.squeeze(tuple(axes)) if axes else x.squeeze()


def _unsqueeze(arguments: Arguments, attributes: Attributes) -> Tensor:
    x, axes = _needed(arguments), _integers(arguments, 1, attributes, "axes")
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _transpose(arguments: Arguments, attributes: Attributes) -> Tensor:
    x = _needed(arguments)
    return x.permute(*attributes.get("perm", range(x.ndim)[::-1]))


def _concat(arguments: Arguments, attributes: Attributes) -> Tensor:
    return torch.cat([_needed(arguments, k) for k in range(len(arguments))], attributes["axis"])


def _slice(arguments: Arguments, attributes: Attributes) -> Tensor:
    x = _needed(arguments)
    starts = _integers(arguments, 1, attributes, "starts")
    ends = _integers(arguments, 2, attributes, "ends")
    axes = _integers(arguments, 3, attributes, "axes") or list(range(len(starts)))
    steps = _integers(arguments, 4, attributes, "steps") or [1] * len(starts)
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise UnsupportedNetwork(f"Slice with step {step}")
        index[axis] = slice(start, end if end < _INT64_LIMIT else None, step)
    return x[tuple(index)]


def _gather(arguments: Arguments, attributes: Attributes) -> Tensor:
    x, index = _needed(arguments), _needed(arguments, 1)
    axis = attributes.get("axis", 0) % x.ndim
    picked = x.index_select(axis, index.reshape(-1).to(x.device) % x.shape[axis])
    return picked.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _cast(arguments: Arguments, attributes: Attributes) -> Tensor:
    x, kind = _needed(arguments), attributes["to"]
    if kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        return x if x.is_floating_point() else x.float()
    if kind in (onnx.TensorProto.INT64, onnx.TensorProto.INT32):
        return x.long()
    raise UnsupportedNetwork(f"Cast to {onnx.TensorProto.DataType.Name(kind)}")


def _reduce_mean(arguments: Arguments, attributes: Attributes) -> Tensor:
    axes, keep = _reduction("ReduceMean", arguments, attributes)
    return _needed(arguments).mean(axes, keep)


def _reduce_l2(arguments: Arguments, attributes: Attributes) -> Tensor:
    axes, keep = _reduction("ReduceL2", arguments, attributes)
    return torch.linalg.vector_norm(_needed(arguments), dim=axes, keepdim=keep)


def _reduction(
    operator: str, arguments: Arguments, attributes: Attributes
) -> tuple[list[int], bool]:
    _refuse(operator, attributes, noop_with_empty_axes=0)
    axes = _integers(arguments, 1, attributes, "axes")
    every = list(range(_needed(arguments).ndim))
    return axes or every, bool(attributes.get("keepdims", 1))


def _one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda arguments, attributes: function(_needed(arguments))


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda arguments, attributes: function(_needed(arguments), _needed(arguments, 1))


_OPERATORS: Final[Mapping[str, Operator]] = {
    "Add": _two(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _convolution,
    "Div": _two(torch.div),
    "Dropout": _one(lambda x: x),
    "Expand": lambda arguments, attributes: (
        _needed(arguments)
        * _needed(arguments).new_ones(_integers(arguments, 1, attributes, "shape"))
    ),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _one(lambda x: x.mean((2, 3), keepdim=True)),
    "Identity": _one(lambda x: x),
    "LeakyRelu": lambda arguments, attributes: functional.leaky_relu(
        _needed(arguments), attributes.get("alpha", 0.01)
    ),
    "MatMul": _two(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _two(torch.mul),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _two(torch.pow),
    "ReduceL2": _reduce_l2,
    "ReduceMean": _reduce_mean,
    "Relu": _one(functional.relu),
    "Reshape": _reshape,
    "Shape": _one(lambda x: torch.tensor(x.shape)),
    "Sigmoid": _one(torch.sigmoid),
    "Slice": _slice,
    "Sqrt": _one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _two(torch.sub),
    "Tanh": _one(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
