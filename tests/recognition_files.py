"""Recognition networks of a few numbers, with the input and output of ArcFace's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_hue_recognizer(
    path: Path,
    *,
    normalizes: bool = False,
    batch: int | str = "N",
    side: int | str = 112,
    channels: int = 3,
) -> Path:
    """A network that tells people apart by the hue of the middle of their faces."""
    constants = {
        "starts": np.array([24, 24], np.int64),
        "ends": np.array([88, 88], np.int64),
        "within": np.array([2, 3], np.int64),
        "across": np.array([1], np.int64),
    }
    nodes = []
    pixels = "data"
    if normalizes:
        constants["scale"] = np.array(1 / 255, np.float32)
        nodes.append(helper.make_node("Mul", ["data", "scale"], ["scaled"]))
        pixels = "scaled"
    nodes += [
        helper.make_node("Slice", [pixels, "starts", "ends", "within"], ["middle"]),
        helper.make_node("ReduceMean", ["middle", "within"], ["color"], keepdims=0),
        helper.make_node("ReduceMean", ["color", "across"], ["gray"], keepdims=1),
        helper.make_node("Sub", ["color", "gray"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "hue",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, channels, side, side])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, channels])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
