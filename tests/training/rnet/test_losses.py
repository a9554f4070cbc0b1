"""The loss terms against slow derivations over explicit vertices."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from facewright.models.camera import pose_points, project, rotation_matrix
from facewright.models.layout import LAYOUT_239
from facewright.models.light import sh_basis
from facewright.models.normals import vertex_normals
from facewright.training.losses.quadratic_forms import (
    FACE_RADIUS,
    displacement_form,
    face_forms,
    light_form,
    normal_form,
    root_mean_form,
    vertex_areas,
    without_size,
)
from facewright.training.rnet.experiment import LossWeights
from facewright.training.rnet.losses import (
    RNetLoss,
    Targets,
    depth_distance,
    landmark_distance,
    rotation_distance,
    view_distance,
)


@pytest.fixture(scope="module")
def loss(face_model):
    return RNetLoss(face_model, LossWeights())


def test_areas_add_up(face_model):
    areas = vertex_areas(face_model.mean_vertices, face_model.triangles)
    total = 0.0
    for a, b, c in face_model.mean_vertices[face_model.triangles].astype(float):
        ab, ac = b - a, c - a
        total += 0.5 * np.sqrt(ab @ ab * (ac @ ac) - (ab @ ac) ** 2)
    assert areas.sum() == pytest.approx(total, rel=1e-6)


def test_displacement_form_is_the_mean_square_over_vertices(face_model):
    rng = np.random.default_rng(0)
    weights = rng.random(face_model.n_vertices)
    difference = rng.normal(size=80)
    form = displacement_form(face_model.refine(face_model.identity_basis), weights)
    zero = np.zeros((1, 64))
    moved = face_model.shape(difference[None], zero)[0] - face_model.mean_vertices
    expected = (weights * (moved.astype(float) ** 2).sum(1)).sum() / weights.sum()
    assert difference @ form @ difference == pytest.approx(expected, rel=1e-5)


def test_overall_size_hardly_counts(face_model):
    mean = face_model.mean_vertices.astype(np.float64)
    rng = np.random.default_rng(1)
    weights = rng.random(len(mean)) + 0.1
    centered = mean - weights @ mean / weights.sum()
    other = rng.normal(size=mean.shape)
    # Uncorrelated with the size, so that the two distances add.
    other -= centered * (weights @ (other * centered).sum(1)) / (weights @ (centered**2).sum(1))
    basis = np.stack([0.01 * centered, other])
    form = displacement_form(basis, weights)
    reduced = without_size(form, basis, mean, weights)
    assert reduced[0, 0] == pytest.approx(0.05 * form[0, 0])
    assert reduced[1, 1] == pytest.approx(form[1, 1])
    assert reduced[0, 1] == pytest.approx(0, abs=1e-9)


def test_normal_form_is_the_distance_left_by_the_best_similarity(face_model):
    """The explicit optimum over rotation, translation and scale of the distance along normals."""
    rng = np.random.default_rng(2)
    points = face_model.mean_vertices.astype(np.float64)
    normals = vertex_normals(points[None], face_model.triangles)[0]
    weights = rng.random(len(points)) + 0.1
    basis = face_model.refine(face_model.identity_basis)[:20].astype(np.float64)
    difference = 0.05 * rng.normal(size=20)  # small: the form is first order
    moved = points + np.einsum("k,kvc->vc", difference, basis)

    def residual(x):
        fitted = (1 + x[6]) * moved @ Rotation.from_rotvec(x[:3]).as_matrix().T + x[3:6]
        along = ((fitted - points) * normals).sum(1)
        return np.sqrt(weights / weights.sum()) * along

    best = least_squares(residual, np.zeros(7), x_scale=[0.01] * 3 + [1] * 3 + [0.01], xtol=1e-14)
    form = normal_form(basis, points, normals, weights)
    assert difference @ form @ difference == pytest.approx(2 * best.cost, rel=2e-2)


def test_similarities_are_free_in_the_normal_form(face_model):
    points = face_model.mean_vertices.astype(np.float64)
    normals = vertex_normals(points[None], face_model.triangles)[0]
    axis = np.array([0.3, -0.5, 0.8])
    basis = np.stack([np.cross(axis, points), np.ones_like(points), points])
    form = normal_form(basis, points, normals, np.ones(len(points)))
    np.testing.assert_allclose(form, 0, atol=1e-6)


def test_light_form_is_the_mean_square_shading():
    rng = np.random.default_rng(3)
    difference = rng.normal(size=9)
    normals = rng.normal(size=(200_000, 3))
    normals[:, 2] = abs(normals[:, 2])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    expected = ((sh_basis(normals) @ difference) ** 2).mean()
    assert difference @ light_form() @ difference == pytest.approx(expected, rel=0.02)


def test_face_forms_are_symmetric_and_not_negative(face_model):
    forms = face_forms(face_model)
    assert forms["shape_normal"].shape == (144, 144)
    for name, form in forms.items():
        np.testing.assert_allclose(form, form.T, atol=1e-6, err_msg=name)
        assert np.linalg.eigvalsh(form).min() > -1e-6 * np.trace(form), name
    assert 0 < FACE_RADIUS < 95


def test_albedo_form_is_in_srgb_units(face_model):
    form = face_forms(face_model)["albedo"]
    rng = np.random.default_rng(4)
    difference = 0.1 * rng.normal(size=80)
    areas = vertex_areas(face_model.mean_vertices, face_model.triangles)
    colors = np.einsum("k,kvc->vc", difference, face_model.albedo_basis)
    expected = (areas[:, None] * colors**2).sum() / areas.sum() / 3
    assert difference @ form @ difference == pytest.approx(expected, rel=1e-5)


def test_root_mean_form_by_hand():
    form = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    difference = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    got = root_mean_form(difference, form, rounding=0.0)
    assert float(got) == pytest.approx((np.sqrt(2) + 3) / 2)
    zero = torch.zeros(1, 2, requires_grad=True)
    root_mean_form(zero, form).backward()
    assert torch.isfinite(zero.grad).all()


def test_rotation_distance_is_that_of_the_angle():
    angle = 0.3
    turned = torch.tensor(rotation_matrix(np.array([[0.0, angle, 0.0]])))
    expected = 2 * np.sqrt(2) * np.sin(angle / 2)
    assert float(rotation_distance(turned, torch.eye(3)[None])) == pytest.approx(expected)


def test_depth_distance_by_hand():
    near, far = torch.tensor([[0.0, 0, 1]]), torch.tensor([[0.0, 0, -1]])
    assert float(depth_distance(near, far)) == pytest.approx(np.log(1100 / 900), rel=1e-5)


def test_landmark_distance_weighs():
    true = torch.zeros(1, 2, 2)
    predicted = torch.tensor([[[1.0, 3.0], [0.0, 0.0]]])
    assert float(landmark_distance(predicted, true, torch.tensor([1.5, 0.5]))) == 1.5


def _random(face_model, count, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 239)).astype(np.float32)
    x[:, 233:] *= 0.1
    parts = LAYOUT_239.split(x)
    shape = face_model.shape(parts.identity, parts.expression)[:, face_model.landmarks]
    pixels = project(pose_points(shape, parts.rotation, parts.translation))
    targets = Targets(
        *map(
            torch.from_numpy,
            (
                parts.identity,
                parts.expression,
                parts.albedo,
                parts.light[:, 0],
                rotation_matrix(parts.rotation),
                parts.translation,
                pixels,
                # The views of one person.
                np.zeros(count, np.int64),
            ),
        )
    )
    return torch.from_numpy(x), targets, pixels


def test_the_truth_has_no_loss(face_model, loss):
    x, targets, _ = _random(face_model, 3, 5)
    # These are three people, whose identities need not agree.
    targets = targets._replace(person=torch.arange(3))
    for name, value in loss(x, targets).items():
        assert float(value) < 0.04, name


def test_landmark_terms_against_the_numpy_camera(face_model, loss):
    x, targets, true = _random(face_model, 3, 6)
    other, _, seen = _random(face_model, 3, 7)
    terms = loss(other, targets)
    weights = loss.landmark_weights.numpy()
    expected = (abs(seen - true).mean(2) * weights).mean()
    assert float(terms["landmarks"]) == pytest.approx(expected, rel=1e-4)
    mixed, parts = LAYOUT_239.split(other.numpy()), LAYOUT_239.split(x.numpy())
    shape = face_model.shape(mixed.identity, mixed.expression)[:, face_model.landmarks]
    placed = project(pose_points(shape, parts.rotation, parts.translation))
    expected = (abs(placed - true).mean(2) * weights).mean()
    assert float(terms["landmarks_true_pose"]) == pytest.approx(expected, rel=1e-4)
    assert float(terms["identity_sigma"]) == pytest.approx(
        np.sqrt(((parts.identity - mixed.identity) ** 2).mean(1)).mean(), rel=1e-3
    )


def test_every_term_teaches_and_gradients_are_right(face_model):
    loss = RNetLoss(face_model, LossWeights()).double()
    x, targets, _ = _random(face_model, 2, 8)
    targets = Targets(*(t.double() if t.is_floating_point() else t for t in targets))
    start = (x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).double()
    start.requires_grad_()
    for name, value in loss(start, targets).items():
        (gradient,) = torch.autograd.grad(value, start, retain_graph=True)
        assert gradient.norm() > 1e-6, name
    total = loss.total(loss(start, targets))
    (gradient,) = torch.autograd.grad(total, start)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    step = 1e-6
    with torch.no_grad():
        up = loss.total(loss(start + step * direction, targets))
        down = loss.total(loss(start - step * direction, targets))
    numeric = float(up - down) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-5)


def test_a_prediction_behind_the_camera_does_not_break_training(face_model, loss):
    x, targets, _ = _random(face_model, 2, 9)
    x[:, 238] = 50.0
    x.requires_grad_()
    loss.total(loss(x, targets)).backward()
    assert torch.isfinite(x.grad).all()


def test_views_of_one_person_agree_and_of_others_do_not_have_to():
    identity = torch.tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]])
    form = torch.eye(2)
    pair = view_distance(identity, torch.tensor([7, 7, 8]), form)
    assert float(pair) == pytest.approx(5.0, rel=1e-4)
    assert float(view_distance(identity, torch.tensor([1, 2, 3]), form)) == 0.0
