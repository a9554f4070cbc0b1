from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

from facewright.models.assets import sha256
from facewright.models.checkpoints_torch import CheckpointInfo, load_checkpoint, save_checkpoint
from facewright.models.cnet_torch import CNet
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import RNet
from facewright.training.commands.export import export
from facewright.training.data.shards import LABEL_SHAPES, ShardMeta, ShardWriter
from facewright.training.onnx import export as export_module
from facewright.training.onnx.builder import SMALL, UnstorableWeights, eight_bits
from facewright.training.onnx.export import ExportError, export_checkpoint
from facewright.training.onnx.graph import build_onnx, serialize
from facewright.training.onnx.model_card import read_figures, render_model_card
from tests.face_models import face_model as make_face_model
from tests.training.onnx.networks import blocks, networks

pytestmark = pytest.mark.slow

FIGURES: dict[str, Any] = {
    "data": "Portraits that nobody sat for.",
    "procedure": "AdamW, coarse to fine.",
    "baseline": "mean face",
    "figures": [
        {
            "measured_on": "held-out portraits",
            "measure": "vertex error",
            "unit": "mm",
            "value": 1.5,
            "baseline": 2.25,
        },
        {
            "measured_on": "held-out portraits",
            "measure": "AUC | identity",
            "unit": "",
            "value": 0.8125,
            "baseline": None,
        },
    ],
    "commands": ["facewright-train evaluate runs/last.pt"],
    "limits": ["Beards are missed.", "Children were not in the data."],
}


def small_face_model(mm_per_sigma: float = 0.1) -> MorphableModel:
    """A face model of 60 vertices around a fan of triangles."""
    rng = np.random.default_rng(0)
    n = 60
    corner = np.arange(1, n - 1, dtype=np.int32)
    return make_face_model(
        rng.normal(0, 50, (n, 3)),
        np.stack([np.zeros_like(corner), corner, corner + 1], axis=1),
        np.arange(68) % n,
        identity=rng.normal(0, mm_per_sigma, (80, n, 3)),
        expression=rng.normal(0, mm_per_sigma, (64, n, 3)),
        albedo=rng.normal(0, 0.01, (80, n, 3)),
        uv=rng.random((n, 2)),
        metadata={"name": "fan", "version": "3"},
    )


def info(face_model: Path) -> CheckpointInfo:
    return CheckpointInfo("239", "paper", sha256(face_model), 1234, 56789, {"lr": 1e-4})


