"""Expressions in ARKit's blendshapes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES, VISEMES
from facewright.models.blendshapes import BlendshapeSolver
from facewright.models.morphable_model import PART_SKIN, MorphableModel


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(asset_path(FACE_MODEL))


@pytest.fixture(scope="module")
def solver(model: MorphableModel) -> BlendshapeSolver:
    return BlendshapeSolver(model)


NOBODY = np.zeros(80, np.float32)


def expression(model: MorphableModel, **weights: float) -> np.ndarray:
    rows = [model.expression_units.index(name) for name in weights]
    units = model.expression_unit_coefficients[rows]
    return (np.array(list(weights.values())) @ units).astype(np.float32)


def test_there_are_the_names_that_animation_software_expects() -> None:
    assert len(ARKIT_BLENDSHAPES) == len(set(ARKIT_BLENDSHAPES)) == 52
    assert list(ARKIT_BLENDSHAPES) == sorted(ARKIT_BLENDSHAPES)
    assert "tongueOut" in ARKIT_BLENDSHAPES
    assert [name.removeprefix("viseme_") for name in VISEMES] == (
        ["sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U"]
    )
    for mixture in VISEMES.values():
        assert set(mixture) <= set(ARKIT_BLENDSHAPES)
        assert all(0 < weight <= 1 for weight in mixture.values())


@pytest.mark.parametrize("name", ["jawOpen", "eyeBlinkLeft", "mouthSmileRight", "browInnerUp"])
def test_a_blendshape_is_found_again(
    model: MorphableModel, solver: BlendshapeSolver, name: str
) -> None:
    rest = solver.resting(NOBODY)
    found = solver.solve(rest + expression(model, **{name: 0.7}), NOBODY)
    weights = dict(zip(ARKIT_BLENDSHAPES, found.weights.tolist(), strict=True))
    assert weights.pop(name) == pytest.approx(0.7, abs=0.05)
    assert max(weights.values()) < 0.08
    assert found.residual_mm < 0.05


def test_several_at_once(model: MorphableModel, solver: BlendshapeSolver) -> None:
    asked = {"jawOpen": 0.4, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.5, "browDownLeft": 0.6}
    found = solver.solve(solver.resting(NOBODY) + expression(model, **asked), NOBODY)
    weights = dict(zip(ARKIT_BLENDSHAPES, found.weights.tolist(), strict=True))
    for name, weight in asked.items():
        assert weights[name] == pytest.approx(weight, abs=0.1), name


def test_weights_are_the_bounded_least_squares(
    model: MorphableModel, solver: BlendshapeSolver
) -> None:
    """SciPy on the whole mesh's skin finds no expression that is clearly nearer."""
    rng = np.random.default_rng(3)
    beta = rng.normal(0, 0.8, model.n_expression).astype(np.float32)
    skin = model.parts == PART_SKIN

    def shape(coefficients: np.ndarray) -> np.ndarray:
        identity = np.zeros((len(coefficients), model.n_identity))
        return model.shape(identity, coefficients)[:, skin].reshape(len(coefficients), -1)

    known = [name for name in ARKIT_BLENDSHAPES if name != "tongueOut"]
    units = np.stack([expression(model, **{name: 1.0}) for name in known])
    rest = shape(np.zeros((1, model.n_expression)))
    columns, wanted = shape(units) - rest, (shape(beta[None]) - rest)[0]
    best = lsq_linear(columns.T.astype(np.float64), wanted, (0, 1)).x
    found = solver.solve(solver.resting(NOBODY) + beta, NOBODY)
    ours = found.weights[[ARKIT_BLENDSHAPES.index(name) for name in known]]

    def rms(weights: np.ndarray) -> float:
        left = (wanted - weights @ columns).reshape(-1, 3)
        return float(np.sqrt((left**2).sum(axis=1).mean()))

    assert rms(best) <= rms(ours) < 1.03 * rms(best) + 0.01
    assert found.residual_mm == pytest.approx(rms(ours), rel=0.25)


def test_weights_are_bounded(model: MorphableModel, solver: BlendshapeSolver) -> None:
    found = solver.solve(expression(model, jawOpen=3.0), NOBODY)
    assert found.weights.min() >= 0.0
    assert found.weights.max() <= 1.0
    assert found.weights[ARKIT_BLENDSHAPES.index("jawOpen")] == pytest.approx(1.0)
    assert found.residual_mm > 1.0
    assert not solver.solve(solver.resting(NOBODY), NOBODY).weights.any()


@pytest.mark.parametrize("seed", range(3))
def test_lips_at_rest_just_meet(model: MorphableModel, solver: BlendshapeSolver, seed: int) -> None:
    identity = np.random.default_rng(seed).normal(0, 0.7, 80).astype(np.float32)
    expressions = np.stack([np.zeros(model.n_expression), solver.resting(identity)])
    points = model.shape(np.stack([identity] * 2), expressions)[:, model.landmarks]
    gaps = points[:, [61, 62, 63], 1] - points[:, [67, 66, 65], 1]
    parted, resting = gaps.mean(axis=1)
    assert parted > 0.4
    assert abs(resting) < 0.01
