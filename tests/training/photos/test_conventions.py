import json

import numpy as np
import pytest

from facewright.models.camera import pose_points, project
from facewright.models.landmarks import LANDMARK_COUNT, MIRROR_ORDER
from facewright.models.layout import LAYOUT_239
from facewright.training.photos.conventions import (
    LABEL_CONVENTION,
    MOVED,
    SHARP,
    fit_convention,
    read_convention,
    write_convention,
)
from facewright.training.photos.crops import map_points_back


@pytest.fixture
def faces(face_model):
    rng = np.random.default_rng(0)
    x = np.zeros((40, 239), np.float32)
    x[:, LAYOUT_239.identity] = rng.normal(size=(40, 80))
    x[:, LAYOUT_239.expression] = rng.normal(size=(40, 64))
    x[:, LAYOUT_239.rotation] = rng.normal(size=(40, 3)) * [0.1, 0.4, 0.1]
    transforms = np.tile(np.array([[1.5, 0, -60], [0, 1.5, -40]]), (40, 1, 1))
    transforms[:, :, 2] += rng.normal(size=(40, 2)) * 5
    return x, transforms


def labels_at(model, vertices, x, transforms):
    parts = LAYOUT_239.split(x)
    shape = model.shape(parts.identity, parts.expression)[:, vertices]
    return map_points_back(
        transforms, project(pose_points(shape, parts.rotation, parts.translation))
    )


def elsewhere(model):
    """Other vertices for jaw and brows, mirror-symmetric, within reach."""
    rng = np.random.default_rng(1)
    points, vertices = model.mean_vertices, model.landmarks.copy()
    for landmark in range(MOVED.stop):
        partner = MIRROR_ORDER[landmark]
        near = np.linalg.norm(points - points[model.landmarks[landmark]], axis=1)
        near = near < (25 if landmark < 17 else 13)
        if landmark == partner:
            near &= model.mirror == np.arange(model.n_vertices)
        elif landmark < partner:
            near &= points[:, 0] < 0
        else:
            continue
        vertices[landmark] = rng.choice(np.flatnonzero(near))
        vertices[partner] = model.mirror[vertices[landmark]]
    assert (vertices != model.landmarks).sum() > 10
    return vertices


def test_the_vertices_that_labels_lie_on_are_found(face_model, faces, tmp_path):
    x, transforms = faces
    truth = elsewhere(face_model)
    landmarks = labels_at(face_model, truth, x, transforms)
    # A network that misjudges place, size and roll moves nothing on the face.
    predicted = x.copy()
    predicted[:, LAYOUT_239.translation] += [0.1, -0.05, 0]
    wrong = transforms.copy()
    wrong[:, :, 2] += 3
    fit = fit_convention(face_model, LAYOUT_239, predicted, wrong, landmarks)
    moved = fit.convention.vertices[MOVED]
    assert (moved == truth[MOVED]).mean() > 0.9
    np.testing.assert_array_equal(fit.convention.vertices[SHARP], face_model.landmarks[SHARP])
    np.testing.assert_array_equal(
        fit.convention.vertices[MIRROR_ORDER], face_model.mirror[fit.convention.vertices]
    )
    assert fit.after[MOVED].mean() < fit.before[MOVED].mean() / 3
    exact = fit_convention(face_model, LAYOUT_239, x, transforms, landmarks)
    np.testing.assert_array_equal(exact.convention.vertices, truth)
    assert exact.after.max() < 1e-3
    assert exact.before[MOVED].max() > 1
    assert exact.photos == 40

    path = tmp_path / "convention.json"
    write_convention(exact, face_model, path, fitted_on="test")
    again = read_convention(face_model, path)
    np.testing.assert_array_equal(again.vertices, truth)
    np.testing.assert_array_equal(again.beyond_rim[MOVED], exact.convention.beyond_rim[MOVED])


def test_the_rim_is_noticed(face_model, faces):
    x, transforms = faces
    fit = fit_convention(
        face_model, LAYOUT_239, x, transforms, labels_at(face_model, face_model.landmarks, *faces)
    )
    np.testing.assert_array_equal(fit.convention.vertices, face_model.landmarks)
    side = int(np.sqrt(face_model.n_vertices))
    rows, columns = np.divmod(face_model.landmarks, side)
    rim = np.isin(rows, [0, side - 1]) | np.isin(columns, [0, side - 1])
    assert fit.convention.beyond_rim[rim].all()
    inner = np.minimum.reduce([rows, columns, side - 1 - rows, side - 1 - columns]) > 1
    assert not fit.convention.beyond_rim[inner].any()
    with pytest.raises(ValueError, match="no photo"):
        fit_convention(
            face_model, LAYOUT_239, x[:0], transforms[:0], np.zeros((0, LANDMARK_COUNT, 2))
        )


def test_other_triangles_have_no_convention(face_model):
    assert read_convention(face_model) is None


def test_the_shipped_convention_fits_the_shipped_model(shipped_model):
    convention = read_convention(shipped_model)
    assert convention is not None
    vertices = convention.vertices
    np.testing.assert_array_equal(vertices[SHARP], shipped_model.landmarks[SHARP])
    np.testing.assert_array_equal(vertices[MIRROR_ORDER], shipped_model.mirror[vertices])
    apart = (
        shipped_model.mean_vertices[vertices] - shipped_model.mean_vertices[shipped_model.landmarks]
    )
    assert 1 < np.linalg.norm(apart, axis=1)[MOVED].mean() < 20
    rows = json.loads(LABEL_CONVENTION.read_text())["moved"]
    before = np.array([row["percent_of_box_before"] for row in rows])
    after = np.array([row["percent_of_box_after"] for row in rows])
    pairs = MIRROR_ORDER[MOVED]
    assert (after <= (before + before[pairs]) / 2 + 0.01).all()
