"""A network over a scan benchmark: predictions, their files, their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from facewright.models.alignment import crop_transform
from facewright.models.arrays import Array
from facewright.models.morphable_model import MorphableModel
from facewright.training.evaluation.benchmarks import Benchmark, BenchmarkPhoto
from facewright.training.evaluation.errors import ScanError
from facewright.training.evaluation.network import Network
from facewright.training.evaluation.report import Figure
from facewright.training.evaluation.scan_files import write_obj
from facewright.training.evaluation.scans import (
    NOW_LANDMARKS,
    Prediction,
    Protocol,
    ScanErrors,
    measure,
)
from facewright.training.photos.crops import cut_crop, read_photo
from facewright.training.photos.faces import Face

Track = Callable[[Iterable[int]], Iterable[int]]

BATCH = 16


def with_points(
    benchmark: Benchmark, faces: Mapping[str, Face]
) -> list[tuple[BenchmarkPhoto, Array]]:
    """The photos in which a face was found, with its alignment points (5, 2).

    Names are relative to the benchmark's folder or to the folder of its photos.

    Raises:
        ScanError: there is none.
    """
    found = []
    for photo in benchmark.photos:
        for folder in (benchmark.root, benchmark.photo_root):
            name = photo.path.relative_to(folder).as_posix()
            if name in faces:
                found.append((photo, faces[name].points))
                break
    if not found:
        first = benchmark.photos[0].path.relative_to(benchmark.root).as_posix()
        raise ScanError(f"no alignment points for any photo, such as {first}")
    return found


def predict_identities(
    network: Network,
    model: MorphableModel,
    photos: Sequence[tuple[BenchmarkPhoto, Array]],
    track: Track = lambda rows: rows,
) -> Array:
    """Identity coefficients (N, 80) of photos with their alignment points.

    Raises:
        ValueError: network and face model do not belong together.
        UnreadablePhoto: a photo is missing or is no picture.
    """
    network.check(model)
    identities = []
    for k in track(range(0, len(photos), BATCH)):
        crops = [
            cut_crop(read_photo(photo.path), crop_transform(points, model.five_points))
            for photo, points in photos[k : k + BATCH]
        ]
        identities.append(network.layout.split(network.predict(np.stack(crops))).identity)
    return np.concatenate(identities)


def neutral_shape(model: MorphableModel, identity: Array) -> Array:
    """The face (V, 3) of identity coefficients (80,), without expression, mm."""
    vertices: Array = model.shape(identity[None], np.zeros((1, model.n_expression)))[0]
    return vertices


def write_predictions(
    model: MorphableModel,
    photos: Sequence[tuple[BenchmarkPhoto, Array]],
    identities: Array,
    folder: Path,
) -> None:
    """Write what NoW wants: per photo the neutral mesh (.obj, mm) and 7 landmarks (.npy, (7, 3)).

    The inside of the mouth stays in the mesh; the files lie as the photos do.
    """
    for (photo, _), identity in zip(photos, identities, strict=True):
        vertices = neutral_shape(model, identity)
        # Suffixes are appended and not replaced: a photo's name may hold a dot.
        target = folder / photo.output
        write_obj(target.with_name(target.name + ".obj"), vertices, model.triangles)
        landmarks = vertices[model.landmarks[list(NOW_LANDMARKS)]]
        np.save(target.with_name(target.name + ".npy"), landmarks)


@dataclass(frozen=True, eq=False)
class PhotoErrors:
    """Errors of one photo, or of the mean shape of one video.

    Attributes:
        category: of the photo.
        predicted, baseline: of the network and of the mean face.
    """

    category: str
    predicted: ScanErrors
    baseline: ScanErrors


def compare(
    benchmark: Benchmark,
    model: MorphableModel,
    photos: Sequence[BenchmarkPhoto],
    identities: Array,
    protocol: Protocol,
    *,
    track: Track = lambda rows: rows,
) -> list[PhotoErrors]:
    """Errors of the neutral shape of every row of identities (N, 80).

    Args:
        benchmark: has the scans.
        model: the face model of the coefficients.
        photos: what the rows are of.
        identities: predictions.
        protocol: of the comparison.
        track: wraps the loop over subjects to show progress.

    Raises:
        ScanError: a scan cannot be read or compared; the message names it.
        OSError: a scan's file is missing.
    """
    mean_landmarks = model.mean_vertices[model.landmarks].astype(np.float64)
    mean_face = Prediction.of(model, model.mean_vertices)
    errors: list[PhotoErrors | None] = [None] * len(photos)
    subjects = sorted({photo.subject for photo in photos})
    for k in track(range(len(subjects))):
        try:
            scan = benchmark.scan(subjects[k])
            baseline = measure(scan, mean_face, protocol, mean_landmarks)
            for row, photo in enumerate(photos):
                if photo.subject == subjects[k]:
                    shape = Prediction.of(model, neutral_shape(model, identities[row]))
                    found = measure(scan, shape, protocol, mean_landmarks)
                    errors[row] = PhotoErrors(photo.category, found, baseline)
        except ScanError as error:
            raise ScanError(f"{benchmark.name}, {subjects[k]}: {error}") from error
    return [error for error in errors if error is not None]


def video_means(
    photos: Sequence[BenchmarkPhoto], identities: Array
) -> tuple[list[BenchmarkPhoto], Array]:
    """One row per video, the mean of its frames' identities, with its first frame."""
    rows: dict[tuple[str, str], list[int]] = {}
    for row, photo in enumerate(photos):
        rows.setdefault((photo.subject, photo.category), []).append(row)
    means = np.stack([identities[row].mean(0) for row in rows.values()])
    return [photos[row[0]] for row in rows.values()], means


