"""R-Net and C-Net as one ONNX graph for serving.

The graph is written node by node from the trained modules, which keeps it as small as the
networks are (batch normalisation folded into the convolutions in double precision, nothing else
left to simplify) and its bytes the same for the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from facewright.models.camera import CROP_SIZE
from facewright.models.cnet_torch import N_CONFIDENCES, CNet
from facewright.models.resampling import area_weights
from facewright.models.resnet_torch import Bottleneck, ResNet50
from facewright.models.rnet_torch import RNet

Precision = Literal["float16", "float32"]

OPSET = 17
IR_VERSION = 8  # the oldest that has opset 17, so that older runtimes read it too
BATCH = "N"
SHRINK_ROWS = "shrink.rows"

FloatArray = npt.NDArray[np.floating]


class UnstorableWeights(ValueError):
    """A weight is not finite, or too large for the precision it should be stored in."""


def build_onnx(
    rnet: RNet, cnet: CNet, precision: Precision, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Graph ``crops -> coefficients, confidences`` of the networks in eval mode.

    Input ``crops`` is (N, 3, 224, 224) float32, RGB in [0, 1], which the graph itself shrinks to
    the size that R-Net was trained on; outputs are ``coefficients``
    (N, layout.size) and ``confidences`` (N, 80), float32. All arithmetic is in float32:
    ``"float16"`` concerns only how weights are stored, each followed by a Cast to float32 that
    ONNX Runtime evaluates once when it loads the file. Biases are stored in float32.

    Raises:
        UnstorableWeights: see there.
    """
    builder = _Builder(precision)
    images = "crops" if rnet.input_size == CROP_SIZE else builder.shrink("crops", rnet.input_size)
    stage1, stage4 = _resnet(builder, images, rnet.backbone)
    features = builder.node("Flatten", [builder.node("GlobalAveragePool", [stage4])], axis=1)
    builder.linear("coefficients", features, rnet.fc, output="coefficients")

    x = stage1
    for name in ("conv1", "conv2", "conv3"):
        x = builder.relu(builder.conv(f"cnet.{name}", x, getattr(cnet, name)))
    pooled = builder.node("Flatten", [builder.node("GlobalAveragePool", [x])], axis=1)
    joined = builder.node("Concat", [pooled, features], axis=1)
    hidden = builder.relu(builder.linear("cnet.fc1", joined, cnet.fc1))
    logits = builder.linear("cnet.fc2", hidden, cnet.fc2)
    builder.node("Sigmoid", [logits], output="confidences")

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        builder.nodes,
        "facewright",
        [value("crops", BATCH, 3, CROP_SIZE, CROP_SIZE)],
        [
            value("coefficients", BATCH, rnet.layout.size),
            value("confidences", BATCH, N_CONFIDENCES),
        ],
        builder.initializers,
    )
    model = helper.make_model(
        graph,
        producer_name="facewright",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


def serialize(model: onnx.ModelProto) -> bytes:
    """Bytes of a model file, the same for the same model."""
    return model.SerializeToString(deterministic=True)


def _resnet(builder: _Builder, images: str, net: ResNet50) -> tuple[str, str]:
    """Add the ResNet; names of the outputs of its first and last stage."""
    x = builder.relu(builder.conv("conv1", images, net.conv1, net.bn1))
    x = builder.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    outputs = []
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for index, unit in enumerate(getattr(net, stage)):
            x = _bottleneck(builder, f"{stage}.{index}", x, unit)
        outputs.append(x)
    return outputs[0], outputs[-1]


def _bottleneck(builder: _Builder, name: str, x: str, unit: Bottleneck) -> str:
    y = builder.relu(builder.conv(f"{name}.conv1", x, unit.conv1, unit.bn1))
    y = builder.relu(builder.conv(f"{name}.conv2", y, unit.conv2, unit.bn2))
    y = builder.conv(f"{name}.conv3", y, unit.conv3, unit.bn3)
    if unit.downsample is not None:
        conv, norm = unit.downsample
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        x = builder.conv(f"{name}.downsample", x, conv, norm)
    elif unit.stride > 1:
        x = builder.node("MaxPool", [x], kernel_shape=[1, 1], strides=[unit.stride] * 2)
    return builder.relu(builder.node("Add", [y, x]))


class _Builder:
    """Collects nodes and initializers; every method returns the name of what it computes."""

    def __init__(self, precision: Precision) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._precision = precision

    def node(self, op: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        output = output or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def relu(self, x: str) -> str:
        return self.node("Relu", [x])

    def conv(self, name: str, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> str:
        weight, bias = _folded(conv, norm)
        vertical, horizontal = (int(p) for p in conv.padding)
        return self.node(
            "Conv",
            [x, self._weight(f"{name}.weight", weight), self._initializer(f"{name}.bias", bias)],
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[vertical, horizontal] * 2,
        )

    def shrink(self, x: str, side: int) -> str:
        """Average the crops' pixels by area, see :meth:`models.rnet_torch.RNet.shrink`."""
        weights = area_weights(CROP_SIZE, side)
        rows = self._initializer(SHRINK_ROWS, weights)
        columns = self._initializer("shrink.columns", weights.T)
        return self.node("MatMul", [self.node("MatMul", [rows, x]), columns])

    def linear(self, name: str, x: str, linear: nn.Linear, *, output: str = "") -> str:
        weight = self._weight(f"{name}.weight", _double(linear.weight))
        bias = self._initializer(f"{name}.bias", _double(linear.bias).astype(np.float32))
        return self.node("Gemm", [x, weight, bias], output=output, transB=1)

    def _weight(self, name: str, values: FloatArray) -> str:
        with np.errstate(over="ignore"):
            stored = values.astype(self._precision)
        if not np.isfinite(stored).all():
            raise UnstorableWeights(f"{name} does not fit {self._precision}")
        self._initializer(name, stored)
        if stored.dtype == np.float32:
            return name
        return self.node("Cast", [name], output=f"{name}.float32", to=TensorProto.FLOAT)

    def _initializer(self, name: str, values: FloatArray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def _folded(
    conv: nn.Conv2d, norm: nn.BatchNorm2d | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Weight and bias of a convolution with the batch normalisation behind it multiplied in."""
    weight = _double(conv.weight)
    bias = np.zeros(len(weight)) if conv.bias is None else _double(conv.bias)
    if norm is not None:
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = _double(norm.weight) / np.sqrt(_double(norm.running_var) + norm.eps)
        bias = _double(norm.bias) + (bias - _double(norm.running_mean)) * scale
        weight = weight * scale[:, None, None, None]
    return weight, bias.astype(np.float32)


def _double(tensor: Tensor) -> npt.NDArray[np.float64]:
    return tensor.detach().cpu().double().numpy()