@dataclass(frozen=True)
class Run:
    checkpoint: Path
    face_model: Path
    crops: Path
    figures: Path
    output: Path
    record: dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One whole export through the command line."""
    directory = tmp_path_factory.mktemp("export")
    face_model = directory / "face_model.npz"
    small_face_model().save(face_model)
    checkpoint = directory / "last.pt"
    save_checkpoint(checkpoint, *networks(), info(face_model))
    figures = directory / "figures.json"
    figures.write_text(json.dumps(FIGURES))
    meta = ShardMeta("portraits", 0, "test", face_model_sha256=sha256(face_model))
    labels = {name: np.zeros(shape) for name, shape in LABEL_SHAPES.items()}
    with ShardWriter(directory / "crops", 0, capacity=3, meta=meta) as writer:
        for crop in (blocks(3, 15, seed=1) * 255).byte().permute(0, 2, 3, 1).numpy():
            writer.add(crop, np.zeros(crop.shape[:2], np.uint8), **labels)
    output = directory / "out" / "rnet_v1.onnx"
    result = call(
        checkpoint, output, crops=directory / "crops", figures=figures, face_model=face_model
    )
    assert result.exit_code == 0, result.output
    assert "checked with 3 crops of the data directory 'crops'" in result.output
    record = json.loads(output.with_suffix(".json").read_text())
    return Run(checkpoint, face_model, directory / "crops", figures, output, record)


def call(checkpoint: Path, output: Path, **options: object) -> Any:
    app = typer.Typer()
    app.command()(export)
    arguments = [str(checkpoint), "-o", str(output)]
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    return CliRunner().invoke(app, arguments)


def operators(model: onnx.ModelProto) -> dict[str, int]:
    names = [node.op_type for node in model.graph.node]
    return {name: names.count(name) for name in sorted(set(names))}


def test_interface_and_metadata(run: Run) -> None:
    session = onnxruntime.InferenceSession(run.output, providers=["CPUExecutionProvider"])
    (crops,) = session.get_inputs()
    assert (crops.name, crops.type, crops.shape) == ("crops", "tensor(float)", ["N", 3, 224, 224])
    outputs = [(o.name, o.type, o.shape) for o in session.get_outputs()]
    assert outputs == [
        ("coefficients", "tensor(float)", ["N", 239]),
        ("confidences", "tensor(float)", ["N", 80]),
    ]
    assert session.get_modelmeta().custom_metadata_map == {
        "name": "facewright-rnet",
        "version": "0",
        "licence": "MIT",
        "layout": "239",
        "variant": "paper",
        "face_model": sha256(run.face_model),
        "stranger_distance": "2.7",
    }


def test_every_batch_size_gives_what_torch_gives(run: Run) -> None:
    """Against the modules' own forward, on crops that the export has not seen."""
    rnet, cnet, _ = load_checkpoint(run.checkpoint)
    assert cnet is not None
    session = onnxruntime.InferenceSession(run.output, providers=["CPUExecutionProvider"])
    crops = blocks(3, 14, seed=5)
    with torch.no_grad():
        coefficients = rnet(crops).numpy()
        confidences = cnet(*rnet.features(crops)).numpy()
    assert coefficients.std(0).mean() > 0.05
    assert confidences.std(0).mean() > 0.01
    exact = serialize(build_onnx(rnet, cnet, "float32", {}))
    reference = onnxruntime.InferenceSession(exact, providers=["CPUExecutionProvider"])
    # What 8 bits take from random weights, which do not make up for each other as trained ones do.
    for graph, tolerance in ((session, 0.06), (reference, 1e-4)):
        for n in (1, 3):
            actual = graph.run(["coefficients", "confidences"], {"crops": crops[:n].numpy()})
            np.testing.assert_allclose(actual[0], coefficients[:n], atol=tolerance)
            np.testing.assert_allclose(actual[1], confidences[:n], atol=tolerance)


def test_graph_is_no_more_than_the_networks(run: Run, tmp_path: Path) -> None:
    model = onnx.load(run.output)
    expected = {
        "Add": 16,  # units
        "Concat": 1,
        "Conv": 53 + 3,
        "Flatten": 2,
        "Gemm": 3,
        "GlobalAveragePool": 2,
        "MaxPool": 1 + 3,  # the stem's; shortcuts of the three units that stride
        "Relu": 1 + 16 * 3 + 3 + 1,
        "Sigmoid": 1,
    }
    in_8_bits = sum(tensor.data_type == onnx.TensorProto.INT8 for tensor in model.graph.initializer)
    assert 40 < in_8_bits < 56 + 3
    assert operators(model) == expected | {"Cast": 56 + 3, "Mul": in_8_bits}
    assert model.opset_import[0].version >= 17

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(run.output, options, providers=["CPUExecutionProvider"])
    assert not {"Cast", "Mul"} & set(operators(onnx.load(tmp_path / "optimized.onnx")))


def test_file_is_small_and_its_weights_have_8_bits(run: Run) -> None:
    assert run.output.stat().st_size <= 31_457_280
    for tensor in onnx.load(run.output).graph.initializer:
        stored = onnx.TensorProto.FLOAT
        if tensor.name.endswith(".weight"):
            large = np.prod(tensor.dims) >= SMALL
            stored = onnx.TensorProto.INT8 if large else onnx.TensorProto.FLOAT16
        assert tensor.data_type == stored, tensor.name


@given(
    values=arrays(np.float64, (3, 4, 2), elements=st.floats(-1e3, 1e3)),
    scale=st.floats(1e-6, 1e6),
)
def test_eight_bits_err_by_half_a_step_of_each_channel(values: np.ndarray, scale: float) -> None:
    values = values * scale
    rounded, steps = eight_bits(values)
    assert rounded.shape == values.shape
    assert steps.shape == (3, 1, 1)
    largest = np.abs(values).max((1, 2), keepdims=True)
    assert (np.abs(rounded * steps.astype(float) - values) <= 0.501 * largest / 127 + 1e-30).all()


