"""The segmentation network as an ONNX file, with its record and model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from facewright.models.arrays import FloatArray
from facewright.models.segmentation import CLASSES, INPUT, OUTPUT, SEGMENTATION_SIDE
from facewright.models.segmentation_torch import FOLD, ConvNorm, ResidualUnit, SegmentationNet
from facewright.training.onnx.builder import GraphBuilder, Precision, double, folded
from facewright.training.onnx.graph import BATCH, finished_model, serialize
from facewright.training.onnx.importing import (
    ImportRefused,
    set_values,
    spread_normalizations,
    stored_weights,
)

NAME = "facewright-segmentation"
MAX_BYTES = 1_000_000
MAX_DIFFERENCE = 1e-4  # of a probability, graph against torch
MAX_DRIFT = 0.01  # of a probability on average, by how weights are stored


def build_segmentation(
    net: SegmentationNet, precision: Precision, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Graph `crops -> shares` of a network in eval mode; see `models.segmentation`."""
    builder = GraphBuilder(precision)
    two = builder.initializer("two", np.array([2], np.float32))
    one = builder.initializer("one", np.array([1], np.float32))
    x = builder.node("Sub", [builder.node("Mul", [INPUT, two]), one])
    levels = []
    for level, (down, units) in enumerate(zip(net.down, net.units, strict=True)):
        if level == 0:
            x = builder.relu(_unfolded(builder, x, net))
        else:
            x = builder.relu(_conv(builder, f"down.{level}", x, down))
        for index, unit in enumerate(units.children()):
            assert isinstance(unit, ResidualUnit)
            name = f"units.{level}.{index}"
            y = builder.relu(_conv(builder, f"{name}.first", x, unit.first))
            y = _conv(builder, f"{name}.second", y, unit.second)
            x = builder.relu(builder.node("Add", [y, x]))
        levels.append(x)
    scales = builder.initializer("scales", np.array([1, 1, 2, 2], np.float32))
    for level in reversed(range(len(net.up))):
        x = _conv(builder, f"lateral.{level}", x, net.lateral[level])
        x = builder.node(
            "Resize", [x, "", scales], mode="nearest", nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )  # fmt: skip
        x = builder.relu(builder.node("Add", [levels[level], x]))
        x = builder.relu(_conv(builder, f"up.{level}", x, net.up[level]))
    logits = builder.node(
        "DepthToSpace", [builder.conv("head", x, net.head)], blocksize=FOLD, mode="CRD"
    )
    builder.node("Softmax", [logits], output=OUTPUT, axis=1)

    def value(name: str, channels: int) -> onnx.ValueInfoProto:
        shape = (BATCH, channels, SEGMENTATION_SIDE, SEGMENTATION_SIDE)
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        builder.nodes, "facewright", [value(INPUT, 3)], [value(OUTPUT, len(CLASSES))],
        builder.initializers,
    )  # fmt: skip
    return finished_model(graph, metadata)


def import_segmentation(path: Path, crops_nchw: Tensor) -> SegmentationNet:
    """The network of an exported file, in eval mode, to be trained further.

    Args:
        path: written by `export_segmentation`.
        crops_nchw: (N, 3, 128, 128) in [0, 1], whose activations set the statistics of the batch
            normalizations, as in `importing.import_onnx`.

    Raises:
        ImportRefused: not such a file.
    """
    weights = stored_weights(onnx.load(path))
    net = SegmentationNet().eval()
    parts = {name: part for name, part in net.named_modules() if isinstance(part, ConvNorm)}
    try:
        for name, part in parts.items():
            weight = weights[f"{name}.weight"]
            if name == "down.0":
                weight = _folded_pixels(weight)
            set_values(part.conv.weight, weight)
            set_values(part.norm.bias, weights[f"{name}.bias"])
            part.norm.running_var.fill_(1 - part.norm.eps)  # type: ignore[union-attr]
        set_values(net.head.weight, weights["head.weight"])
        set_values(net.head.bias, weights["head.bias"])
    except (KeyError, ValueError) as error:
        raise ImportRefused(f"{path}: a weight is missing or misshapen: {error}") from error
    spread_normalizations(net, [(part.conv, part.norm) for part in parts.values()], crops_nchw)
    return net


