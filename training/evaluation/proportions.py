"""Do predicted faces follow the photographs: mouths and eyes, widths of faces, lightness of skin?

A network that errs towards the mean has small errors and dull faces. The slope of what it predicts
over what a photograph shows tells them apart: 1 for a network that follows, 0 for one that does
not. Proportions are ratios within the picture, so that neither size nor roll counts, of
photographs that are turned away little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facewright.models.color import linear_from_srgb
from facewright.models.layout import CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.training.appearance.tone import lab_from_linear
from facewright.training.evaluation.network import Network
from facewright.training.evaluation.photos import (
    OUTER_EYE_CORNERS,
    Predictions,
    predict_photos,
    projected_landmarks,
)
from facewright.training.evaluation.report import Figure
from facewright.training.photos.conventions import LandmarkConvention
from facewright.training.photos.labels import PhotoLabels
from facewright.training.photos.people import number_people
from facewright.training.photos.rendering import drawn_and_seen

Array = npt.NDArray[Any]

LARGEST_YAW = 30.0
"""Degrees: ratios of farther turned faces say little."""
CLOSED = 0.08
"""Height over width of an eye below which its lids are closed."""
PHOTOS_OF_A_MEAN = 3
"""Photos of a person that a mean over them needs."""
_LIDS = (((37, 41), (38, 40), (36, 39)), ((43, 47), (44, 46), (42, 45)))
_INNER_LIPS = ((61, 67), (62, 66), (63, 65))
_MOUTH = (48, 54)
_FACE = (1, 15)


def mouth_opening(landmarks: Array) -> Array:
    """Height (N,) of the gap between the lips over the distance of the outer eye corners."""
    return _mean_length(landmarks, _INNER_LIPS) / _length(landmarks, OUTER_EYE_CORNERS)


def mouth_width(landmarks: Array) -> Array:
    """Distance (N,) of the mouth's corners over that of the outer eye corners."""
    return _length(landmarks, _MOUTH) / _length(landmarks, OUTER_EYE_CORNERS)


def eye_opening(landmarks: Array) -> Array:
    """Height over width (N,) of the two eyes' openings, averaged."""
    sides = [
        _mean_length(landmarks, (first, second)) / _length(landmarks, corners)
        for first, second, corners in _LIDS
    ]
    opening: Array = np.mean(sides, axis=0)
    return opening


def face_width(landmarks: Array) -> Array:
    """Width (N,) of the face below the ears over the distance of the outer eye corners."""
    return _length(landmarks, _FACE) / _length(landmarks, OUTER_EYE_CORNERS)


def slope(predicted: Array, true: Array) -> float:
    """Of the least-squares line of predicted over true values, both (N,)."""
    deviation = true - true.mean()
    return float(deviation @ (predicted - predicted.mean()) / (deviation @ deviation))


def reliability(values: Array, person: Array) -> float:
    """Share of the variance of ``values`` (N,) between people, who are given as numbers (N,).

    The intraclass correlation ICC(1) of Shrout and Fleiss 1979, for people with unequal numbers of
    photos: what is measured twice of one person and differs is no property of the person.  A
    network that knew every person exactly could not have a slope above it over noisy labels.

    Raises:
        ValueError: no person has two values, or there is one person only.
    """
    _, person, counts = np.unique(person, return_inverse=True, return_counts=True)
    people, n = len(counts), len(values)
    if people < 2 or n == people:
        raise ValueError("reliability needs two people, and two values of at least one of them")
    means = np.bincount(person, values) / counts
    within = float(np.square(values - means[person]).sum()) / (n - people)
    mean_square = float(counts @ np.square(means - values.mean())) / (people - 1)
    size = (n - float(np.square(counts).sum()) / n) / (people - 1)
    between = max(0.0, (mean_square - within) / size)
    return between / (between + within) if between + within else 0.0


def proportion_figures(
    model: MorphableModel,
    layout: CoefficientLayout,
    labels: PhotoLabels,
    predictions: Predictions,
    *,
    people: list[str],
    convention: LandmarkConvention | None,
    on: str,
) -> list[Figure]:
    """Slopes of proportions, and the aspect of eyes that are closed.

    Mouths and eyes are compared with FaceMesh's points; the width of faces with the collection's
    own 68 landmarks, where it has them and their convention is known.  It is a property of the
    person, so people with several photos tell how much of the labels' variance is noise
    (`reliability`), and means over a person's photos have less of it.
    """
    near = np.abs(labels.yaw) < LARGEST_YAW

    def predicted(vertices: Array | None = None) -> Array:
        points: Array = projected_landmarks(
            model, predictions.coefficients, layout, predictions.transforms, vertices
        )
        return points

    figures = []
    own = predicted()
    for title, measure in (
        ("mouth opening", mouth_opening),
        ("mouth width", mouth_width),
        ("eye opening", eye_opening),
    ):
        true = measure(labels.of_mesh)
        rows = near & np.isfinite(true)
        if rows.sum() > 2:
            value = slope(measure(own[rows]), true[rows])
            figures.append(Figure(on, f"slope of {title} ({rows.sum()} photos)", "", value, 0.0))
    true = eye_opening(labels.of_mesh)
    shut = near & (true < CLOSED)
    if shut.any():
        title = f"height over width of closed eyes ({shut.sum()} photos)"
        value, known = float(eye_opening(own[shut]).mean()), float(true[shut].mean())
        figures.append(Figure(on, f"{title}; as baseline FaceMesh's", "", value, known))
    if labels.landmarks is not None and convention is not None:
        true = face_width(labels.landmarks)
        rows = near & np.isfinite(true)
        if rows.sum() > 2:
            found, true = face_width(predicted(convention.vertices)[rows]), true[rows]
            title = f"slope of face width, in the labels' convention ({rows.sum()} photos)"
            figures.append(Figure(on, title, "", slope(found, true), 0.0))
            figures += _width_by_person(found, true, number_people(people)[rows], on)
    return figures


