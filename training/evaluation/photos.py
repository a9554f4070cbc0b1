"""Errors of a network on photographs: landmarks, colors, and whether identities can be told apart.

Labels are those of `photos.labels`. The yaw of a photo is its label's, by
FaceMesh, so that the bins do not depend on the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from facewright.models.alignment import crop_transform
from facewright.models.arrays import Array
from facewright.models.camera import pose_points, project
from facewright.models.landmarks import JAW, LANDMARK_COUNT, LEFT_EYE, RIGHT_EYE
from facewright.models.layout import CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import initial_coefficients
from facewright.training.evaluation.measures import area_under_curve, box_size, landmark_distance
from facewright.training.evaluation.network import Network
from facewright.training.evaluation.report import Figure
from facewright.training.photos.conventions import LandmarkConvention
from facewright.training.photos.crops import cut_crop, map_points_back, read_photo
from facewright.training.photos.labels import PhotoLabels
from facewright.training.photos.people import PersonRule, normalize, person_of
from facewright.training.photos.rendering import color_errors

BATCH = 16
INNER = slice(JAW.stop, LANDMARK_COUNT)
OUTER_EYE_CORNERS = (LEFT_EYE.start, RIGHT_EYE.start + 3)
YAW_BINS = ((0, 30), (30, 60), (60, 90))
# Pairs of different people are sampled: there are tens of millions in a few thousand photos.
DIFFERENT_PAIRS = 1_000_000


def choose_photos(
    names: Sequence[str], limit: int | None, seed: int, rule: PersonRule | None = None
) -> Array:
    """Rows of whole people in random order, up to about `limit` photos; all if None.

    People with a single photo come last: they say less about identity.
    """
    if limit is None or limit >= len(names):
        return np.arange(len(names))
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(normalize(person_of(name, rule)), []).append(row)
    people = sorted(rows)
    order = np.random.default_rng(seed).permutation(len(people))
    by_value = sorted(order, key=lambda k: len(rows[people[k]]) < 2)
    chosen: list[int] = []
    for k in by_value:
        if len(chosen) >= limit:
            break
        chosen += rows[people[k]]
    return np.array(sorted(chosen))


class Predictions(NamedTuple):
    """What a network makes of N photos.

    transforms: (N, 2, 3), photo px to crop px.  coefficients: (N, layout.size) float32.
    """

    transforms: Array
    coefficients: Array


def predict_photos(
    network: Network,
    model: MorphableModel,
    directory: Path,
    labels: PhotoLabels,
    *,
    look: Callable[[Array, Array], None] = lambda crops_u8, coefficients: None,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> Predictions:
    """Cut the crops of photos and let a network predict their faces.

    Args:
        network: to evaluate.
        model: its face model.
        directory: of the photos.
        labels: of the photos to use.
        look: is shown every batch of crops (n, 224, 224, 3) and its coefficients, in order.
        track: wraps the loop over batches to show progress.

    Raises:
        ValueError: network and face model do not belong together, or there is no photo.
        UnreadablePhoto: a photo is missing or is no picture.
    """
    network.check(model)
    if not labels.names:
        raise ValueError("no photo has alignment points")
    transforms = np.stack([crop_transform(p, model.five_points) for p in labels.points])
    predicted = []
    for k in track(range(0, len(labels.names), BATCH)):
        rows = range(k, min(k + BATCH, len(labels.names)))
        crops = np.stack(
            [cut_crop(read_photo(directory / labels.names[r]), transforms[r]) for r in rows]
        )
        predicted.append(network.predict(crops))
        look(crops, predicted[-1])
    return Predictions(transforms, np.concatenate(predicted))


def projected_landmarks(
    model: MorphableModel,
    coefficients: Array,
    layout: CoefficientLayout,
    transforms: Array,
    vertices: Array | None = None,
) -> Array:
    """Landmarks (N, 68, 2) in photo px of coefficients (N, size) under crop transforms.

    `vertices` (68,) takes the place of the model's landmarks.
    """
    parts = layout.split(coefficients.astype(np.float32))
    chosen = model.landmarks if vertices is None else vertices
    shape = model.shape(parts.identity, parts.expression)[:, chosen]
    return map_points_back(
        transforms, project(pose_points(shape, parts.rotation, parts.translation))
    )


def landmark_figures(
    network: Network,
    model: MorphableModel,
    labels: PhotoLabels,
    predictions: Predictions,
    *,
    convention: LandmarkConvention | None,
    shift: tuple[float, float],
    measured_on: str,
) -> list[Figure]:
    """Errors of the landmarks beside the mean face's, under the crop's nominal camera.

    Rows without a remark compare the model's own landmarks with the labels as they are. Those
    "in the labels' convention" take the shift off the labels and put jaw and brows where the
    convention does. Photos whose landmarks are not all known are left out.
    """
    assert labels.landmarks is not None
    known = np.flatnonzero(np.isfinite(labels.landmarks).all((1, 2)))
    as_labeled = labels.landmarks[known]
    yaw = np.abs(labels.yaw[known])
    start = np.tile(initial_coefficients(network.layout).numpy(), (len(known), 1))
    figures: list[Figure] = []

    def predicted(vertices: Array | None) -> list[Array]:
        transforms = predictions.transforms[known]
        return [
            projected_landmarks(model, values, network.layout, transforms, vertices)
            for values in (predictions.coefficients[known], start)
        ]

    def compare(
        title: str, unit: str, points: list[Array], true: Array, part: slice, size: Array, rows: Any
    ) -> None:
        value, baseline = (
            float(
                100 * (landmark_distance(p[rows][:, part], true[rows][:, part]) / size[rows]).mean()
            )
            for p in points
        )
        figures.append(Figure(measured_on, f"error of {title}", unit, value, baseline))

    own, everyone = predicted(None), slice(None)
    box, eyes = box_size(as_labeled), _eye_distance(as_labeled)
    both = ((slice(None), "68 landmarks"), (INNER, "the inner 51 landmarks"))
    for part, title in both:
        compare(title, "% of face box", own, as_labeled, part, box, everyone)
    for part, title in both:
        compare(title, "% of eye distance", own, as_labeled, part, eyes, everyone)
    for low, high in YAW_BINS:
        rows = (yaw >= low) & (yaw < high)
        if rows.any():
            title = f"68 landmarks, label yaw {low}-{high}° ({rows.sum()} photos)"
            compare(title, "% of face box", own, as_labeled, slice(None), box, rows)
    if convention is not None:
        shifted = as_labeled - np.array(shift)
        for part, title in both:
            compare(
                f"{title}, in the labels' convention",
                "% of face box", predicted(convention.vertices), shifted, part, box, everyone,
            )  # fmt: skip
    return figures


Comparison = Literal["cosine", "distance"]


def identity_auc(
    identity: Array, people: Sequence[str], seed: int, comparison: Comparison = "cosine"
) -> tuple[float, int]:
    """How well the likeness of identities tells pairs of one person from pairs of two.

    Args:
        identity: (N, 80).
        people: of the N photos.
        seed: of the sampled pairs of different people.
        comparison: by the cosine, or by the Euclidean distance.

    Returns:
        Area under the curve, number of pairs of one person.
    """
    number = np.unique(np.asarray(people), return_inverse=True)[1]
    first, second = np.triu_indices(len(number), 1)
    same = number[first] == number[second]
    positive = np.flatnonzero(same)
    negative = np.flatnonzero(~same)
    if len(negative) > DIFFERENT_PAIRS:
        negative = np.random.default_rng(seed).choice(negative, DIFFERENT_PAIRS, replace=False)
    unit = identity / np.maximum(np.linalg.norm(identity, axis=1, keepdims=True), 1e-12)

    def likeness(pairs: Array) -> Array:
        if comparison == "cosine":
            cosine: Array = np.einsum("nk,nk->n", unit[first[pairs]], unit[second[pairs]])
            return cosine
        away: Array = -np.linalg.norm(identity[first[pairs]] - identity[second[pairs]], axis=1)
        return away

    return area_under_curve(likeness(positive), likeness(negative)), len(positive)


def identity_figures(identity: Array, people: Sequence[str], seed: int, on: str) -> list[Figure]:
    """The separability of identities (N, 80) by three likenesses; empty without two people."""
    if not 1 < len(set(people)) < len(people):
        return []
    by_cosine, pairs = identity_auc(identity, people, seed)
    centered, _ = identity_auc(identity - identity.mean(0), people, seed)
    by_distance, _ = identity_auc(identity, people, seed, "distance")
    remark = f"({pairs} same-person pairs)"
    return [
        Figure(on, f"identity AUC of cosine {remark}", "", by_cosine, 0.5),
        Figure(on, f"identity AUC of cosine {remark}, mean taken off", "", centered, 0.5),
        Figure(on, f"identity AUC of distance {remark}", "", by_distance, 0.5),
    ]


def evaluate_photos(
    network: Network,
    model: MorphableModel,
    directory: Path,
    labels: PhotoLabels,
    *,
    measured_on: str,
    convention: LandmarkConvention | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> list[Figure]:
    """Landmark errors, if there are landmarks, color errors, and the separability of identities.

    Args:
        network: to evaluate.
        model: its face model.
        directory: of the photos.
        labels: of the photos to use.
        measured_on: description of the data.
        convention: of the labels' landmarks, None to leave its rows out.
        shift: of the labels' landmarks, px right and down; of the convention's rows only.
        seed: of sampled pairs.
        track: wraps the loop over batches to show progress.

    Raises:
        ValueError: network and face model do not belong together, there is no photo, or one is
            missing or no picture.
    """
    start = initial_coefficients(network.layout).numpy()
    colors: list[Array] = []

    def look(crops_u8: Array, coefficients: Array) -> None:
        mean = np.tile(start, (len(crops_u8), 1))
        both = (coefficients, mean)
        colors.append(np.stack([color_errors(model, network.layout, x, crops_u8) for x in both]))

    predictions = predict_photos(network, model, directory, labels, look=look, track=track)
    figures = []
    if labels.landmarks is not None:
        figures += landmark_figures(
            network, model, labels, predictions,
            convention=convention, shift=shift, measured_on=measured_on,
        )  # fmt: skip
    value, baseline = np.nanmean(np.concatenate(colors, axis=1), axis=1)
    name = "mean color difference in the region of the face"
    figures.append(Figure(measured_on, name, "of 255", float(value), float(baseline)))
    identity = network.layout.split(predictions.coefficients).identity
    people = [normalize(person_of(name)) for name in labels.names]
    return figures + identity_figures(identity, people, seed, measured_on)


def _eye_distance(landmarks: Array) -> Array:
    """Distance (N,) of the outer corners of the eyes of landmarks (N, 68, 2)."""
    left, right = OUTER_EYE_CORNERS
    distance: Array = np.linalg.norm(landmarks[:, left] - landmarks[:, right], axis=1)
    return distance
