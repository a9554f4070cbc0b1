"""Expressions beside Face Landmarker's numbers."""

from pathlib import Path

import numpy as np
import pytest

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.training.evaluation.blendshapes import (
    LANDMARKER_ORDER,
    MEASURED,
    blendshape_figures,
    read_blendshapes,
)


def test_the_order_is_face_landmarkers() -> None:
    assert len(LANDMARKER_ORDER) == 52
    known = {
        0: "_neutral",
        3: "browInnerUp",
        9: "eyeBlinkLeft",
        25: "jawOpen",
        44: "mouthSmileLeft",
    }
    assert {index: LANDMARKER_ORDER[index] for index in known} == known


def test_photos_are_found_by_name(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).random((3, 52)).astype(np.float16)
    np.savez(tmp_path / "labels.npz", names=["a", "b", "c"], blendshapes52=numbers)
    read = read_blendshapes(tmp_path / "labels.npz", ["c", "a"])
    np.testing.assert_array_equal(read, numbers[[2, 0]])
    with pytest.raises(KeyError):
        read_blendshapes(tmp_path / "labels.npz", ["d"])


def test_faces_that_move_half_as_far_have_a_slope_of_one_half() -> None:
    """Of random faces all of whose blendshapes Face Landmarker calls twice as strong."""
    model = MorphableModel.load(asset_path(FACE_MODEL))
    units = [unit for units in MEASURED.values() for unit in units]
    weights = np.random.default_rng(1).uniform(0, 0.4, (60, len(units)))
    rows = [model.expression_units.index(unit) for unit in units]
    expression = weights @ model.expression_unit_coefficients[rows]
    coefficients = np.zeros((60, 239), np.float32)
    LAYOUT_239.split(coefficients).expression[:] = expression
    told = np.zeros((60, 52))
    told[:, [LANDMARKER_ORDER.index(unit) for unit in units]] = 2 * weights
    found = blendshape_figures(model, LAYOUT_239, coefficients, told, "60 faces")
    figures = {figure.measure: figure.value for figure in found}
    assert figures["jawOpen: slope"] == pytest.approx(0.5, abs=0.03)
    assert figures["eyeBlink: slope"] == pytest.approx(0.5, abs=0.05)
    assert figures["jawOpen: correlation"] == pytest.approx(1, abs=0.02)
    assert figures["jawOpen: mean at rest"] < 0.03
    measures = ("slope", "correlation", "mean at rest")
    assert set(figures) == {f"{name}: {measure}" for name in MEASURED for measure in measures}
