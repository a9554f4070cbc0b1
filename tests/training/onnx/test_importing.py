from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from facewright.models.checkpoints_torch import load_checkpoint
from facewright.models.layout import LAYOUT_239
from facewright.training.cli import app
from facewright.training.data.shards import LABEL_SHAPES, ShardMeta, ShardWriter
from facewright.training.onnx.graph import build_onnx, serialize
from facewright.training.onnx.importing import ImportRefused, import_onnx
from tests.training.onnx.networks import blocks, networks

pytestmark = pytest.mark.slow

SIZE = 64


def exported(path: Path, input_size: int = SIZE, trained_cnet: bool = True) -> Path:
    metadata = {"layout": LAYOUT_239.name, "variant": "paper", "face_model": "ab" * 32}
    rnet, cnet = networks(input_size, trained_cnet)
    path.write_bytes(serialize(build_onnx(rnet, cnet, "float32", metadata)))
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("onnx") / "rnet.onnx")


def test_computes_what_the_file_computes(file: Path) -> None:
    rnet, cnet, info = import_onnx(file, blocks(8, seed=2))
    assert (info.input_size, info.variant, info.face_model_sha256) == (SIZE, "paper", "ab" * 32)
    assert cnet is not None
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    unseen = blocks(3, seed=3)
    expected = session.run(["coefficients", "confidences"], {"crops": unseen.numpy()})
    with torch.no_grad():
        coefficients = rnet(unseen).numpy()
        confidences = cnet(*rnet.features(rnet.shrink(unseen))).numpy()
    assert expected[0].std(0).max() > 1e-3
    np.testing.assert_allclose(coefficients, expected[0], atol=2e-4)
    np.testing.assert_allclose(confidences, expected[1], atol=2e-4)


def test_training_starts_where_the_file_is(file: Path) -> None:
    """The normalizations' statistics are those of the crops: batch statistics change nothing."""
    seen = blocks(8, seed=2)
    rnet, _, _ = import_onnx(file, seen)
    with torch.no_grad():
        expected = rnet(seen)
        actual = rnet.train()(seen)
    # By batches, variances are of a sample instead of the population; hence not closer.
    torch.testing.assert_close(actual, expected, atol=1e-3, rtol=1e-3)


def test_what_is_recorded_of_the_training_is_kept(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "rnet.onnx"
    path.write_bytes(file.read_bytes())
    record = {"training": {"steps": 7, "images": 99, "config": {"seed": 1}, "cnet_trained": True}}
    path.with_suffix(".json").write_text(json.dumps(record))
    _, _, info = import_onnx(path, blocks(2, seed=2))
    assert (info.steps, info.images, info.config) == (7, 99, {"seed": 1})
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(ImportRefused, match="no record"):
        import_onnx(path, blocks(2, seed=2))


def test_another_size_and_an_untrained_cnet(tmp_path: Path) -> None:
    path = exported(tmp_path / "rnet.onnx", trained_cnet=False)
    rnet, cnet, info = import_onnx(path, blocks(4, seed=2), size=96)
    assert rnet.input_size == info.input_size == 96
    assert cnet is None


def test_command_writes_a_checkpoint(file: Path, tmp_path: Path) -> None:
    meta = ShardMeta("portraits", 0, "test", face_model_sha256="ab" * 32)
    labels = {name: np.zeros(shape) for name, shape in LABEL_SHAPES.items()}
    with ShardWriter(tmp_path / "data", 0, capacity=4, meta=meta) as writer:
        for seed in range(4):
            pixels = np.random.default_rng(seed).integers(0, 256, (240, 240, 3), np.uint8)
            writer.add(pixels, np.zeros((240, 240), np.uint8), **labels)
    out = tmp_path / "rnet.pt"
    arguments = ["import", str(file), "-o", str(out), "--crops", str(tmp_path / "data")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rnet, cnet, info = load_checkpoint(out)
    assert rnet.input_size == info.input_size == SIZE
    assert cnet is not None


def test_refuses_other_files(file: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        import_onnx(tmp_path / "absent.onnx", blocks(1, seed=0))
    (tmp_path / "noise.onnx").write_bytes(b"noise" * 40)
    with pytest.raises(ImportRefused, match="noise"):
        import_onnx(tmp_path / "noise.onnx", blocks(1, seed=0))
    model = onnx.load(file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(ImportRefused, match="not an export"):
        import_onnx(tmp_path / "foreign.onnx", blocks(1, seed=0))
    model = onnx.load(file)
    model.graph.initializer.remove(
        next(entry for entry in model.graph.initializer if entry.name == "layer2.1.conv2.weight")
    )
    onnx.save(model, tmp_path / "partial.onnx")
    with pytest.raises(ImportRefused, match=r"layer2\.1\.conv2"):
        import_onnx(tmp_path / "partial.onnx", blocks(1, seed=0))