def _width_by_person(found: Array, true: Array, person: Array, on: str) -> list[Figure]:
    _, person, counts = np.unique(person, return_inverse=True, return_counts=True)
    several = counts >= PHOTOS_OF_A_MEAN
    if several.sum() < 3:
        return []
    share = reliability(true, person)
    of_found, of_true = ((np.bincount(person, x) / counts)[several] for x in (found, true))
    title = f"slope of face width of a person's mean ({several.sum()} people)"
    return [
        Figure(on, "share of the labels' variance of face width between people", "", share, None),
        Figure(on, title, "", slope(of_found, of_true), 0.0),
    ]


def evaluate_proportions(
    network: Network,
    model: MorphableModel,
    directory: Path,
    labels: PhotoLabels,
    people: list[str],
    *,
    measured_on: str,
    convention: LandmarkConvention | None = None,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> list[Figure]:
    """Slopes of proportions, lightness of drawn faces, and how constant a person's skin is.

    Args:
        network: to evaluate.
        model: its face model.
        directory: of the photos.
        labels: of the photos to use.
        people: of the photos.
        measured_on: description of the data.
        convention: of the labels' own landmarks, None to leave the width of faces out.
        track: wraps the loop over batches to show progress.

    Raises:
        ValueError: network and face model do not belong together, there is no photo, or one is
            missing or no picture.
    """
    layout = network.layout
    drawn: list[Array] = []

    def look(crops_u8: Array, coefficients: Array) -> None:
        drawn.append(lightness(model, layout, coefficients, crops_u8))

    predictions = predict_photos(network, model, directory, labels, look=look, track=track)
    figures = proportion_figures(
        model,
        layout,
        labels,
        predictions,
        people=people,
        convention=convention,
        on=measured_on,
    )
    figures += lightness_figures(np.concatenate(drawn), measured_on)
    albedo = layout.split(predictions.coefficients).albedo
    return figures + albedo_figures(model, albedo, people, measured_on)


def lightness(
    model: MorphableModel, layout: CoefficientLayout, coefficients: Array, crops_u8: Array
) -> Array:
    """Mean L* (N, 2) of faces as drawn and of the photographs beneath them.

    Args:
        model: the face model.
        layout: of the coefficients.
        coefficients: (N, size).
        crops_u8: (N, 224, 224, 3) uint8 RGB.

    Returns:
        Over the pixels of the drawn face; NaN where there is none.
    """
    found = []
    for both in drawn_and_seen(model, layout, coefficients, crops_u8):
        lab = lab_from_linear(linear_from_srgb(both / np.float32(255)))
        found.append(lab[..., 0].mean(1) if both.size else np.full(2, np.nan))
    return np.array(found)


def lightness_figures(found: Array, on: str) -> list[Figure]:
    """Drawn minus photographed L* in the darkest and the lightest third, of ``found`` (N, 2)."""
    found = found[np.isfinite(found).all(1)]
    order = np.argsort(found[:, 1])
    third = len(order) // 3
    figures = []
    for title, rows in (("darkest", order[:third]), ("lightest", order[len(order) - third :])):
        if third:
            value = float((found[rows, 0] - found[rows, 1]).mean())
            figures.append(
                Figure(on, f"drawn minus photographed, {title} third", "L*", value, None)
            )
    return figures


def albedo_figures(
    model: MorphableModel, albedo: Array, people: list[str], on: str
) -> list[Figure]:
    """How far two photos of a person are apart in the lightness of the skin's albedo.

    Args:
        model: the face model.
        albedo: (N, 80) coefficients.
        people: of the N photos.
        on: description of the data.

    Returns:
        The mean absolute difference over all pairs of one person, every person counting the same;
        the baseline is that of pairs of different people. Empty without pairs.
    """
    colors = model.albedo(albedo.astype(np.float32))[:, model.skin_region]
    skin = lab_from_linear(linear_from_srgb(colors))[..., 0].mean(1)
    number = number_people(people)
    apart = np.abs(skin[:, None] - skin[None])
    same = (number[:, None] == number[None]) & ~np.eye(len(number), dtype=bool)
    pairs = same.sum(1)
    if not pairs.any():
        return []
    each = [
        apart[np.ix_(number == k, number == k)].sum() / (n * (n - 1))
        for k, n in zip(*np.unique(number[pairs > 0], return_counts=True), strict=True)
    ]
    different = float(apart[number[:, None] != number[None]].mean())
    title = f"skin of two photos of a person apart ({len(each)} people); baseline: of two people"
    return [Figure(on, title, "L*", float(np.mean(each)), different)]


def _length(landmarks: Array, pair: tuple[int, int]) -> Array:
    first, second = pair
    length: Array = np.linalg.norm(landmarks[:, first] - landmarks[:, second], axis=1)
    return length


def _mean_length(landmarks: Array, pairs: tuple[tuple[int, int], ...]) -> Array:
    length: Array = np.mean([_length(landmarks, pair) for pair in pairs], axis=0)
    return length
