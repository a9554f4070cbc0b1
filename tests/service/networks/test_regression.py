"""The regression network behind ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facewright.models.agreement import STRANGER_COSINE, STRANGER_DISTANCE
from facewright.models.alignment import FixedAlignment
from facewright.service.errors import ModelError
from facewright.service.networks.regression import Regressor


def constant_network(
    path: Path,
    *,
    coefficients: int = 239,
    confidences: int = 80,
    side: int = 224,
    value: float = 0.5,
    layout: str | None = "239",
    stranger_distance: str | None = None,
    descriptors: int = 0,
    stranger_cosine: str | None = None,
) -> Path:
    """A graph that answers `value` everywhere, of any signature."""
    nodes = [
        helper.make_node("ReduceMean", ["crops", "axes"], ["brightness"], keepdims=0),
        helper.make_node("Mul", ["brightness", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "column"], ["rows"]),
        helper.make_node("Add", ["rows", "first"], ["coefficients"]),
        helper.make_node("Add", ["rows", "second"], ["confidences"]),
    ]
    constants = {
        "axes": np.array([1, 2, 3], np.int64),
        "zero": np.zeros(1, np.float32),
        "column": np.array([-1, 1], np.int64),
        "first": np.full((1, coefficients), value, np.float32),
        "second": np.full((1, confidences), 0.5, np.float32),
    }
    outputs = {"coefficients": coefficients, "confidences": confidences}
    if descriptors:
        outputs["descriptors"] = descriptors
        nodes.append(helper.make_node("Add", ["rows", "third"], ["descriptors"]))
        constants["third"] = np.full((1, descriptors), descriptors**-0.5, np.float32)
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["N", 3, side, side])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
            for name, size in outputs.items()
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if layout is not None:
        model.metadata_props.add(key="layout", value=layout)
    if stranger_distance is not None:
        model.metadata_props.add(key="stranger_distance", value=stranger_distance)
    if stranger_cosine is not None:
        model.metadata_props.add(key="stranger_cosine", value=stranger_cosine)
    onnx.save(model, path)
    return path


@pytest.fixture
def regressor(assets: Any) -> Regressor:
    return Regressor(assets.weights, face_model_sha256=assets.model.sha256)


@pytest.fixture
def crops_u8() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3)).astype(np.uint8)


def test_crops_reach_the_network_as_unit_range_nchw(
    regressor: Regressor, crops_u8: np.ndarray
) -> None:
    # The tests' network answers pose + brightness * slope; see conftest.
    coefficients, confidences = regressor.regress(crops_u8 // np.uint8(3))
    brightness = (crops_u8 // 3).reshape(5, -1).astype(np.float64).mean(axis=1) / 255
    slope = np.linspace(-1, 1, 80)
    np.testing.assert_allclose(coefficients[:, :80], brightness[:, None] * slope, atol=1e-5)
    np.testing.assert_allclose(
        confidences, 1 / (1 + np.exp(-brightness[:, None] * slope)), atol=1e-5
    )
    assert coefficients.shape == (5, 239)
    assert coefficients.dtype == confidences.dtype == np.float32


def test_a_batch_equals_its_crops_one_by_one(regressor: Regressor, crops_u8: np.ndarray) -> None:
    together = regressor.regress(crops_u8)
    alone = [regressor.regress(crop[None]) for crop in crops_u8]
    for batch, singles in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(batch, np.concatenate(singles), atol=1e-5)


def test_no_crops_give_no_coefficients(regressor: Regressor) -> None:
    coefficients, confidences = regressor.regress(np.zeros((0, 224, 224, 3), np.uint8))
    assert coefficients.shape == (0, 239)
    assert confidences.shape == (0, 80)


def test_threads_can_share_a_regressor(regressor: Regressor, crops_u8: np.ndarray) -> None:
    expected = regressor.regress(crops_u8)[0]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: regressor.regress(crops_u8)[0], range(12)))
    for answer in answers:
        np.testing.assert_allclose(answer, expected, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.zeros((1, 3, 224, 224), np.uint8),
        lambda: np.zeros((224, 224, 3), np.uint8),
        lambda: np.zeros((1, 224, 224, 3), np.float32),
        lambda: np.zeros((1, 240, 240, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(regressor: Regressor, make: Callable[[], np.ndarray]) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        regressor.regress(make())


def test_metadata_is_what_the_export_wrote(regressor: Regressor, assets: Any) -> None:
    assert regressor.metadata["name"] == "brightness"
    assert regressor.metadata["face_model"] == assets.model.sha256


def test_warm_up_runs_every_batch_size(regressor: Regressor) -> None:
    regressor.warm_up([1, 4])


def test_another_face_model_is_refused(assets: Any) -> None:
    with pytest.raises(ModelError, match="trained for face model"):
        Regressor(assets.weights, face_model_sha256="0" * 64)


def test_weights_that_name_no_face_model_are_refused(tmp_path: Path) -> None:
    path = constant_network(tmp_path / "network.onnx")
    Regressor(path)
    with pytest.raises(ModelError, match="face model"):
        Regressor(path, face_model_sha256="0" * 64)


@pytest.mark.parametrize("layout", ["300", None])
def test_another_layout_is_refused(tmp_path: Path, layout: str | None) -> None:
    with pytest.raises(ModelError, match="layout"):
        Regressor(constant_network(tmp_path / "network.onnx", layout=layout))


def test_weights_say_who_is_a_stranger_to_them(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    assert Regressor(constant_network(path, stranger_distance="3.25")).stranger_distance == 3.25
    assert Regressor(constant_network(path)).stranger_distance == STRANGER_DISTANCE


@pytest.mark.parametrize("text", ["far", "0", "-1", "nan", "inf", ""])
def test_another_stranger_distance_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match="stranger distance"):
        Regressor(constant_network(tmp_path / "network.onnx", stranger_distance=text))


@pytest.mark.parametrize("change", [{"coefficients": 257}, {"confidences": 1}, {"side": 128}])
def test_another_signature_is_refused(tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(ModelError, match="no regression network"):
        Regressor(constant_network(tmp_path / "network.onnx", **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_a_model_error(tmp_path: Path, value: float) -> None:
    regressor = Regressor(constant_network(tmp_path / "network.onnx", value=value))
    with pytest.raises(ModelError, match="finite"):
        regressor.regress(np.zeros((1, 224, 224, 3), np.uint8))


def test_a_row_that_is_not_finite_leaves_its_neighbors_alone(
    regressor: Regressor, crops_u8: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = regressor.regress(crops_u8)
    broken = tuple(output.copy() for output in expected)
    broken[0][1, 238] = np.nan
    broken[1][3, 0] = np.inf
    monkeypatch.setattr(regressor, "_network", lambda outputs, inputs: broken)
    answers = regressor.regress_each(crops_u8)
    assert [isinstance(answer, ModelError) for answer in answers] == [
        False, True, False, True, False,
    ]  # fmt: skip
    for index in (0, 2, 4):
        np.testing.assert_array_equal(answers[index][0], expected[0][index])  # type: ignore[index]
        np.testing.assert_array_equal(answers[index][1], expected[1][index])  # type: ignore[index]
    with pytest.raises(ModelError, match="finite"):
        regressor.regress(crops_u8)


def test_missing_and_broken_files_are_model_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no network file"):
        Regressor(tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07junk")
    with pytest.raises(ModelError, match="cannot load"):
        Regressor(broken)


def test_descriptors_come_third_where_the_weights_have_them(
    tmp_path: Path, crops_u8: np.ndarray
) -> None:
    path = tmp_path / "network.onnx"
    describing = Regressor(constant_network(path, descriptors=16, stranger_cosine="0.75"))
    assert describing.describes
    assert describing.stranger_cosine == 0.75
    coefficients, confidences, descriptors = describing.regress(crops_u8)
    assert (coefficients.shape, confidences.shape) == ((5, 239), (5, 80))
    np.testing.assert_allclose(descriptors, np.full((5, 16), 0.25))
    assert [part.shape for part in describing.regress_each(crops_u8)[0]] == [(239,), (80,), (16,)]
    assert [part.shape for part in describing.regress(crops_u8[:0])] == [(0, 239), (0, 80), (0, 16)]
    plain = Regressor(constant_network(path))
    assert not plain.describes
    assert plain.stranger_cosine == STRANGER_COSINE
    assert len(plain.regress(crops_u8)) == 2


@pytest.mark.parametrize("text", ["1.5", "nan", "much"])
def test_another_stranger_cosine_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match="stranger cosine"):
        Regressor(constant_network(tmp_path / "n.onnx", descriptors=4, stranger_cosine=text))


def with_metadata(path: Path, **entries: str) -> Path:
    model = onnx.load(path)
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def test_the_released_layout_brings_its_alignment(tmp_path: Path) -> None:
    plain = Regressor(constant_network(tmp_path / "plain.onnx"))
    assert (plain.layout.name, plain.alignment, plain.confides) == ("239", None, True)
    path = constant_network(tmp_path / "released.onnx", coefficients=257, layout="257")
    points = [[-31.0, 32, 20], [31, 32, 20], [0, -4, 60], [-25, -40, 30], [25, -40, 30]]
    text = FixedAlignment(np.array(points)).to_text()
    released = Regressor(with_metadata(path, alignment=text, confidences="none"))
    assert released.layout.name == "257"
    assert released.alignment is not None
    assert not released.confides
    coefficients, _ = released.regress(np.zeros((1, 224, 224, 3), np.uint8))
    assert coefficients.shape == (1, 257)
    bad = constant_network(tmp_path / "bad.onnx", coefficients=257, layout="257")
    with pytest.raises(ModelError, match=r"bad\.onnx: no alignment"):
        Regressor(with_metadata(bad, alignment="{}"))


def test_what_does_not_fit_is_named(tmp_path: Path, assets: Any) -> None:
    with pytest.raises(ModelError) as caught:
        Regressor(assets.weights, face_model_sha256="0" * 64, face_model=Path("other.npz"))
    assert str(assets.weights) in str(caught.value)
    assert "other.npz" in str(caught.value)
    short = constant_network(tmp_path / "short.onnx", coefficients=239, layout="257")
    with pytest.raises(ModelError, match=r"short\.onnx: no regression network"):
        Regressor(short)
