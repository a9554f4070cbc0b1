"""Errors of a network on photographs: landmarks, and whether identities can be told apart.

Label files are ``.npz`` with ``names`` (N,), paths relative to the photo directory, and
``mesh468`` (N, 468, 3), FaceMesh points in px with pixel centres at integers and NaN where no
face was found; optionally ``landmarks68`` (N, 68, 2) in the same coordinates. A person is the
folder of a photo, or the name of the file up to its last underscore.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.alignment import crop_transform
from models.camera import CROP_SIZE, pose_points, project
from models.landmarks import JAW, LANDMARK_COUNT
from models.layout import CoefficientLayout
from models.morphable_model import MorphableModel
from models.rnet_torch import initial_coefficients
from training.evaluation.measures import area_under_curve, box_size, landmark_distance
from training.evaluation.network import Network
from training.evaluation.report import Figure

Array = npt.NDArray[Any]

BATCH = 16
PIXEL_CENTRE = 0.5
# FaceMesh: corners of the image-left and image-right eye, nose tip, mouth corners.
LEFT_EYE, RIGHT_EYE = (33, 133), (362, 263)
NOSE_TIP, LEFT_MOUTH, RIGHT_MOUTH = 1, 61, 291
INNER = slice(JAW.stop, LANDMARK_COUNT)
# Pairs of different people are sampled: there are tens of millions in a few thousand photos.
DIFFERENT_PAIRS = 1_000_000


@dataclass(frozen=True, eq=False)
class PhotoLabels:
    """Labels of N photos, in continuous coordinates (pixel centres at halves).

    Attributes:
        names: file names relative to the photo directory.
        points: (N, 5, 2) px, in the order of :mod:`models.alignment`; NaN where unknown.
        landmarks: (N, 68, 2) px, or None.
    """

    names: Sequence[str]
    points: Array
    landmarks: Array | None

    def take(self, rows: Array) -> PhotoLabels:
        """Labels of some photos."""
        return PhotoLabels(
            [self.names[k] for k in rows],
            self.points[rows],
            None if self.landmarks is None else self.landmarks[rows],
        )


def five_points(mesh468: Array) -> Array:
    """The alignment points (N, 5, 2) of FaceMesh points (N, 468, 2 or 3)."""
    mesh = mesh468[..., :2]
    return np.stack(
        [
            mesh[:, LEFT_EYE].mean(1),
            mesh[:, RIGHT_EYE].mean(1),
            mesh[:, NOSE_TIP],
            mesh[:, LEFT_MOUTH],
            mesh[:, RIGHT_MOUTH],
        ],
        axis=1,
    )


def read_labels(path: Path, points_path: Path | None = None) -> PhotoLabels:
    """Read a label file; photos without alignment points are left out.

    Args:
        path: the label file.
        points_path: ``.npz`` with ``names`` and ``points`` (N, 5, 2) px, pixel centres at halves,
            to align by instead, such as a detector's.

    Raises:
        KeyError: an array is missing. FileNotFoundError: no such file.
    """
    with np.load(path) as file:
        names = [str(name) for name in file["names"]]
        points = five_points(file["mesh468"].astype(np.float64)) + PIXEL_CENTRE
        landmarks = None
        if "landmarks68" in file:
            landmarks = file["landmarks68"].astype(np.float64) + PIXEL_CENTRE
    if points_path is not None:
        with np.load(points_path) as file:
            given = dict(zip(map(str, file["names"]), file["points"], strict=True))
        points = np.stack([given.get(name, np.full((5, 2), np.nan)) for name in names])
    labels = PhotoLabels(names, points, landmarks)
    return labels.take(np.flatnonzero(np.isfinite(points).all((1, 2))))


def person_of(name: str) -> str:
    """The person on a photo, by its file name."""
    path = PurePosixPath(name)
    if len(path.parts) > 1:
        return path.parts[-2]
    return re.sub(r"_[^_]*$", "", path.stem)


def choose_photos(names: Sequence[str], limit: int | None, seed: int) -> Array:
    """Rows of whole people in random order, up to about ``limit`` photos; all if None.

    People with a single photo come last: they say less about identity.
    """
    if limit is None or limit >= len(names):
        return np.arange(len(names))
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(person_of(name), []).append(row)
    people = sorted(rows)
    order = np.random.default_rng(seed).permutation(len(people))
    by_value = sorted(order, key=lambda k: len(rows[people[k]]) < 2)
    chosen: list[int] = []
    for k in by_value:
        if len(chosen) >= limit:
            break
        chosen += rows[people[k]]
    return np.array(sorted(chosen))


def cut_crop(photo_rgb_u8: Array, transform: Array) -> Array:
    """The crop (224, 224, 3) uint8 under ``transform`` (2, 3), photo px to crop px.

    Shrinking averages the pixels it covers. Outside the photo is black.
    """
    zoom = float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
    finer = max(1, int(np.ceil(1 / zoom)))
    matrix = finer * transform
    # OpenCV's pixel centres lie at integers.
    matrix[:, 2] += PIXEL_CENTRE * matrix[:, :2].sum(1) - PIXEL_CENTRE
    size = (finer * CROP_SIZE, finer * CROP_SIZE)
    crop = cv2.warpAffine(photo_rgb_u8, matrix, size, flags=cv2.INTER_LINEAR)
    if finer > 1:
        crop = cv2.resize(crop, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA)
    return crop


def projected_landmarks(
    model: MorphableModel, coefficients: Array, layout: CoefficientLayout, transforms: Array
) -> Array:
    """Landmarks (N, 68, 2) in photo px of coefficients (N, size) under crop transforms."""
    parts = layout.split(coefficients.astype(np.float32))
    shape = model.shape(parts.identity, parts.expression)[:, model.landmarks]
    crop_px = project(pose_points(shape, parts.rotation, parts.translation))
    back = np.linalg.inv(transforms[:, :, :2])
    return np.einsum("nij,nlj->nli", back, crop_px - transforms[:, None, :, 2])


def identity_auc(identity: Array, people: Sequence[str], seed: int) -> tuple[float, int]:
    """How well the cosine between identities tells pairs of one person from pairs of two.

    Args:
        identity: (N, 80).
        people: of the N photos.
        seed: of the sampled pairs of different people.

    Returns:
        Area under the curve, number of pairs of one person.
    """
    unit = identity / np.maximum(np.linalg.norm(identity, axis=1, keepdims=True), 1e-12)
    number = np.unique(np.asarray(people), return_inverse=True)[1]
    first, second = np.triu_indices(len(number), 1)
    same = number[first] == number[second]
    positive = np.flatnonzero(same)
    negative = np.flatnonzero(~same)
    if len(negative) > DIFFERENT_PAIRS:
        negative = np.random.default_rng(seed).choice(negative, DIFFERENT_PAIRS, replace=False)

    def cosine(pairs: Array) -> Array:
        similarity: Array = np.einsum("nk,nk->n", unit[first[pairs]], unit[second[pairs]])
        return similarity

    return area_under_curve(cosine(positive), cosine(negative)), len(positive)


def evaluate_photos(
    network: Network,
    model: MorphableModel,
    directory: Path,
    labels: PhotoLabels,
    *,
    measured_on: str,
    seed: int = 0,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> list[Figure]:
    """Landmark errors, if there are landmarks, and the separability of identities.

    Args:
        network: to evaluate.
        model: its face model.
        directory: of the photos.
        labels: of the photos to use.
        measured_on: description of the data.
        seed: of sampled pairs.
        track: wraps the loop over batches to show progress.

    Raises:
        ValueError: network and face model do not belong together, or there is no photo.
        FileNotFoundError: a photo is missing or is no picture.
    """
    if network.face_model_sha256 not in ("", model.sha256):
        raise ValueError(f"the network is of face model {network.face_model_sha256}")
    if not labels.names:
        raise ValueError("no photo has alignment points")
    transforms = np.stack([crop_transform(points, model.five_points) for points in labels.points])
    predicted = []
    for k in track(range(0, len(labels.names), BATCH)):
        rows = range(k, min(k + BATCH, len(labels.names)))
        crops = [cut_crop(_read(directory / labels.names[r]), transforms[r]) for r in rows]
        predicted.append(network.predict(np.stack(crops)))
    coefficients = np.concatenate(predicted)
    figures = []
    if labels.landmarks is not None:
        known = np.flatnonzero(np.isfinite(labels.landmarks).all((1, 2)))
        true = labels.landmarks[known]
        start = np.tile(initial_coefficients(network.layout).numpy(), (len(known), 1))
        found, mean = (
            projected_landmarks(model, values, network.layout, transforms[known])
            for values in (coefficients[known], start)
        )
        size = box_size(true)
        for part, title in ((slice(None), "68 landmarks"), (INNER, "the inner 51 landmarks")):
            value, baseline = (
                float(100 * (landmark_distance(points[:, part], true[:, part]) / size).mean())
                for points in (found, mean)
            )
            figures.append(
                Figure(measured_on, f"error of {title}", "% of face box", value, baseline)
            )
    people = [person_of(name) for name in labels.names]
    if len(set(people)) < len(people) and len(set(people)) > 1:
        identity = network.layout.split(coefficients).identity
        auc, pairs = identity_auc(identity, people, seed)
        centred, _ = identity_auc(identity - identity.mean(0), people, seed)
        measure = f"identity AUC of cosine ({pairs} same-person pairs)"
        figures.append(Figure(measured_on, measure, "", auc, 0.5))
        figures.append(Figure(measured_on, f"{measure}, mean taken off", "", centred, 0.5))
    return figures


def _read(path: Path) -> Array:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"no picture at {path}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
