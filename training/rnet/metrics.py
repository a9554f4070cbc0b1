"""Figures of a validation during training."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.morphable_model import MorphableModel
from training.data.shards import Labels
from training.evaluation.measures import FaceErrors, face_errors, mode_correlations

# Identity modes by rank; large features are learnt long before small ones.
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
    figures = {name: float(getattr(errors, name).mean()) for name in FaceErrors.__annotations__}
    correlations = mode_correlations(coefficients[:, :80], labels.identity)
    for name, group in MODE_GROUPS.items():
        figures[f"correlation_{name}"] = float(correlations[group].mean())
    figures["correlation_expression"] = float(
        mode_correlations(coefficients[:, 80:144], labels.expression)[:16].mean()
    )
    figures["correlation_albedo"] = float(
        mode_correlations(coefficients[:, 144:224], labels.albedo)[:8].mean()
    )
    return {name: round(value, 4) for name, value in figures.items()}


def mean_face(labels: Labels, start: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The baseline's coefficients (N, 239): the same face and pose for every portrait."""
    return np.tile(np.asarray(start, np.float32), (len(labels), 1))
