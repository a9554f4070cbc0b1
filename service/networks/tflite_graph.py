"""From a TensorFlow Lite network to an ONNX graph, so that one runtime serves all networks.

TFLite keeps channels last, ONNX Runtime's convolutions want them second: images are in that
order within the graph, and brought back where a list of numbers is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from facewright.service.networks.tflite import Network, Operator, Table

_OPSET = 13
_VALID = 1
"""TFLite's code of a convolution that does not look beyond the border."""
_NCHW = (0, 3, 1, 2)
_RELU = 1

Array = npt.NDArray[Any]


def to_onnx(
    network: Network, outputs: Sequence[str], scale: float, shift: float, *, any_size: bool
) -> bytes:
    """The network as an ONNX file for N images.

    Its input `photo` is (N, 3, H, W) float32, from which the network gets `scale` times the
    value plus `shift`.  With `any_size` H and W are free: a network without a layer for the whole
    image takes other sizes than it was made for, in multiples of its largest stride.  Known sizes
    let ONNX Runtime join more of its steps.  The outputs are those of the TFLite file by new
    names: lists (N, ...) of numbers, flat where they are images of one pixel.  Raises ValueError
    for what is not known here.
    """
    graph = _Graph(network)
    (photo,) = network.inputs
    graph.add("Mul", ["photo", graph.constant(np.float32(scale))], "scaled")
    graph.add("Add", ["scaled", graph.constant(np.float32(shift))], graph.name(photo))
    for operator in network.operators:
        convert = _CONVERTERS.get(operator.kind)
        if convert is None:
            raise ValueError(f"no conversion of {operator.kind}")
        convert(graph, operator)
    values = []
    for place, name in zip(network.outputs, outputs, strict=True):
        shape = graph.shape(place)
        if len(shape) == 4:
            if shape[1:3] != (1, 1):
                raise ValueError("no conversion of images as outputs")
            shape = shape[0], shape[3]
            graph.add("Flatten", [graph.name(place)], name)
        else:
            graph.add("Identity", [graph.name(place)], name)
        sides: list[str | int | None] = (
            ["N", shape[1]] if len(shape) == 2 else ["N", f"{name}_rows", shape[2]]
        )
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sides))
    size = ("H", "W") if any_size else graph.shape(photo)[1:3]
    taken = helper.make_tensor_value_info("photo", TensorProto.FLOAT, ["N", 3, *size])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "network", [taken], values, graph.initializers),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=8,
    )
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """The nodes and constants of a graph that is being made."""

    def __init__(self, network: Network) -> None:
        self.tensors = network.tensors
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._known = {
            place: tensor.constant
            for place, tensor in enumerate(network.tensors)
            if tensor.constant is not None
        }

    def name(self, place: int) -> str:
        """Of the tensor that a step computes."""
        return f"t{place}"

    def shape(self, place: int) -> tuple[int, ...]:
        """As TFLite has it, with the channels last."""
        return self.tensors[place].shape

    def known(self, place: int) -> Array:
        """The values of a constant; ValueError when the tensor is none."""
        if place not in self._known:
            raise ValueError(f"{self.tensors[place].name} is not constant")
        return self._known[place]

    def learn(self, place: int, values: Array) -> None:
        """A tensor's values can be told beforehand."""
        self._known[place] = values

    def constant(self, values: Array | np.float32) -> str:
        """A new constant of the graph, by its name."""
        name = f"c{len(self.initializers)}"
        array = np.ascontiguousarray(values).reshape(np.shape(values))
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def floats(self, place: int) -> Array:
        return self.known(place).astype(np.float32)

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        """Append a node."""
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def activate(self, code: int, output: str) -> str:
        """Put the activation of a step between the name that is returned and `output`."""
        if code not in (0, _RELU):
            raise ValueError(f"no conversion of activation {code}")
        return f"{output}_linear" if code == _RELU else output

    def activated(self, code: int, output: str) -> None:
        if code == _RELU:
            self.add("Relu", [f"{output}_linear"], output)


def _options(operator: Operator) -> Table:
    if operator.options is None:
        raise ValueError(f"{operator.kind} without options")
    return operator.options


def _dequantize(graph: _Graph, operator: Operator) -> None:
    graph.learn(operator.outputs[0], graph.floats(operator.inputs[0]))


