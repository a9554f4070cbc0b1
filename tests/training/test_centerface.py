"""The preparation of the detector's graph, and the shipped result."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from models.assets import asset_path
from training.centerface import WHEEL_MEMBER_SHA256, prepare


def published_graph() -> bytes:
    """A graph with the defects of the published one: weights as inputs, fixed sizes."""
    random = np.random.default_rng(0)
    names = {"537": 1, "538": 2, "539": 2, "540": 10}
    weights = {
        f"w{n}": random.normal(size=(c, 3, 4, 4)).astype(np.float32) for n, c in names.items()
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input.1", f"w{n}"], [n], strides=[4, 4], kernel_shape=[4, 4])
            for n in names
        ],
        "centerface",
        [
            value("input.1", TensorProto.FLOAT, [10, 3, 32, 32]),
            *(value(name, TensorProto.FLOAT, w.shape) for name, w in weights.items()),
        ],
        [value(n, TensorProto.FLOAT, [10, c, 8, 8]) for n, c in names.items()],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    opset = helper.make_opsetid("", 9)
    return helper.make_model(graph, opset_imports=[opset], ir_version=4).SerializeToString()


def test_prepared_graph_takes_any_size_and_computes_the_same() -> None:
    published = published_graph()
    prepared = prepare(published, {"licence": "MIT"})
    before = ort.InferenceSession(published, providers=["CPUExecutionProvider"])
    after = ort.InferenceSession(prepared, providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(1).normal(size=(10, 3, 32, 32)).astype(np.float32)
    names = ["heatmap", "size", "offset", "landmarks"]
    for expected, found in zip(
        before.run(["537", "538", "539", "540"], {"input.1": batch}),
        after.run(names, {"photo": batch}),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [value.name for value in after.get_inputs()] == ["photo"]
    assert after.run(["heatmap"], {"photo": batch[:1, :, :, :20]})[0].shape == (1, 1, 8, 5)


def test_preparing_is_reproducible() -> None:
    published = published_graph()
    about = {"name": "centerface", "licence": "MIT"}
    assert prepare(published, about) == prepare(published, about)


def test_shipped_graph_says_where_it_comes_from() -> None:
    model = onnx.load(asset_path("centerface.onnx"))
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["licence"] == "MIT"
    assert about["source_sha256"] == WHEEL_MEMBER_SHA256
    assert "MIT License" in asset_path("centerface.LICENSE").read_text()
