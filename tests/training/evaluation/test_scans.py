"""The scan protocols on faces whose distances are known."""

import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.morphable_model import PART_EYEBALL, PART_SKIN, MorphableModel
from facewright.training.evaluation.errors import ScanError
from facewright.training.evaluation.icp import register
from facewright.training.evaluation.nearest import Surface
from facewright.training.evaluation.scans import (
    FIVE_POINTS,
    IBUG_68,
    NOW,
    NOW_7,
    NOW_METRICAL,
    PAPER,
    Prediction,
    Scan,
    markup_of,
    measure,
    now_region,
    sample_surface,
)
from facewright.training.evaluation.similarity import Similarity, fit_similarity


@pytest.fixture(scope="module")
def model():
    return MorphableModel.load(asset_path(FACE_MODEL))


@pytest.fixture(scope="module")
def mean_landmarks(model):
    return model.mean_vertices[model.landmarks].astype(np.float64)


def face(model, seed):
    rng = np.random.default_rng(seed)
    shape = model.shape(rng.normal(size=(1, 80)), np.zeros((1, 64)))[0]
    return shape.astype(np.float64)


def some_pose(seed, scale=1.0):
    rng = np.random.default_rng([seed, 1])
    turn = Rotation.random(random_state=seed).as_matrix()
    return Similarity(np.array(scale), turn, rng.normal(size=3) * 200)


def scan_of(model, vertices, pose, markup=IBUG_68, *, seed=0, count=8000, slip=2.0):
    """Points spread evenly over a face in some pose, its landmarks picked with ``slip`` mm."""
    rng = np.random.default_rng(seed)
    landmarks = markup.weights @ vertices[model.landmarks]
    landmarks = landmarks + rng.normal(size=landmarks.shape) * slip
    seen = Prediction.of(model, vertices).surface.triangles
    points = sample_surface(vertices, seen, count, rng)
    return Scan(pose.apply(points), pose.apply(landmarks), markup)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("markup", [IBUG_68, NOW_7])
def test_a_face_against_itself_under_a_similarity(model, mean_landmarks, seed, markup):
    vertices = face(model, seed)
    pose = some_pose(seed, np.random.default_rng(seed).uniform(0.75, 1.35))
    scan = scan_of(model, vertices, pose, markup, seed=seed)
    protocol = PAPER if markup is IBUG_68 else NOW
    errors = measure(scan, Prediction.of(model, vertices), protocol, mean_landmarks)
    assert errors.mean < 0.01
    assert errors.distances.max() < 0.05
    np.testing.assert_allclose(errors.pose.scale, pose.scale, rtol=1e-4)
    np.testing.assert_allclose(errors.pose.rotation, pose.rotation, atol=1e-4)


@pytest.mark.parametrize("seed", range(2))
def test_the_vertices_of_a_face_as_its_scan(model, mean_landmarks, seed):
    vertices = face(model, seed)
    pose = some_pose(seed)
    scan = Scan(pose.apply(vertices), pose.apply(vertices[model.landmarks]), IBUG_68)
    skin = scan.points[np.isin(model.parts, (PART_SKIN, PART_EYEBALL))]
    prediction = Prediction.of(model, vertices)
    errors = measure(dataclasses.replace(scan, points=skin), prediction, PAPER, mean_landmarks)
    assert errors.mean < 1e-3


def test_only_the_crop_is_measured(model, mean_landmarks):
    vertices = face(model, 0)
    scan = scan_of(model, vertices, some_pose(0))
    prediction = Prediction.of(model, vertices)
    near = measure(scan, prediction, PAPER, mean_landmarks)
    far = np.random.default_rng(0).normal(size=(5000, 3))
    far = scan.landmarks[30] + far / np.linalg.norm(far, axis=1, keepdims=True) * 96
    both = dataclasses.replace(scan, points=np.concatenate([scan.points, far]))
    again = measure(both, prediction, PAPER, mean_landmarks)
    np.testing.assert_array_equal(np.sort(near.distances), np.sort(again.distances))


