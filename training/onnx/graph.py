"""R-Net and C-Net as one ONNX graph for serving.

The graph is written node by node from the trained modules, which keeps it as small as the
networks are (batch normalization folded into the convolutions in double precision, nothing else
left to simplify) and its bytes the same for the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from facewright.models.camera import CROP_SIZE
from facewright.models.cnet_torch import N_CONFIDENCES, CNet
from facewright.models.recognition_torch import DIMENSION
from facewright.models.resnet_torch import Bottleneck, ResNet50
from facewright.models.rnet_torch import RNet
from facewright.training.onnx.branch import add_branch
from facewright.training.onnx.builder import GraphBuilder, Precision

OPSET = 17
IR_VERSION = 8  # the oldest that has opset 17, so that older runtimes read it too
BATCH = "N"


def build_onnx(
    rnet: RNet, cnet: CNet | None, precision: Precision, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Graph `crops -> coefficients, confidences[, descriptors]` of the networks in eval mode.

    Input `crops` is (N, 3, 224, 224) float32, RGB in [0, 1], which the graph itself shrinks to
    the size that R-Net was trained on; outputs are `coefficients`
    (N, layout.size), `confidences` (N, 80) and, of a network with an identity branch,
    `descriptors` (N, 128), float32. All arithmetic is in float32: the precision concerns only
    how weights are stored. Biases are stored in float32. Without a C-Net every confidence is 1.

    Raises:
        UnstorableWeights: see there.
    """
    builder = GraphBuilder(precision)
    images = "crops" if rnet.input_size == CROP_SIZE else builder.shrink("crops", rnet.input_size)
    stage1, stage4 = _resnet(builder, images, rnet.backbone)
    features = builder.node("Flatten", [builder.node("GlobalAveragePool", [stage4])], axis=1)
    if rnet.branch is None:
        builder.linear("coefficients", features, rnet.fc, output="coefficients")
    else:
        add_branch(builder, "crops", builder.linear("coefficients", features, rnet.fc), rnet)

    if cnet is None:
        _certainty(builder, features)
    else:
        _confidences(builder, stage1, features, cnet)

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    outputs = [
        value("coefficients", BATCH, rnet.layout.size),
        value("confidences", BATCH, N_CONFIDENCES),
    ]
    if rnet.branch is not None:
        outputs.append(value("descriptors", BATCH, DIMENSION))
    graph = helper.make_graph(
        builder.nodes,
        "facewright",
        [value("crops", BATCH, 3, CROP_SIZE, CROP_SIZE)],
        outputs,
        builder.initializers,
    )
    return finished_model(graph, metadata)


def finished_model(graph: onnx.GraphProto, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The checked model of a graph, as this project writes them."""
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


def _confidences(builder: GraphBuilder, stage1: str, features: str, cnet: CNet) -> None:
    """Add C-Net."""
    x = stage1
    for name in ("conv1", "conv2", "conv3"):
        x = builder.relu(builder.conv(f"cnet.{name}", x, getattr(cnet, name)))
    pooled = builder.node("Flatten", [builder.node("GlobalAveragePool", [x])], axis=1)
    joined = builder.node("Concat", [pooled, features], axis=1)
    hidden = builder.relu(builder.linear("cnet.fc1", joined, cnet.fc1))
    logits = builder.linear("cnet.fc2", hidden, cnet.fc2)
    builder.node("Sigmoid", [logits], output="confidences")


def _certainty(builder: GraphBuilder, features: str) -> None:
    """Add confidences that are 1 for every image."""
    ones = builder.constant("confidences.ones", np.ones((1, N_CONFIDENCES), np.float32))
    images = builder.node("Shape", [features], start=0, end=1)
    width = builder.integers("confidences.width", [N_CONFIDENCES])
    shape = builder.node("Concat", [images, width], axis=0)
    builder.node("Expand", [ones, shape], output="confidences")


def _resnet(builder: GraphBuilder, images: str, net: ResNet50) -> tuple[str, str]:
    """Add the ResNet; names of the outputs of its first and last stage."""
    x = builder.relu(builder.conv("conv1", images, net.conv1, net.bn1))
    x = builder.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    outputs = []
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for index, unit in enumerate(getattr(net, stage)):
            x = _bottleneck(builder, f"{stage}.{index}", x, unit)
        outputs.append(x)
    return outputs[0], outputs[-1]


def _bottleneck(builder: GraphBuilder, name: str, x: str, unit: Bottleneck) -> str:
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