def _folded_pixels(weight: FloatArray) -> FloatArray:
    """Undo `_unfolded`: weights (O, I, 6, 6) over pixels to (O, 4 I, 3, 3) over places."""
    outputs, inputs, height, width = weight.shape
    places = weight.reshape(outputs, inputs, height // FOLD, FOLD, width // FOLD, FOLD)
    return places.transpose(0, 1, 3, 5, 2, 4).reshape(
        outputs, inputs * FOLD**2, height // FOLD, width // FOLD
    )


def _conv(builder: GraphBuilder, name: str, x: str, part: nn.Module) -> str:
    assert isinstance(part, ConvNorm)
    return builder.conv(name, x, part.conv, part.norm)


def _unfolded(builder: GraphBuilder, x: str, net: SegmentationNet) -> str:
    """The first convolution over pixels: 3 × 3 places of 2 × 2 pixels are 6 × 6 pixels."""
    first = net.down[0]
    assert isinstance(first, ConvNorm)
    weight, bias = folded(first.conv, first.norm)
    outputs, inputs, height, width = weight.shape
    places = weight.reshape(outputs, inputs // FOLD**2, FOLD, FOLD, height, width)
    pixels = places.transpose(0, 1, 4, 2, 5, 3).reshape(
        outputs, inputs // FOLD**2, FOLD * height, FOLD * width
    )
    stored = builder.weight("down.0.weight", pixels)
    return builder.node(
        "Conv", [x, stored, builder.initializer("down.0.bias", bias)],
        kernel_shape=[FOLD * height, FOLD * width], strides=[FOLD] * 2, pads=[FOLD] * 4,
    )  # fmt: skip


def export_segmentation(
    net: SegmentationNet,
    output: Path,
    *,
    version: str,
    crops_nchw: FloatArray,
    facts: Mapping[str, Any],
    story: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the file, checked, with its record (`.json`) and model card (`.md`) beside it.

    Args:
        net: in eval mode.
        output: path of the ONNX file.
        version: of the weights.
        crops_nchw: (N, 3, 128, 128) in [0, 1], which it is checked with.
        facts: what else the record says: `training`, and `figures` with the classes'
            `intersection_over_union` on so many `portraits`.
        story: what only people know: texts `data` and `procedure`, lists of sentences `photographs`
            and `limits`.

    Raises:
        ValueError: the file is too large or does not give what the network gives.
    """
    metadata = {"name": NAME, "version": version, "licence": "MIT"}
    stored = serialize(build_segmentation(net, "int8", metadata))
    if len(stored) > MAX_BYTES:
        raise ValueError(f"the file has {len(stored)} bytes, more than {MAX_BYTES}")
    with torch.inference_mode():
        expected = net(torch.from_numpy(crops_nchw)).softmax(1).numpy()
    exact = _run(serialize(build_segmentation(net, "float32", metadata)), crops_nchw)
    difference = float(np.abs(exact - expected).max())
    drift = float(np.abs(_run(stored, crops_nchw) - expected).mean())
    if not (difference <= MAX_DIFFERENCE and drift <= MAX_DRIFT):
        raise ValueError(
            f"ONNX Runtime differs from torch by {difference:.1e}, the stored weights by"
            f" {drift:.4f} on average; allowed are {MAX_DIFFERENCE:g} and {MAX_DRIFT:g}"
        )
    record = {
        "name": NAME,
        "version": version,
        "file": output.name,
        "license": "MIT",
        "sha256": hashlib.sha256(stored).hexdigest(),
        "size_bytes": len(stored),
        "classes": list(CLASSES),
        "parameters": sum(double(p).size for p in net.parameters()),
        "export_check": {"graph_difference": difference, "stored_drift": drift},
        **facts,
        **story,
    }
    output.write_bytes(stored)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    output.with_suffix(".json").write_text(text)
    output.with_suffix(".md").write_text(_card(record))
    return record


def _card(record: Mapping[str, Any]) -> str:
    """The model card: the record's facts for people."""
    side, figures, training = SEGMENTATION_SIDE, record["figures"], record["training"]
    rows = [f"| {name} | {iou:.3f} |" for name, iou in figures["intersection_over_union"].items()]
    parts = [
        f"# Model card: {record['name']} {record['version']}",
        f"A U-Net that tells {', '.join(record['classes'])} apart in the crop of a face"
        f" (`models/segmentation.py`), `{record['file']}`. License: {record['license']}.",
        "|  |  |\n| --- | --- |\n"
        f"| Input `{INPUT}` | (N, 3, {side}, {side}) float32, RGB in [0, 1] |\n"
        f"| Output `{OUTPUT}` | (N, {len(CLASSES)}, {side}, {side}) float32, probabilities |\n"
        f"| Parameters | {record['parameters'] / 1e6:.2f} million |\n"
        f"| File | {record['size_bytes'] / 1e6:.2f} MB, sha256 `{record['sha256']}` |",
        "## Training data",
        record["data"],
        "## Procedure",
        f"{record['procedure']} {training['steps']:,} steps over {training['images']:,} pictures.",
        "## Figures",
        f"{figures['portraits']} held-out portraits of the generator, all pixels:",
        "\n".join(["| class | intersection over union |", "| --- | --- |", *rows]),
        "## Photographs",
        "\n".join(f"- {line}" for line in record["photographs"]),
        "## Limits",
        "\n".join(f"- {line}" for line in record["limits"]),
    ]
    return "\n\n".join(parts) + "\n"


def _run(file: bytes, crops_nchw: FloatArray) -> FloatArray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return np.concatenate(
        [session.run([OUTPUT], {INPUT: crops_nchw[k : k + 1]})[0] for k in range(len(crops_nchw))]
    )