def test_half_precision_is_still_to_be_had(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "half.onnx"
    result = call(
        run.checkpoint, output, crops=run.crops, face_model=run.face_model, stored_in="float16"
    )
    assert result.exit_code == 0, result.output
    half = json.loads(output.with_suffix(".json").read_text())
    assert half["network"]["stored_in"] == "float16"
    assert half["export_check"]["vertex_drift_mm"] < run.record["export_check"]["vertex_drift_mm"]
    types = {t.data_type for t in onnx.load(output).graph.initializer if ".weight" in t.name}
    assert types == {onnx.TensorProto.FLOAT16}


def test_bytes_are_reproducible(run: Run, tmp_path: Path) -> None:
    rnet, cnet, _ = load_checkpoint(run.checkpoint)
    assert cnet is not None
    metadata = {p.key: p.value for p in onnx.load(run.output).metadata_props}
    again = serialize(build_onnx(rnet, cnet, "int8", metadata))
    assert again == run.output.read_bytes()


def test_record(run: Run) -> None:
    record = run.record
    assert record["sha256"] == sha256(run.output)
    assert record["size_bytes"] == run.output.stat().st_size
    assert record["face_model"] == {
        "file": "face_model.npz",
        "name": "fan",
        "version": "3",
        "license": "CC0-1.0",
        "sha256": sha256(run.face_model),
    }
    assert record["training"] == {
        "steps": 1234,
        "images": 56789,
        "cnet_trained": True,
        "config": {"lr": 1e-4},
    }
    assert record["figures"] == FIGURES
    check = record["export_check"]
    assert 0 < check["graph_difference"] < 1e-3
    assert check["graph_difference"] < check["stored_difference"]
    assert 0 < check["vertex_drift_mm"] < 0.05
    assert check["vertex_drift_mm"] < check["largest_drift_mm"]
    assert record["network"]["stored_in"] == "int8"
    assert record["network"]["identity_branch"] is False
    assert record["stranger_cosine"] is None


def test_vertex_drift_is_the_mean_and_that_of_the_farthest_vertex() -> None:
    model = small_face_model()
    one = np.zeros((2, 239), np.float32)
    other = one.copy()
    other[1, 4], other[1, 80 + 7], other[1, 236:] = 0.5, -0.25, 9.0
    step = 0.5 * model.identity_basis[4] - 0.25 * model.expression_basis[7]
    moves = np.sqrt((step**2).sum(1))
    actual = export_module._vertex_drift(model, LAYOUT_239, one, other)
    assert actual == pytest.approx((moves.mean() / 2, moves.max()), rel=1e-3)


def test_card_states_what_the_record_holds(run: Run) -> None:
    card = run.output.with_suffix(".md").read_text()
    assert card == render_model_card(run.record)
    assert card.startswith("# Model card: facewright-rnet 0\n")
    for text in (
        "Portraits that nobody sat for.",
        "AdamW, coarse to fine.",
        "1,234 steps over 56,789 image passes",
        "| measured on | measure | this network | mean face |",
        "| held-out portraits | vertex error | 1.5 mm | 2.25 mm |",
        "| held-out portraits | AUC \\| identity | 0.8125 | – |",
        "facewright-train evaluate runs/last.pt",
        "- Beards are missed.\n- Children were not in the data.",
        "3 crops of the data directory 'crops'",
        f"| `rnet_v1.onnx` | `{sha256(run.output)}` |",
        f"| `face_model.npz` | `{sha256(run.face_model)}` |",
    ):
        assert text in card, text


@pytest.fixture
def two_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "NOISE_CROPS", 2)


