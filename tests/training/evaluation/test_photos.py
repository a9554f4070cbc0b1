import dataclasses

import cv2
import numpy as np
import pytest

from facewright.models.alignment import crop_transform
from facewright.models.camera import pose_points, project
from facewright.models.layout import LAYOUT_239
from facewright.training.evaluation.network import Network
from facewright.training.evaluation.photos import (
    choose_photos,
    evaluate_photos,
    identity_auc,
    identity_figures,
    projected_landmarks,
)
from facewright.training.photos.conventions import LandmarkConvention
from facewright.training.photos.crops import cut_crop, map_points_back, read_photo
from facewright.training.photos.labels import PhotoLabels
from facewright.training.photos.people import person_of
from facewright.training.photos.rendering import color_errors, render_faces
from tests.replayed_networks import replay


@pytest.fixture
def album(tmp_path, face_model):
    """Photos of noise of three people, three each, with landmarks of known faces."""
    rng = np.random.default_rng(0)
    x = np.zeros((9, 239), np.float32)
    x[:, LAYOUT_239.identity] = np.repeat(rng.normal(size=(3, 80)), 3, axis=0)
    x[:, LAYOUT_239.identity] += 0.1 * rng.normal(size=(9, 80))
    x[:, LAYOUT_239.rotation] = rng.normal(size=(9, 3)) * 0.2
    x[:, LAYOUT_239.light] = np.eye(9)[0]
    template = face_model.five_points
    points = 1.5 * template[:, :2] * [1, -1] + 130 + rng.normal(size=(9, 5, 2))
    transforms = np.stack([crop_transform(p, template) for p in points])
    landmarks = true_landmarks(face_model, face_model.landmarks, x, transforms)
    names = [f"Person_{k // 3}_{k:02d}.png" for k in range(9)]
    for name in names:
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 256, (260, 260, 3), np.uint8))
    yaw = np.array([0, 10, -20, 31, -40, 59, 61, -70, 80.0])
    return tmp_path, x, PhotoLabels(names, points, landmarks, landmarks, yaw), transforms


def true_landmarks(model, vertices, x, transforms):
    shape = model.shape(x[:, :80], x[:, 80:144])[:, vertices]
    return map_points_back(transforms, project(pose_points(shape, x[:, 233:236], x[:, 236:])))


def measure(network, model, album, **options):
    directory, _, labels, _ = album
    figures = evaluate_photos(network, model, directory, labels, measured_on="test", **options)
    by_name = {(figure.measure, figure.unit): figure for figure in figures}
    assert len(by_name) == len(figures)
    return by_name


def test_photos_of_known_faces(album, face_model):
    _, x, labels, transforms = album
    np.testing.assert_allclose(
        projected_landmarks(face_model, x, LAYOUT_239, transforms), labels.landmarks, atol=1e-3
    )
    figures = measure(replay(x), face_model, album)
    landmarks = [figure for (name, _), figure in figures.items() if "landmarks" in name]
    assert len(landmarks) == 7
    for figure in landmarks:
        assert figure.value < 1e-3 < 1 < figure.baseline
    assert figures["identity AUC of cosine (9 same-person pairs)", ""].value == 1.0
    assert figures["identity AUC of distance (9 same-person pairs)", ""].value == 1.0
    # Noise, averaged where the crop shrinks it.
    assert 20 < figures["mean color difference in the region of the face", "of 255"].value < 130


def test_a_known_landmark_error_is_measured(album, face_model):
    directory, x, labels, transforms = album
    size = np.sqrt(np.prod(labels.landmarks.max(1) - labels.landmarks.min(1), axis=1))
    step = size[:, None, None] * [0.03, 0.04] * np.arange(9)[:, None, None]
    moved = dataclasses.replace(labels, landmarks=labels.landmarks + step)
    figures = measure(replay(x), face_model, (directory, x, moved, transforms))
    box = "% of face box"
    assert figures["error of 68 landmarks", box].value == pytest.approx(20, abs=0.01)
    assert figures["error of the inner 51 landmarks", box].value == pytest.approx(20, abs=0.01)
    eyes = np.linalg.norm(labels.landmarks[:, 36] - labels.landmarks[:, 45], axis=1)
    expected = (5 * np.arange(9) * size / eyes).mean()
    by_eyes = figures["error of 68 landmarks", "% of eye distance"].value
    assert by_eyes == pytest.approx(expected, rel=1e-3)
    # The album's yaws: 0, 10, -20; 31, -40, 59; 61, -70, 80.
    for low, value in ((0, 5), (30, 20), (60, 35)):
        title = f"error of 68 landmarks, label yaw {low}-{low + 30}° (3 photos)"
        assert figures[title, box].value == pytest.approx(value, abs=0.01)


