"""Figures of a validation during training."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from facewright.models.camera import pose_points, project
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.training.data.shards import Labels
from facewright.training.evaluation.measures import FaceErrors, face_errors, mode_correlations

# Faces whose whole shape is computed at once.
CHUNK = 32
# Identity modes by rank; large features are learned long before small ones.
MODE_GROUPS = {"modes_1_5": slice(0, 5), "modes_6_20": slice(5, 20), "modes_21_80": slice(20, 80)}


def validation_figures(
    model: MorphableModel, coefficients: npt.NDArray[Any], labels: Labels
) -> dict[str, float]:
    """Mean errors and mean correlations of identity modes, by name.

    Args:
        model: the face model of the labels.
        coefficients: (N, 239) predicted.
        labels: of the N portraits.
    """
    errors = face_errors(model, coefficients, labels)
    figures = {
        name: float(getattr(errors, name).mean()) for name in FaceErrors.__dataclass_fields__
    }
    predicted = LAYOUT_239.split(coefficients)
    correlations = mode_correlations(predicted.identity, labels.identity)
    for name, group in MODE_GROUPS.items():
        figures[f"correlation_{name}"] = float(correlations[group].mean())
    figures["correlation_expression"] = float(
        mode_correlations(predicted.expression, labels.expression)[:16].mean()
    )
    figures["correlation_albedo"] = float(
        mode_correlations(predicted.albedo, labels.albedo)[:8].mean()
    )
    return {name: round(value, 4) for name, value in figures.items()}


def photo_figures(
    model: MorphableModel, coefficients: npt.NDArray[Any], labels: Labels
) -> dict[str, float]:
    """Mean distance of the known landmarks, `landmark_px`, px of the crop.

    Args:
        model: the face model; photographs are prepared with landmarks where it has them.
        coefficients: (N, 239) predicted.
        labels: of the N photographs.
    """
    total = 0.0
    for k in range(0, len(coefficients), CHUNK):
        parts = LAYOUT_239.split(coefficients[k : k + CHUNK])
        points = model.shape(parts.identity, parts.expression)[:, model.landmarks]
        predicted = project(pose_points(points, parts.rotation, parts.translation))
        known = labels.landmark_visible[k : k + CHUNK]
        difference = predicted - labels.landmarks[k : k + CHUNK]
        total += float(np.linalg.norm(difference, axis=2)[known].sum())
    return {"landmark_px": round(total / max(int(labels.landmark_visible.sum()), 1), 3)}
