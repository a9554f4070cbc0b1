from __future__ import annotations

import numpy as np
import pytest

from facewright.models.camera import pose_points, project
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.training.identity_branch.targets import fitting_identities
from facewright.training.losses.quadratic_forms import face_forms

COUNT = 6


def landmarks(model: MorphableModel, coefficients: np.ndarray, identity: np.ndarray) -> np.ndarray:
    parts = LAYOUT_239.split(coefficients)
    points = model.shape(identity, parts.expression)[:, model.landmarks]
    return project(pose_points(points, parts.rotation, parts.translation))


@pytest.fixture(scope="module")
def faces(toy_head) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients without identity, identities, and the landmarks of both together."""
    rng = np.random.default_rng(3)
    coefficients = np.zeros((COUNT, LAYOUT_239.size), np.float32)
    coefficients[:, LAYOUT_239.expression] = rng.normal(0, 0.4, (COUNT, 64))
    coefficients[:, LAYOUT_239.rotation] = rng.normal(0, 0.2, (COUNT, 3))
    identity = rng.normal(0, 0.7, (COUNT, 80)).astype(np.float32)
    return coefficients, identity, landmarks(toy_head.model, coefficients, identity)


def fitted(toy_head, coefficients: np.ndarray, identity: np.ndarray, seen: np.ndarray):
    form = face_forms(toy_head.model)["identity"]
    return fitting_identities(toy_head.model, LAYOUT_239, coefficients, identity, seen, form)


def test_with_the_true_pose_it_is_the_true_identity(toy_head, faces) -> None:
    coefficients, identity, seen = faces
    found = fitted(toy_head, coefficients, identity, seen)
    np.testing.assert_allclose(found, identity, atol=1e-3)


def test_beside_a_wrong_pose_landmarks_come_nearer(toy_head, faces) -> None:
    coefficients, identity, seen = faces
    wrong = coefficients.copy()
    wrong[:, LAYOUT_239.rotation] += 0.08
    wrong[:, LAYOUT_239.expression] *= 0.5
    found = fitted(toy_head, wrong, identity, seen).astype(np.float32)

    def missed(alpha: np.ndarray) -> float:
        return float(np.linalg.norm(landmarks(toy_head.model, wrong, alpha) - seen, axis=2).mean())

    assert missed(found) < 0.9 * missed(identity)
    assert np.abs(found - identity).max() < 2
