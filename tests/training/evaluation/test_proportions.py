from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from facewright.models.camera import pose_points, project
from facewright.models.color import linear_from_srgb
from facewright.models.layout import LAYOUT_239
from facewright.training.appearance.tone import lab_from_linear
from facewright.training.evaluation.photos import Predictions
from facewright.training.evaluation.proportions import (
    albedo_figures,
    eye_opening,
    face_width,
    lightness,
    lightness_figures,
    mouth_opening,
    mouth_width,
    proportion_figures,
    reliability,
    slope,
)
from facewright.training.photos.conventions import LandmarkConvention
from facewright.training.photos.labels import PhotoLabels
from facewright.training.photos.rendering import render_faces

WHOLE_CROP = np.array([[1.0, 0, 0], [0, 1, 0]])


def faces(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.zeros((count, LAYOUT_239.size), np.float32)
    x[:, LAYOUT_239.identity] = rng.normal(size=(count, 80))
    x[:, LAYOUT_239.expression] = 0.5 * rng.normal(size=(count, 64))
    x[:, LAYOUT_239.albedo] = rng.normal(size=(count, 80))
    x[:, LAYOUT_239.light] = np.eye(9)[0]
    return x


def landmarks_of(model, x):
    parts = LAYOUT_239.split(x)
    shape = model.shape(parts.identity, parts.expression)[:, model.landmarks]
    return project(pose_points(shape, parts.rotation, parts.translation))


def figures_of(model, x, landmarks, yaw=None):
    yaw = np.zeros(len(x)) if yaw is None else yaw
    names = [f"{k}.png" for k in range(len(x))]
    labels = PhotoLabels(names, np.zeros((len(x), 5, 2)), None, landmarks, yaw)
    predictions = Predictions(np.tile(WHOLE_CROP, (len(x), 1, 1)), x)
    rows = proportion_figures(
        model, LAYOUT_239, labels, predictions, people=names, convention=None, on="test"
    )
    return {row.measure.split(" (")[0]: row for row in rows}


def test_a_network_that_follows_has_slopes_of_one(face_model) -> None:
    x = faces(12)
    figures = figures_of(face_model, x, landmarks_of(face_model, x))
    for title in ("mouth opening", "mouth width", "eye opening"):
        assert figures[f"slope of {title}"].value == pytest.approx(1, abs=1e-4)


def test_a_network_that_gives_everybody_one_face_has_slopes_of_zero(face_model) -> None:
    true = landmarks_of(face_model, faces(12))
    figures = figures_of(face_model, np.repeat(faces(1, seed=3), 12, axis=0), true)
    for title in ("mouth opening", "mouth width", "eye opening"):
        assert figures[f"slope of {title}"].value == pytest.approx(0, abs=1e-4)


def test_widths_of_faces_are_those_of_the_convention(face_model) -> None:
    x = faces(12)
    convention = LandmarkConvention(np.roll(face_model.landmarks, 1), np.zeros(68, bool))
    parts = LAYOUT_239.split(x)
    shape = face_model.shape(parts.identity, parts.expression)[:, convention.vertices]
    true = project(pose_points(shape, parts.rotation, parts.translation))
    labels = PhotoLabels([""] * 12, np.zeros((12, 5, 2)), true, true, np.zeros(12))
    predictions = Predictions(np.tile(WHOLE_CROP, (12, 1, 1)), x)
    rows = proportion_figures(
        face_model,
        LAYOUT_239,
        labels,
        predictions,
        people=list("aaabbbcccddd"),
        convention=convention,
        on="test",
    )
    of_photos, share, of_people = [row for row in rows if "face width" in row.measure]
    assert of_photos.value == pytest.approx(1, abs=1e-4)
    assert of_people.value == pytest.approx(1, abs=1e-4)
    assert of_people.measure.endswith("(4 people)")
    widths = face_width(true)
    assert share.value == pytest.approx(reliability(widths, np.repeat(range(4), 3)))


def test_turned_faces_do_not_count(face_model) -> None:
    x = faces(12)
    true = landmarks_of(face_model, x)
    true[6:] = landmarks_of(face_model, faces(6, seed=9))
    yaw = np.repeat([0.0, 45.0], 6)
    figures = figures_of(face_model, x, true, yaw)
    assert figures["slope of mouth width"].value == pytest.approx(1, abs=1e-4)


def test_proportions_do_not_depend_on_size_and_place() -> None:
    points = np.random.default_rng(1).uniform(0, 224, (3, 68, 2))
    turn = 1.7 * np.array([[0.8, 0.6], [-0.6, 0.8]])
    moved = points @ turn + [30.0, -8.0]
    for measure in (mouth_opening, mouth_width, eye_opening, face_width):
        np.testing.assert_allclose(measure(moved), measure(points), rtol=1e-9)


def test_slope_is_of_the_predicted_over_the_true() -> None:
    true = np.array([0.0, 1, 2, 3])
    assert slope(0.25 * true + 7, true) == pytest.approx(0.25)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_reliability_is_the_share_of_the_variance_between_people(share: float) -> None:
    rng = np.random.default_rng(5)
    person = np.repeat(np.arange(600), rng.integers(1, 6, 600))
    of_person = np.sqrt(share) * rng.normal(size=600)
    values = of_person[person] + np.sqrt(1 - share) * rng.normal(size=len(person)) + 3
    assert reliability(values, person) == pytest.approx(share, abs=0.06)


def test_a_perfect_network_has_the_slope_of_the_labels_reliability() -> None:
    rng = np.random.default_rng(6)
    person = np.repeat(np.arange(500), 4)
    known = rng.normal(size=500)[person]
    labels = known + 1.2 * rng.normal(size=len(person))
    assert slope(known, labels) == pytest.approx(reliability(labels, person), abs=0.05)


@pytest.mark.parametrize("person", [[0, 0, 0], [0, 1, 2]])
def test_reliability_of_what_nobody_can_tell(person: list[int]) -> None:
    with pytest.raises(ValueError, match="two people, and two values"):
        reliability(np.arange(3.0), np.array(person))


def test_lightness_of_a_photograph_that_is_the_drawing(face_model) -> None:
    x = faces(2)
    pictures, _ = render_faces(face_model, LAYOUT_239, x)
    found = lightness(face_model, LAYOUT_239, x, pictures.round().astype(np.uint8))
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=0.3)


def test_lightness_is_reported_by_thirds_of_the_photographs() -> None:
    photo = np.arange(9.0)
    drawn = photo + np.repeat([4.0, 0.0, -2.0], 3)
    dark, light = lightness_figures(np.stack([drawn, photo], 1)[::-1], "test")
    assert (dark.value, light.value) == (4.0, -2.0)


def test_albedo_of_two_photos_of_a_person(face_model) -> None:
    everywhere = np.ones(face_model.n_vertices, bool)
    face_model = dataclasses.replace(face_model, skin_region=everywhere)
    albedo = np.zeros((4, 80), np.float32)
    albedo[1, 0], albedo[3, 0] = 0.5, 2.0
    colors = face_model.albedo(albedo)[:, face_model.skin_region]
    skin = lab_from_linear(linear_from_srgb(colors))[..., 0].mean(1)
    (figure,) = albedo_figures(face_model, albedo, ["a", "a", "b", "b"], "test")
    expected = (abs(skin[0] - skin[1]) + abs(skin[2] - skin[3])) / 2
    assert figure.value == pytest.approx(expected, rel=1e-5)
    assert albedo_figures(face_model, albedo, ["a", "b", "c", "d"], "test") == []
