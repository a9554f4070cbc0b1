"""Errors of a network on portraits whose coefficients are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from facewright.models.arrays import Array
from facewright.models.landmarks import NOSE_TIP
from facewright.models.layout import CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import initial_coefficients
from facewright.training.data.shards import Labels, ShardSet
from facewright.training.evaluation.measures import face_errors, mode_correlations
from facewright.training.evaluation.network import Network
from facewright.training.evaluation.report import Figure
from facewright.training.evaluation.scans import (
    FACE_RADIUS,
    IBUG_68,
    PAPER,
    Prediction,
    Scan,
    ScanErrors,
    measure,
    sample_surface,
)

BATCH = 16
# Of a portrait's true face: the mean distance of one portrait is sure to about 0.03 mm with these.
SCAN_POINTS = 3000
# Attribute of FaceErrors, name of the measure, unit.
MEASURES = (
    ("vertex_mm", "mean vertex error, with expression", "mm"),
    ("plane_mm", "mean point-to-plane error after similarity alignment, with expression", "mm"),
    ("neutral_plane_mm", "mean point-to-plane error after similarity alignment, neutral", "mm"),
    ("landmark_px", "error of 68 landmarks in the 224 px crop", "px"),
    ("landmark_percent", "error of 68 landmarks", "% of face box"),
    ("rotation_degrees", "angle between true and predicted pose", "degrees"),
)
LEADING_MODES = 20


def evaluate_synthetic(
    network: Network,
    model: MorphableModel,
    shards: ShardSet,
    *,
    measured_on: str,
    scans: int = 0,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> list[Figure]:
    """Mean errors over all portraits; the baseline is the mean face at the usual place.

    Args:
        network: to evaluate.
        model: the face model of the network and of the labels.
        shards: portraits that the network has not been trained on.
        measured_on: description of the data.
        scans: how many portraits, evenly spaced, to measure by the paper's protocol as well.
        track: wraps the loop over batches to show progress.

    Raises:
        ValueError: there are no portraits, or network and labels are of other face models.
    """
    if not len(shards):
        raise ValueError("no portraits to evaluate on")
    network.check(model)
    shards.check(model.sha256)
    coefficients = np.concatenate(
        [
            network.predict(shards.crops(np.arange(k, min(k + BATCH, len(shards)))))
            for k in track(range(0, len(shards), BATCH))
        ]
    )
    start = np.tile(initial_coefficients(network.layout).numpy(), (len(shards), 1))
    errors = face_errors(model, coefficients, shards.labels, network.layout)
    baseline = face_errors(model, start, shards.labels, network.layout)
    figures = [
        Figure(
            measured_on,
            measure,
            unit,
            float(getattr(errors, name).mean()),
            float(getattr(baseline, name).mean()),
        )
        for name, measure, unit in MEASURES
    ]
    predicted = network.layout.split(coefficients).identity
    correlation = mode_correlations(predicted, shards.labels.identity)[:LEADING_MODES].mean()
    measure = f"correlation of the first {LEADING_MODES} identity coefficients"
    figures.append(Figure(measured_on, measure, "", float(correlation), 0.0))
    if scans:
        rows = np.unique(np.linspace(0, len(shards) - 1, scans).round().astype(int))
        labels = shards.labels.take(rows)
        figures += _scan_figures(model, coefficients[rows], labels, network.layout, track)
    return figures


def _scan_figures(
    model: MorphableModel,
    coefficients: Array,
    labels: Labels,
    layout: CoefficientLayout,
    track: Callable[[Iterable[int]], Iterable[int]],
) -> list[Figure]:
    """The protocol for scans, with points spread over the true face as the scan.

    Unlike `FaceErrors.plane_mm` it does not know which point of the prediction is which of the
    true face: distances are to the nearest surface, after ICP.  The true nose tip is the crop's
    center, and true landmarks start the ICP.
    """
    predicted = layout.split(np.asarray(coefficients, np.float32))
    mean_landmarks = model.mean_vertices[model.landmarks].astype(np.float64)
    mean_face = Prediction.of(model, model.mean_vertices)
    values: dict[str, list[tuple[ScanErrors, ScanErrors]]] = {"neutral": [], "with expression": []}
    for k in track(range(len(labels))):
        for errors, part in zip(values.values(), (0.0, 1.0), strict=True):
            true, found = (
                model.shape(source.identity[k : k + 1], part * source.expression[k : k + 1])[0]
                for source in (labels, predicted)
            )
            truth = Prediction.of(model, true)
            region = _near_nose(truth)
            rng = np.random.default_rng([k, int(part)])
            points = sample_surface(truth.surface.vertices, region, SCAN_POINTS, rng)
            scan = Scan(points, truth.landmarks, IBUG_68)
            errors.append(
                (
                    measure(scan, Prediction.of(model, found), PAPER, mean_landmarks),
                    measure(scan, mean_face, PAPER, mean_landmarks),
                )
            )
    measured_on = f"{len(labels)} of them as scans (95 mm, ICP with scale)"
    return [
        Figure(
            measured_on,
            f"{title} to the nearest surface, {face}",
            "mm",
            float(np.mean([getattr(mine, name) for mine, _ in errors])),
            float(np.mean([getattr(mean, name) for _, mean in errors])),
        )
        for face, errors in values.items()
        for name, title in (("mean", "mean distance"), ("rmse", "RMSE of the distance"))
    ]


def _near_nose(face: Prediction) -> Array:
    """Triangles with a corner in the crop: what lies outside would be sampled in vain."""
    distance = np.linalg.norm(face.surface.vertices - face.landmarks[NOSE_TIP], axis=1)
    near: Array = face.surface.triangles[(distance < FACE_RADIUS)[face.surface.triangles].any(1)]
    return near
