from __future__ import annotations

import numpy as np
import pytest

from training.data.shards import IMAGE_SIZE, LABEL_SHAPES, Labels
from training.synthetic.generate import PortraitGenerator
from training.synthetic.verify import landmark_errors


@pytest.fixture(scope="module")
def portraits(generator):
    return list(generator.portraits(np.random.default_rng(3), 24))


@pytest.fixture(scope="module")
def labels(portraits) -> Labels:
    return Labels(**{k: np.stack([p.labels[k] for p in portraits]) for k in LABEL_SHAPES})


def test_same_seed_same_bytes(head, portraits):
    again = list(PortraitGenerator(head).portraits(np.random.default_rng(3), 24))
    for first, second in zip(portraits, again, strict=True):
        assert np.array_equal(first.image, second.image)
        assert first.labels.keys() == second.labels.keys()
        for name, value in first.labels.items():
            assert np.array_equal(value, second.labels[name]), name


def test_labels_have_the_shards_form(portraits):
    for portrait in portraits:
        assert portrait.image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
        assert portrait.image.dtype == np.uint8
        assert {k: v.shape for k, v in portrait.labels.items()} == LABEL_SHAPES
        assert all(np.isfinite(v).all() for v in portrait.labels.values())


def test_labelled_pose_puts_landmarks_where_they_are_seen(toy_head, labels):
    errors = landmark_errors(labels, toy_head.model)
    assert errors.median < 1.0
    assert errors.percentile_95 < 4.0


def test_verification_notices_wrong_labels(toy_head, labels):
    wrong = labels.take(slice(None))
    wrong.rotation[:, 1] *= -1
    assert landmark_errors(wrong, toy_head.model).mean > 5
    assert "px" in str(landmark_errors(labels, toy_head.model))


def test_faces_are_in_the_crop(labels):
    inner = labels.landmarks[:, 17:]
    assert ((inner > 0) & (inner < 224)).mean() > 0.98
    assert 0.5 < labels.landmark_visible.mean() < 1.0


def test_albedo_labels_explain_the_colours(head):
    rng = np.random.default_rng(0)
    basis_colours = rng.standard_normal(80).astype(np.float32)
    n = len(head.mean)
    colours = np.zeros((n, 3), np.float32)
    # A face that lies in the model's own span gives back its coefficients.
    fit = head.albedo_fit.astype(np.float64)
    shown = np.linalg.pinv(fit) @ basis_colours
    colours[head.face_vertices] = (shown + head.albedo_mean).reshape(-1, 3)
    assert head.albedo_coefficients(colours) == pytest.approx(basis_colours, abs=1e-2)


def test_head_and_face_model_agree(toy_head, head):
    rng = np.random.default_rng(2)
    identity, expression = rng.standard_normal((3, 80)), rng.standard_normal((3, 64))
    vertices, landmarks = head.shapes(identity, expression, np.ones((3, 2), np.float32))
    face = toy_head.model.shape(identity, expression)
    shared = toy_head.data.face_model_vertices
    assert np.allclose(vertices[:, head.face_vertices], face[:, shared], atol=0.05)
    assert np.allclose(landmarks, face[:, toy_head.model.landmarks], atol=0.05)
