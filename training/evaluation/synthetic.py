"""Errors of a network on portraits whose coefficients are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from models.camera import CROP_SIZE
from models.morphable_model import MorphableModel
from models.rnet_torch import initial_coefficients
from training.data.shards import ShardSet
from training.evaluation.measures import face_errors, mode_correlations
from training.evaluation.network import Network
from training.evaluation.report import Figure

BATCH = 16
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
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> list[Figure]:
    """Mean errors over all portraits; the baseline is the mean face at the usual place.

    Args:
        network: to evaluate.
        model: the face model of the network and of the labels.
        shards: portraits that the network has not been trained on.
        measured_on: description of the data.
        track: wraps the loop over batches to show progress.

    Raises:
        ValueError: there are no portraits, or network and labels are of other face models.
    """
    if not len(shards):
        raise ValueError("no portraits to evaluate on")
    for sha256 in (shards.meta.face_model_sha256, network.face_model_sha256 or model.sha256):
        if sha256 != model.sha256:
            raise ValueError(f"labels or network are of face model {sha256}, not {model.sha256}")
    margin = shards.meta.margin
    inner = slice(margin, margin + CROP_SIZE)
    coefficients = np.concatenate(
        [
            network.predict(
                shards.images(np.arange(k, min(k + BATCH, len(shards))))[:, inner, inner]
            )
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
    return [*figures, Figure(measured_on, measure, "", float(correlation), 0.0)]
