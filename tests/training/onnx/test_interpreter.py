from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from facewright.training.onnx.interpreter import OnnxNetwork, UnsupportedNetwork

Node = tuple[str, list[str], str, dict[str, Any]]


def build(
    nodes: list[Node],
    constants: dict[str, np.ndarray],
    shape: list[Any],
    opset: int = 17,
) -> onnx.ModelProto:
    """A graph from ``x`` to the output of its last node."""
    graph = helper.make_graph(
        [helper.make_node(op, i, [o], **attributes) for op, i, o, attributes in nodes],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def by_runtime(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


rng = np.random.default_rng(0)


def f32(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def cnn(shape: list[Any], half: bool = False) -> onnx.ModelProto:
    """The kinds of nodes of a converted ArcFace network, in small."""
    weights = {
        "w1": f32(6, 3, 3, 3) / 4, "slope": f32(6, 1, 1), "w2": f32(6, 1, 3, 3) / 2, "b2": f32(6),
        "scale": f32(6), "offset": f32(6), "mean": f32(6), "variance": np.abs(f32(6)) + 0.5,
        "wf": f32(5, 54) / 6, "bf": f32(5),
    }  # fmt: skip
    nodes: list[Node] = [
        ("Conv", ["x", "w1"], "c1", {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("PRelu", ["c1", "slope"], "p1", {}),
        ("Conv", ["p1", "w2", "b2"], "c2", {"group": 6, "pads": [1, 1, 1, 1]}),
        ("BatchNormalization", ["c2", "scale", "offset", "mean", "variance"], "n2", {}),
        ("Add", ["n2", "p1"], "a2", {}),
        ("Relu", ["a2"], "r2", {}),
        ("MaxPool", ["r2"], "m2", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Dropout", ["m2"], "d2", {}),
        ("Flatten", ["d2"], "f2", {}),
        ("Gemm", ["f2", "wf", "bf"], "y", {"transB": 1}),
    ]
    if half:
        weights["w1"] = weights["w1"].astype(np.float16)
        nodes.insert(0, ("Cast", ["w1"], "w1f", {"to": TensorProto.FLOAT}))
        nodes[1] = ("Conv", ["x", "w1f"], *nodes[1][2:])
    return build(nodes, weights, shape)


@pytest.mark.parametrize("half", [False, True])
def test_network_equals_onnx_runtime(half: bool, tmp_path: Path) -> None:
    model = cnn(["n", 3, 12, 12], half)
    path = tmp_path / "network.onnx"
    onnx.save(model, path)
    network = OnnxNetwork.from_file(path)
    assert network.input_shape == (None, 3, 12, 12)
    x = f32(4, 3, 12, 12)
    found = network(torch.from_numpy(x))
    np.testing.assert_allclose(found, by_runtime(model, x), rtol=1e-4, atol=1e-5)


def test_gradient_and_frozen_weights() -> None:
    network = OnnxNetwork(cnn(["n", 3, 12, 12])).double()
    assert not list(network.parameters())
    assert not network.state_dict()
    x = torch.from_numpy(f32(1, 3, 12, 12)).double().requires_grad_()
    assert torch.autograd.gradcheck(network, x)


IMAGE = [2, 3, 7, 6]
CASES: dict[str, tuple[list[Node], dict[str, np.ndarray], list[int], int]] = {
    "conv, padded unevenly": (
        [("Conv", ["x", "w"], "y", {"pads": [0, 1, 2, 0], "dilations": [2, 1]})],
        {"w": f32(4, 3, 3, 3)}, IMAGE, 17,
    ),
    "max pool, padded unevenly": (
        [("MaxPool", ["x"], "y",
          {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]})],
        {}, IMAGE, 17,
    ),
    "max pool, rounded up": (
        [("MaxPool", ["x"], "y", {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1})],
        {}, IMAGE, 17,
    ),
    "average pool": (
        [("AveragePool", ["x"], "y", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})],
        {}, IMAGE, 17,
    ),
    "average pool with padding": (
        [("AveragePool", ["x"], "y",
          {"kernel_shape": [2, 3], "pads": [1, 0, 0, 1], "count_include_pad": 1})],
        {}, IMAGE, 17,
    ),
    "global average, squeezed": (
        [("GlobalAveragePool", ["x"], "g", {}), ("Squeeze", ["g", "axes"], "y", {})],
        {"axes": i64(2, -1)}, IMAGE, 17,
    ),
    "old squeeze and unsqueeze": (
        [("GlobalAveragePool", ["x"], "g", {}), ("Squeeze", ["g"], "s", {"axes": [2, 3]}),
         ("Unsqueeze", ["s"], "y", {"axes": [0, 3]})],
        {}, IMAGE, 11,
    ),
    "unsqueeze": ([("Unsqueeze", ["x", "axes"], "y", {})], {"axes": i64(-1, 0)}, IMAGE, 17),
    "batch normalization of vectors": (
        [("BatchNormalization", ["x", "a", "b", "c", "d"], "y", {"epsilon": 2e-2})],
        {"a": f32(4), "b": f32(4), "c": f32(4), "d": np.abs(f32(4))}, [3, 4], 9,
    ),
    "gemm": (
        [("Gemm", ["x", "b", "c"], "y", {"alpha": 0.5, "beta": 2.0, "transA": 1})],
        {"b": f32(3, 5), "c": f32(5)}, [3, 4], 17,
    ),
    "matmul": ([("MatMul", ["x", "b"], "y", {})], {"b": f32(4, 5)}, [3, 4], 17),
    "reshape": ([("Reshape", ["x", "s"], "y", {})], {"s": i64(0, -1, 2)}, IMAGE, 17),
    "flatten all": ([("Flatten", ["x"], "y", {"axis": 0})], {}, IMAGE, 17),
    "shape of a dynamic reshape": (
        [("Shape", ["x"], "s", {}), ("Gather", ["s", "zero"], "n", {"axis": 0}),
         ("Unsqueeze", ["n", "axes"], "n1", {}), ("Concat", ["n1", "rest"], "t", {"axis": 0}),
         ("Cast", ["t"], "t64", {"to": TensorProto.INT64}), ("Reshape", ["x", "t64"], "y", {})],
        {"zero": np.array(0), "axes": i64(0), "rest": i64(-1)}, IMAGE, 17,
    ),
    "gather from the end": ([("Gather", ["x", "i"], "y", {"axis": -2})], {"i": i64(0)}, IMAGE, 17),
    "gather": ([("Gather", ["x", "i"], "y", {"axis": 2})], {"i": i64(4, -1)}, IMAGE, 17),
    "slice": (
        [("Slice", ["x", "s", "e", "a", "t"], "y", {})],
        {"s": i64(1, -4), "e": i64(2**63 - 1, -1), "a": i64(2, 3), "t": i64(2, 1)}, IMAGE, 17,
    ),
    "concat": ([("Concat", ["x", "c"], "y", {"axis": 1})], {"c": f32(2, 1, 7, 6)}, IMAGE, 17),
    "transpose": ([("Transpose", ["x"], "y", {"perm": [0, 2, 3, 1]})], {}, IMAGE, 17),
    "transpose all": ([("Transpose", ["x"], "y", {})], {}, IMAGE, 17),
    "pad": (
        [("Pad", ["x", "p", "v"], "y", {})],
        {"p": i64(0, 1, 2, 0, 0, 0, -1, 3), "v": np.float32(0.7)}, IMAGE, 17,
    ),
    "old pad": (
        [("Pad", ["x"], "y", {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": -1.0})], {}, IMAGE, 9,
    ),
    "clip from below": ([("Clip", ["x", "low"], "y", {})], {"low": np.float32(0)}, IMAGE, 17),
    "clip": (
        [("Clip", ["x", "low", "high"], "y", {})],
        {"low": np.float32(-0.5), "high": np.float32(0.5)}, IMAGE, 17,
    ),
    "old clip": ([("Clip", ["x"], "y", {"min": 0.0, "max": 1.0})], {}, IMAGE, 9),
    "constants": (
        [("Constant", [], "c", {"value_float": 127.5}), ("Sub", ["x", "c"], "s", {}),
         ("Constant", [], "d", {"value": numpy_helper.from_array(np.float32(3))}),
         ("Mul", ["s", "d"], "m", {}), ("Div", ["m", "d"], "y", {})],
        {}, IMAGE, 17,
    ),
    "activations": (
        [("Sigmoid", ["x"], "a", {}), ("Tanh", ["x"], "b", {}), ("Mul", ["a", "b"], "c", {}),
         ("LeakyRelu", ["c"], "d", {"alpha": 0.2}), ("Identity", ["d"], "y", {})],
        {}, IMAGE, 17,
    ),
    "unit length": (
        [("ReduceL2", ["x"], "n", {"axes": [1]}), ("Clip", ["n", "low"], "c", {}),
         ("Shape", ["x"], "s", {}), ("Expand", ["c", "s"], "e", {}), ("Div", ["x", "e"], "y", {})],
        {"low": np.float32(1e-12)}, [3, 4], 17,
    ),
    "standard deviation": (
        [("ReduceMean", ["x"], "m", {"axes": [1], "keepdims": 1}), ("Sub", ["x", "m"], "d", {}),
         ("Pow", ["d", "two"], "p", {}), ("ReduceMean", ["p"], "v", {"keepdims": 0}),
         ("Sqrt", ["v"], "y", {})],
        {"two": np.float32(2)}, [3, 4], 17,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_operators_equal_onnx_runtime(name: str) -> None:
    nodes, constants, shape, opset = CASES[name]
    model = build(nodes, constants, shape, opset)
    x = f32(*shape)
    expected = by_runtime(model, x)
    tensor = torch.from_numpy(x).requires_grad_()
    found = OnnxNetwork(model)(tensor)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-5, atol=1e-5)
    # Not the sum of squares: that of a unit vector is 1 wherever it points, its gradient is 0.
    (found * torch.linspace(0.5, 1.5, found.numel()).reshape(found.shape)).sum().backward()
    assert tensor.grad is not None
    assert tensor.grad.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("nodes", "opset", "problem"),
    [
        ([("Erf", ["x"], "a", {}), ("Einsum", ["a"], "y", {"equation": "i"})], 17, "Einsum, Erf"),
        ([("Relu", ["x"], "y", {"domain": "com.example"})], 17, "com.example.Relu"),
        ([("Relu", ["absent"], "y", {})], 17, "reads .'absent'"),
        ([("Relu", ["x"], "y", {})], 6, "opset 6"),
    ],
)
def test_what_cannot_be_interpreted_is_named(nodes: list[Node], opset: int, problem: str) -> None:
    with pytest.raises(UnsupportedNetwork, match=problem):
        OnnxNetwork(build(nodes, {}, IMAGE, opset))


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (("Conv", ["x", "w"], "y", {"auto_pad": "SAME_UPPER"}), "Conv with auto_pad=SAME_UPPER"),
        (("Pad", ["x", "p"], "y", {"mode": "reflect"}), "Pad with mode"),
        (("Cast", ["x"], "y", {"to": TensorProto.BOOL}), "Cast to BOOL"),
    ],
)
def test_attributes_that_cannot_be_interpreted_are_named(node: Node, problem: str) -> None:
    network = OnnxNetwork(build([node], {"w": f32(2, 3, 3, 3), "p": i64(*[0] * 8)}, IMAGE))
    with pytest.raises(UnsupportedNetwork, match=problem):
        network(torch.zeros(IMAGE))


def test_one_input_and_one_output_are_needed() -> None:
    model = build([("Relu", ["x"], "y", {})], {}, IMAGE)
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE))
    with pytest.raises(UnsupportedNetwork, match="1 inputs and 2 outputs"):
        OnnxNetwork(model)


def test_a_file_that_is_no_onnx(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_bytes(b"no network at all")
    with pytest.raises(UnsupportedNetwork, match="text.onnx"):
        OnnxNetwork.from_file(path)
    with pytest.raises(FileNotFoundError):
        OnnxNetwork.from_file(tmp_path / "absent.onnx")