def test_the_nose_tip_is_found_where_it_was_not_picked(model, mean_landmarks):
    vertices = face(model, 3)
    pose = some_pose(3)
    scan = scan_of(model, vertices, pose, NOW_7, count=30000)
    center, radius = PAPER.crop(scan, mean_landmarks)
    assert radius == 95
    tip = pose.apply(vertices[None, model.landmarks[30]])[0]
    assert np.linalg.norm(center - tip) < 6


def test_what_the_model_lacks_does_not_pull(model, mean_landmarks):
    """Trimmed points: a growth of that size moves nothing, but is measured."""
    vertices = face(model, 1)
    scan = scan_of(model, vertices, some_pose(1))
    rng = np.random.default_rng(0)
    beard = scan.landmarks[8] + rng.normal(size=(600, 3)) * 12
    bearded = dataclasses.replace(scan, points=np.concatenate([scan.points, beard]))
    prediction = Prediction.of(model, vertices)
    trimmed = dataclasses.replace(PAPER, trim=0.12)
    errors = measure(bearded, prediction, trimmed, mean_landmarks)
    assert np.median(errors.distances) < 0.02
    assert measure(bearded, prediction, PAPER, mean_landmarks).median > 0.05
    assert errors.rmse > errors.mean > 0.2
    assert errors.median == pytest.approx(np.median(errors.distances))


def flat(side=60.0, height=0.0):
    x, y = np.meshgrid(np.linspace(-side, side, 31), np.linspace(-side, side, 31))
    vertices = np.stack([x, y, 0 * x + height], -1).reshape(-1, 3)
    a = (np.arange(30)[:, None] * 31 + np.arange(30)).reshape(-1, 1)
    return vertices, np.concatenate([a + [0, 1, 32], a + [0, 32, 31]])


def test_a_step_between_planes_that_no_motion_removes():
    """Half of the scan 3 mm above a plane, half 3 mm below: every point stays 3 mm away."""
    vertices, triangles = flat()
    rng = np.random.default_rng(0)
    places = rng.uniform(-40, 40, (2000, 2))
    points = np.concatenate([np.insert(places, 2, z, 1) for z in (3.0, -3.0)])
    start = Similarity(np.ones(()), np.eye(3), np.array([0, 0, 1.5]))
    found = register(Surface(vertices, triangles), points, start, scaled=True, trim=0.0)
    np.testing.assert_allclose(found.distances, 3, atol=1e-3)
    np.testing.assert_allclose(found.pose.rotation[2], [0, 0, 1], atol=1e-3)


def test_registration_minimizes_the_distance(model):
    """Against a general minimizer of the same sum of squares."""
    target = face(model, 5)
    prediction = Prediction.of(model, face(model, 6))
    rng = np.random.default_rng(0)
    points = sample_surface(target, prediction.surface.triangles, 400, rng)
    start = fit_similarity(prediction.landmarks, target[model.landmarks])
    found = register(prediction.surface, points, start, scaled=True, trim=0.0)

    def cost(x):
        turn = Rotation.from_rotvec(x[:3]).as_matrix() @ found.pose.rotation
        pose = Similarity(np.exp(x[6]) * found.pose.scale, turn, found.pose.translation + x[3:6])
        return ((pose.scale * prediction.surface.nearest(pose.undo(points)).distances) ** 2).sum()

    best = minimize(cost, np.zeros(7), method="Powell", options={"maxfev": 3000}).fun
    assert (found.distances**2).sum() == pytest.approx(cost(np.zeros(7)))
    assert (found.distances**2).sum() < best * 1.005


def test_a_tight_fit_of_the_scale_or_none_at_all(model, mean_landmarks):
    vertices = face(model, 2)
    scan = scan_of(model, vertices, some_pose(2, 1.05), NOW_7)
    prediction = Prediction.of(model, vertices)
    free = measure(scan, prediction, NOW, mean_landmarks)
    rigid = measure(scan, prediction, NOW_METRICAL, mean_landmarks)
    assert free.mean < 0.01
    assert float(rigid.pose.scale) == 1
    assert rigid.mean > 0.3