def _padding(
    code: int, sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> list[int]:
    """ONNX's pads: those before each side, then those behind."""
    if code == _VALID:
        return [0, 0, 0, 0]
    needed = [
        max((-(-side // stride) - 1) * stride + size - side, 0)
        for side, size, stride in zip(sides, kernel, strides, strict=True)
    ]
    return [n // 2 for n in needed] + [n - n // 2 for n in needed]


def _convolution(graph: _Graph, operator: Operator) -> None:
    depthwise = operator.kind == "DEPTHWISE_CONV_2D"
    options = _options(operator)
    photo, weights, *bias = operator.inputs
    padding, strides = options.integer(0, "b"), (options.integer(2), options.integer(1))
    code = options.integer(4 if depthwise else 3, "b")
    if any(options.integer(field, default=1) != 1 for field in ((5, 6) if depthwise else (4, 5))):
        raise ValueError("no conversion of dilated convolutions")
    kernel = graph.floats(weights)
    sides, size = graph.shape(photo)[1:3], kernel.shape[1:3]
    output = graph.name(operator.outputs[0])
    graph.add(
        "Conv",
        [
            graph.name(photo),
            graph.constant(kernel.transpose((3, 0, 1, 2) if depthwise else _NCHW)),
            *[graph.constant(graph.floats(place)) for place in bias if place >= 0],
        ],
        graph.activate(code, output),
        kernel_shape=size,
        strides=strides,
        pads=_padding(padding, sides, size, strides),
        group=graph.shape(photo)[3] if depthwise else 1,
    )
    graph.activated(code, output)


def _pool(graph: _Graph, operator: Operator) -> None:
    options = _options(operator)
    photo, output = operator.inputs[0], operator.outputs[0]
    strides, size = (
        (options.integer(2), options.integer(1)),
        (options.integer(4), options.integer(3)),
    )
    pads = _padding(options.integer(0, "b"), graph.shape(photo)[1:3], size, strides)
    graph.add(
        "MaxPool",
        [graph.name(photo)],
        graph.name(output),
        kernel_shape=size,
        strides=strides,
        pads=pads,
    )


def _relu(graph: _Graph, operator: Operator) -> None:
    graph.add("Relu", [graph.name(operator.inputs[0])], graph.name(operator.outputs[0]))


def _prelu(graph: _Graph, operator: Operator) -> None:
    photo, slopes = operator.inputs
    (height, width, _) = (values := graph.floats(slopes)).shape[-3:]
    if (height, width) != (1, 1):
        raise ValueError("no conversion of slopes that differ by place")
    # a x + (1 - a) max(x, 0), as convolutions of one pixel: ONNX Runtime's own PRelu takes ten
    # times as long, and takes images out of the blocks of channels of its convolutions.
    slope = values.reshape(-1, 1, 1, 1)
    name, output = graph.name(photo), graph.name(operator.outputs[0])
    parts = {name: (f"{output}_all", slope), f"{output}_positive": (f"{output}_more", 1 - slope)}
    graph.add("Relu", [name], f"{output}_positive")
    for source, (part, weights) in parts.items():
        inputs = [source, graph.constant(weights)]
        graph.add("Conv", inputs, part, kernel_shape=(1, 1), group=len(slope))
    graph.add("Add", [part for part, _ in parts.values()], output)


def _sum(graph: _Graph, operator: Operator) -> None:
    code = _options(operator).integer(0, "b")
    output = graph.name(operator.outputs[0])
    graph.add("Add", [graph.name(p) for p in operator.inputs], graph.activate(code, output))
    graph.activated(code, output)


def _pad(graph: _Graph, operator: Operator) -> None:
    photo, widths = operator.inputs
    pads = graph.known(widths).astype(np.int64)[list(_NCHW)].T.ravel()
    graph.add("Pad", [graph.name(photo), graph.constant(pads)], graph.name(operator.outputs[0]))


def _enlarge(graph: _Graph, operator: Operator) -> None:
    options = _options(operator)
    small, large = operator.inputs[0], operator.outputs[0]
    if options.integer(2, "b"):
        raise ValueError("no conversion of a resizing with aligned corners")
    (_, height, width, _), (_, new_height, new_width, _) = graph.shape(small), graph.shape(large)
    scales = np.array([1, 1, new_height / height, new_width / width], np.float32)
    graph.add(
        "Resize",
        [graph.name(small), "", graph.constant(scales)],
        graph.name(large),
        mode="linear",
        coordinate_transformation_mode="half_pixel" if options.integer(3, "b") else "asymmetric",
    )


def _reshape(graph: _Graph, operator: Operator) -> None:
    source, target = operator.inputs[0], operator.outputs[0]
    name = graph.name(source)
    if len(graph.shape(source)) == 4:
        graph.add("Transpose", [name], f"{name}_last", perm=(0, 2, 3, 1))
        name = f"{name}_last"
    shape = graph.shape(target)
    if len(shape) != 3:
        raise ValueError("no conversion but to lists of rows")
    # The number of images (0: as it is) and their size (-1) stay free.
    graph.add("Reshape", [name, graph.constant(np.array([0, -1, shape[-1]]))], graph.name(target))


def _concatenation(graph: _Graph, operator: Operator) -> None:
    output = operator.outputs[0]
    axis = _options(operator).integer(0) % len(graph.shape(output))
    if len(graph.shape(output)) == 4:
        axis = _NCHW.index(axis)
    graph.add("Concat", [graph.name(p) for p in operator.inputs], graph.name(output), axis=axis)


_CONVERTERS: dict[str, Callable[[_Graph, Operator], None]] = {
    "ADD": _sum,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "DEQUANTIZE": _dequantize,
    "MAX_POOL_2D": _pool,
    "PAD": _pad,
    "PRELU": _prelu,
    "RELU": _relu,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _enlarge,
}
