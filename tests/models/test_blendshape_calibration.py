"""The map from coefficients to what a face tracker would say, and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facewright.models.assets import FACE_MODEL, WEIGHTS, asset_path, sha256
from facewright.models.blendshape_calibration import (
    BlendshapeCalibration,
    CalibrationFileError,
    ForeignCalibration,
    calibration_beside,
)
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.blendshapes import BlendshapeSolver
from facewright.models.morphable_model import MorphableModel

JAW, SMILE = ARKIT_BLENDSHAPES.index("jawOpen"), ARKIT_BLENDSHAPES.index("mouthSmileLeft")


@pytest.fixture
def calibration() -> BlendshapeCalibration:
    matrix = np.array([[0.5, 0, 0], [0, 0, -2]], np.float32)
    offset = np.array([0.1, 0.2], np.float32)
    return BlendshapeCalibration(matrix, offset, ("jawOpen", "mouthSmileLeft"), "abc")


def test_what_is_not_calibrated_stays(calibration: BlendshapeCalibration) -> None:
    weights = np.full(52, 0.25, np.float32)
    expression, identity = np.array([1, 5], np.float32), np.array([0.3], np.float32)
    found = calibration.calibrated(weights, expression, identity)
    assert found[JAW] == pytest.approx(0.6)
    assert found[SMILE] == 0  # -0.4 is no weight
    assert (np.delete(found, [JAW, SMILE]) == 0.25).all()
    assert (weights == 0.25).all()
    assert calibration.calibrated(weights, 9 * expression, identity)[JAW] == 1


def test_a_file_gives_back_what_was_written(
    calibration: BlendshapeCalibration, tmp_path: Path
) -> None:
    path = calibration_beside(tmp_path / "net.onnx")
    assert path.name == "net.blendshapes.npz"
    calibration.save(path)
    first = path.read_bytes()
    calibration.save(path)
    assert path.read_bytes() == first
    read = BlendshapeCalibration.load(path, "abc")
    assert read.names == calibration.names
    np.testing.assert_array_equal(read.matrix, calibration.matrix)
    with pytest.raises(ForeignCalibration):
        BlendshapeCalibration.load(path, "abd")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    np.savez(path, matrix=np.zeros((1, 3)))
    with pytest.raises(CalibrationFileError, match="entries"):
        BlendshapeCalibration.load(path, "")
    path.write_bytes(b"no archive")
    with pytest.raises(CalibrationFileError):
        BlendshapeCalibration.load(path, "")


@pytest.mark.parametrize(
    ("matrix", "offset", "names"),
    [
        (np.zeros((2, 3)), np.zeros(1), ("jawOpen",)),
        (np.full((1, 3), np.nan), np.zeros(1), ("jawOpen",)),
        (np.zeros((1, 3)), np.zeros(1), ("jawDropped",)),
        (np.zeros((2, 3)), np.zeros(2), ("jawOpen", "jawOpen")),
    ],
)
def test_unsound_calibrations_are_refused(
    matrix: np.ndarray, offset: np.ndarray, names: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="calibration"):
        BlendshapeCalibration(matrix.astype(np.float32), offset.astype(np.float32), names, "")


def test_the_shipped_one_belongs_to_the_shipped_weights_and_smiles() -> None:
    weights = asset_path(WEIGHTS)
    calibration = BlendshapeCalibration.load(calibration_beside(weights), sha256(weights))
    model = MorphableModel.load(asset_path(FACE_MODEL))
    solver = BlendshapeSolver(model, calibration)
    identity = np.zeros(80, np.float32)
    smile = sum(
        model.expression_unit_coefficients[model.expression_units.index(f"mouthSmile{side}")]
        for side in ("Left", "Right")
    )
    calm = solver.solve(np.zeros(64, np.float32), identity)
    smiling = solver.solve(np.asarray(smile, np.float32), identity)
    assert calm.calibrated is not None
    assert smiling.calibrated is not None
    assert smiling.calibrated[SMILE] > calm.calibrated[SMILE] + 0.2
    assert smiling.calibrated[ARKIT_BLENDSHAPES.index("tongueOut")] == 0
    assert BlendshapeSolver(model).solve(smile, identity).calibrated is None


def test_a_calibration_of_other_coefficients_is_refused(
    calibration: BlendshapeCalibration,
) -> None:
    with pytest.raises(ValueError, match="144"):
        BlendshapeSolver(MorphableModel.load(asset_path(FACE_MODEL)), calibration)