def paper_figures(errors: Sequence[PhotoErrors], measured_on: str, of: str) -> list[Figure]:
    """Mean over photos or videos of each one's mean distance, RMSE and median, by category.

    The paper reports mean and standard deviation of the RMSE.
    """
    figures = []
    for category, part in _by_category(errors):
        where = f"{measured_on}, {category}: {len(part)} {of}"
        for name, measure_name in (
            ("mean", "mean distance to the predicted surface"),
            ("rmse", "RMSE of the distance"),
            ("median", "median distance"),
        ):
            values, baselines = _values(part, attrgetter(name))
            figures.append(_figure(where, measure_name, "mm", values.mean(), baselines.mean()))
            if name == "rmse":
                spread = f"{measure_name}, standard deviation"
                figures.append(_figure(where, spread, "mm", values.std(), baselines.std()))
        values, baselines = _values(part, lambda e: 100 * e.covered)
        figures.append(_figure(where, "covered by the mesh", "%", values.mean(), baselines.mean()))
    return figures


def now_figures(errors: Sequence[PhotoErrors], measured_on: str) -> list[Figure]:
    """Median, mean and standard deviation of all distances together, as NoW reports them."""
    figures = []
    for category, part in _by_category(errors):
        where = f"{measured_on}, {category}: {len(part)} photos"
        values = np.concatenate([e.predicted.distances for e in part])
        baselines = np.concatenate([e.baseline.distances for e in part])
        for name, statistic in (
            ("median", np.median),
            ("mean", np.mean),
            ("standard deviation of the", np.std),
        ):
            measure_name = f"{name} scan-to-mesh distance"
            figures.append(
                _figure(where, measure_name, "mm", statistic(values), statistic(baselines))
            )
    return figures


def _by_category(errors: Sequence[PhotoErrors]) -> list[tuple[str, list[PhotoErrors]]]:
    categories = sorted({error.category for error in errors})
    parts = [(c, [error for error in errors if error.category == c]) for c in categories]
    return [*parts, ("all", list(errors))] if len(parts) > 1 else parts


def _values(
    part: Sequence[PhotoErrors], statistic: Callable[[ScanErrors], float]
) -> tuple[Array, Array]:
    return (
        np.array([statistic(error.predicted) for error in part]),
        np.array([statistic(error.baseline) for error in part]),
    )


def _figure(where: str, name: str, unit: str, value: Any, baseline: Any) -> Figure:
    return Figure(where, name, unit, float(value), float(baseline))
