from __future__ import annotations

import numpy as np
import pytest

from facewright.models.morphable_model import PART_SKIN, MorphableModel
from facewright.training.face_model import floors
from facewright.training.face_model.floors import TrueFace, distance, fit


@pytest.fixture
def model(shipped_model: MorphableModel, monkeypatch: pytest.MonkeyPatch) -> MorphableModel:
    monkeypatch.setattr(floors, "N_POINTS", 500)
    return shipped_model


def truth_of(model: MorphableModel, vertices: np.ndarray) -> TrueFace:
    skin = model.parts == PART_SKIN
    triangles = model.triangles[skin[model.triangles].all(axis=1)]
    return TrueFace.sample(vertices.astype(np.float64), triangles, model.landmarks, skin)


def test_a_face_moved_and_grown_is_at_no_distance(model: MorphableModel) -> None:
    mean = model.mean_vertices.astype(np.float64)
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    truth = truth_of(model, 1.07 * mean)
    turned = TrueFace(truth.points @ turn.T + 300, truth.landmarks @ turn.T + 300)
    assert distance(model, mean, truth) < 1e-3
    assert distance(model, mean, turned) < 1e-3


def test_points_lie_on_the_face_around_the_nose(model: MorphableModel) -> None:
    mean = model.mean_vertices.astype(np.float64)
    truth = truth_of(model, mean)
    assert truth.points.shape == (floors.N_POINTS, 3)
    assert np.linalg.norm(truth.points - truth.landmarks[30], axis=1).max() < 100
    assert distance(model, mean + [0, 0, 1e-9], truth) < 1e-3


def test_modes_come_near_a_face_of_the_model(
    model: MorphableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floors, "RIDGES", np.geomspace(300.0, 3.0, 5))
    coefficients = np.random.default_rng(4).normal(size=model.n_identity)
    neutral = np.zeros((1, model.n_expression))
    truth = truth_of(model, model.shape(coefficients[None], neutral)[0])
    found = fit(model, truth)
    fitted = model.shape(found[None], neutral)[0]
    before = distance(model, model.mean_vertices.astype(np.float64), truth)
    assert distance(model, fitted.astype(np.float64), truth) < 0.25 * before