def test_the_convention_is_applied_to_its_own_rows_only(album, face_model):
    directory, x, labels, transforms = album
    vertices = face_model.landmarks.copy()
    vertices[:17] = np.roll(vertices[:17], 3)
    landmarks = true_landmarks(face_model, vertices, x, transforms) + [1.5, -0.5]
    album = (directory, x, dataclasses.replace(labels, landmarks=landmarks), transforms)
    convention = LandmarkConvention(vertices, np.zeros(68, bool))
    figures = measure(replay(x), face_model, album, convention=convention, shift=(1.5, -0.5))
    box = "% of face box"
    for title in ("68 landmarks", "the inner 51 landmarks"):
        assert figures[f"error of {title}, in the labels' convention", box].value < 1e-3
    assert figures["error of 68 landmarks", box].value > 0.5


def test_colors_of_a_drawn_face_are_its_own(album, face_model):
    """A photograph that is the drawing has no error; one that is brighter by 20 has 20."""
    _, x, _, _ = album
    x[:, LAYOUT_239.light] *= 0.9
    pictures, regions = render_faces(face_model, LAYOUT_239, x)
    assert regions.any((1, 2)).all()
    assert not regions.all((1, 2)).any()
    photos = np.rint(pictures).astype(np.uint8)
    photos[~regions] = 255
    assert color_errors(face_model, LAYOUT_239, x, photos).max() <= 0.5
    assert photos[regions].max() < 236
    brighter = photos + np.uint8(20) * regions[..., None].astype(np.uint8)
    errors = color_errors(face_model, LAYOUT_239, x, brighter)
    np.testing.assert_allclose(errors, 20, atol=0.5)
    away = x.copy()
    away[0, LAYOUT_239.translation] = [50, 0, 0]
    assert np.isnan(color_errors(face_model, LAYOUT_239, away, photos)[0])


def test_the_crop_that_is_evaluated_is_the_one_at_the_points(album, face_model):
    directory, x, labels, transforms = album
    seen = []

    def predict(crops):
        seen.extend(crops)
        return x[: len(crops)]

    measure(Network(predict, LAYOUT_239, ""), face_model, album)
    photo = read_photo(directory / labels.names[4])
    np.testing.assert_array_equal(seen[4], cut_crop(photo, transforms[4]))
    with pytest.raises(ValueError, match="face model"):
        measure(replay(x, "other"), face_model, album)
    (directory / labels.names[2]).unlink()
    with pytest.raises(ValueError, match="Person_0_02"):
        measure(replay(x), face_model, album)


def test_whole_people_are_chosen_those_with_several_photos_first():
    names = [f"P{p}/P{p}_{k}.jpg" for p in range(10) for k in range(3 if p < 5 else 1)]
    rows = choose_photos(names, 6, seed=0)
    people = [person_of(names[k]) for k in rows]
    assert sorted(map(people.count, set(people))) == [3, 3]
    np.testing.assert_array_equal(choose_photos(names, None, seed=0), np.arange(len(names)))
    np.testing.assert_array_equal(rows, choose_photos(names, 6, seed=0))
    assert len(choose_photos(names, 17, seed=0)) == 17


@pytest.mark.parametrize("comparison", ["cosine", "distance"])
def test_auc_against_every_pair(comparison):
    rng = np.random.default_rng(0)
    people = [f"p{k // 3}" for k in range(24)]
    centers = rng.normal(size=(8, 80))
    identity = np.repeat(centers, 3, axis=0) + 2.5 * rng.normal(size=(24, 80))
    auc, pairs = identity_auc(identity, people, 0, comparison)
    same, different = [], []
    for i in range(24):
        for j in range(i):
            norms = np.linalg.norm(identity[i]) * np.linalg.norm(identity[j])
            likeness = {
                "cosine": identity[i] @ identity[j] / norms,
                "distance": -np.sqrt(((identity[i] - identity[j]) ** 2).sum()),
            }[comparison]
            (same if people[i] == people[j] else different).append(likeness)
    wins = sum((p > n) + 0.5 * (p == n) for p in same for n in different)
    assert auc == pytest.approx(wins / len(same) / len(different))
    assert pairs == len(same) == 24
    assert 0.6 < auc < 1


def test_likenesses_differ_by_the_mean_and_the_lengths():
    rng = np.random.default_rng(0)
    people = [f"p{k // 2}" for k in range(20)]
    identity = np.repeat(rng.normal(size=(10, 80)), 2, axis=0) + rng.normal(size=(20, 80))
    plain, centered, distance = identity_figures(identity, people, 0, "test")
    moved = identity_figures(identity + 3, people, 0, "test")
    assert moved[0].value != plain.value
    assert moved[1].value == pytest.approx(centered.value)
    assert moved[2].value == pytest.approx(distance.value)
    scaled = identity * rng.uniform(0.5, 2, (20, 1))
    again = identity_figures(scaled, people, 0, "test")
    assert again[0].value == pytest.approx(plain.value)
    assert again[2].value != distance.value
    assert identity_figures(identity, [f"p{k}" for k in range(20)], 0, "test") == []
    assert identity_figures(identity, ["p"] * 20, 0, "test") == []