def test_the_region_of_now(model):
    """By hand: eyes 90 mm apart, nose base 50 mm below the bridge."""
    landmarks = np.array(
        [[-45, 50, 0], [-15, 50, 0], [15, 50, 0], [45, 50, 0], [0, 0, 0], [-25, -30, 0],
         [25, -30, 0]], float)  # fmt: skip
    center, radius = now_region(Scan(np.zeros((1, 3)), landmarks, NOW_7), np.zeros((68, 3)))
    np.testing.assert_allclose(center, [0, 15, 0])
    assert radius == pytest.approx(98)


def test_markups(mean_landmarks, model):
    np.testing.assert_allclose(FIVE_POINTS.weights @ mean_landmarks, model.five_points, atol=1e-5)
    assert markup_of(np.zeros((7, 3))) is NOW_7
    assert (IBUG_68.nose_tip, FIVE_POINTS.nose_tip, NOW_7.nose_tip) == (30, 2, None)
    with pytest.raises(ScanError, match="6 landmarks; known are 5"):
        markup_of(np.zeros((6, 3)))


def test_what_cannot_be_measured(model, mean_landmarks):
    vertices = face(model, 0)
    scan = scan_of(model, vertices, some_pose(0), count=2000)
    prediction = Prediction.of(model, vertices)

    def run(protocol=PAPER, **changes):
        measure(dataclasses.replace(scan, **changes), prediction, protocol, mean_landmarks)

    broken = scan.points.copy()
    broken[5] = np.nan
    with pytest.raises(ScanError, match="1 of the 2000 points of the scan"):
        run(points=broken)
    with pytest.raises(ScanError, match=r"\(0, 3\)"):
        run(points=np.zeros((0, 3)))
    with pytest.raises(ScanError, match="0 of 2000 points lie within 95 mm"):
        run(points=scan.points + 1000)
    with pytest.raises(ScanError, match="nose"):
        run(points=scan.points + 1000, landmarks=NOW_7.weights @ scan.landmarks, markup=NOW_7)
    with pytest.raises(ScanError, match="millimeters"):
        run(points=scan.points / 1000, landmarks=scan.landmarks / 1000)
    with pytest.raises(ScanError, match="finite"):
        run(landmarks=scan.landmarks * np.nan)
    with pytest.raises(ScanError, match="67 points are not"):
        run(landmarks=scan.landmarks[:67])
    with pytest.raises(ScanError, match="needs the 7 landmarks"):
        run(NOW)
    with pytest.raises(ScanError, match="mesh are not finite"):
        Prediction.of(model, vertices * np.inf)


def test_a_registration_that_runs_away():
    """A small ball in a large one: the scale does not stay near its start."""
    points = np.random.default_rng(0).normal(size=(500, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    sphere = _sphere(60.0)
    start = Similarity(np.array(1.0), np.eye(3), np.zeros(3))
    with pytest.raises(ScanError, match="factor"):
        register(sphere, points * 10, start, scaled=True, trim=0.0)


def _sphere(radius):
    points = np.random.default_rng(1).normal(size=(400, 3))
    points *= radius / np.linalg.norm(points, axis=1, keepdims=True)
    return Surface(points, ConvexHull(points).simplices)


def test_samples_are_spread_by_area():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 0, 0], [0, 3, 5]])
    triangles = np.array([[0, 1, 2], [0, 3, 4]])
    points = sample_surface(vertices, triangles, 20000, np.random.default_rng(0))
    small = np.abs(points[:, 2]) < 1e-12
    areas = np.linalg.norm(np.cross(vertices[triangles[:, 1]], vertices[triangles[:, 2]]), axis=1)
    assert small.mean() == pytest.approx(areas[0] / areas.sum(), abs=0.01)
    np.testing.assert_allclose(points[small].mean(0), [1 / 3, 1 / 3, 0], atol=0.02)