@pytest.mark.usefixtures("two_crops")
def test_without_cnet_crops_and_figures(run: Run, tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.pt"
    rnet, _ = networks()
    save_checkpoint(checkpoint, rnet, None, info(run.face_model))
    result = call(checkpoint, tmp_path / "x.onnx", face_model=run.face_model)
    assert result.exit_code == 0, result.output
    assert "smooth noise (no data directory given)" in result.output
    assert "model card not written" in result.output
    assert not (tmp_path / "x.md").exists()
    record = json.loads((tmp_path / "x.json").read_text())
    assert record["training"]["cnet_trained"] is False
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    crops = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
    assert (session.run(["confidences"], {"crops": crops})[0] == 1).all()
    card = render_model_card(record | {"figures": FIGURES})
    assert "there is no C-Net" in card


@pytest.mark.usefixtures("two_crops")
class TestRefusals:
    def test_graph_unlike_torch(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def wrong(rnet: RNet, *rest: Any) -> onnx.ModelProto:
            shifted = copy.deepcopy(rnet)
            shifted.fc.bias.data[100] += 2e-3
            return build_onnx(shifted, *rest)

        monkeypatch.setattr(export_module, "build_onnx", wrong)
        result = call(run.checkpoint, tmp_path / "x.onnx", face_model=run.face_model)
        assert result.exit_code == 1
        assert "differs from torch by 2.0" in result.output
        assert list(tmp_path.iterdir()) == []

    def test_drift_of_vertices(self, run: Run, tmp_path: Path) -> None:
        face_model = tmp_path / "face_model.npz"
        small_face_model(mm_per_sigma=100).save(face_model)
        checkpoint = tmp_path / "last.pt"
        save_checkpoint(checkpoint, *networks(), info(face_model))
        with pytest.raises(ExportError, match=r"int8 moves vertices by .* would have 108 MB"):
            export_checkpoint(checkpoint, tmp_path / "x.onnx", face_model=face_model)
        assert not (tmp_path / "x.onnx").exists()

    def test_another_face_model(self, run: Run, tmp_path: Path) -> None:
        other = tmp_path / "face_model.npz"
        small = small_face_model()
        replace(small, metadata=dict(small.metadata) | {"version": "4"}).save(other)
        result = call(run.checkpoint, tmp_path / "x.onnx", face_model=other)
        assert result.exit_code == 1
        assert "trained for the face model" in result.output

    def test_no_shards(self, run: Run, tmp_path: Path) -> None:
        result = call(
            run.checkpoint, tmp_path / "x.onnx", face_model=run.face_model, crops=tmp_path
        )
        assert result.exit_code == 1
        assert "no shards" in result.output

    def test_missing_checkpoint(self, run: Run, tmp_path: Path) -> None:
        result = call(tmp_path / "absent.pt", tmp_path / "x.onnx", face_model=run.face_model)
        assert result.exit_code == 1
        assert "no weights file" in result.output


@pytest.mark.parametrize(
    ("value", "precision"),
    [(1e6, "float16"), (float("nan"), "float16"), (float("nan"), "int8"), (float("inf"), "int8")],
)
def test_weights_that_cannot_be_stored(value: float, precision: Any) -> None:
    rnet, cnet = RNet(), CNet()
    rnet.fc.weight.data[3, 5] = value
    with pytest.raises(UnstorableWeights, match=rf"coefficients\.weight does not fit {precision}"):
        build_onnx(rnet.eval(), cnet.eval(), precision, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limits": "none"}, "limits: Input should be a valid (list|array)"),
        ({"data": 3}, "data: Input should be a valid string"),
        ({"figures": {}}, "figures: Input should be a valid (list|array)"),
        ({"more": 1}, "more: unknown setting"),
        ({"figures": [{"measure": "x"}]}, "figures.0.measured_on: Field required"),
        ({"figures": [FIGURES["figures"][0] | {"value": "1"}]}, "figures.0.value.* valid"),
        ({"figures": [FIGURES["figures"][0] | {"baseline": True}]}, "figures.0.baseline.* valid"),
    ],
)
def test_figures_are_validated(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(json.dumps(FIGURES | change))
    with pytest.raises(ValueError, match=message):
        read_figures(path)


def test_figures_must_be_json(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="figures.json: Invalid JSON"):
        read_figures(path)
