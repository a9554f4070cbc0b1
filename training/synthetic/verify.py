"""Do the labels agree with the picture? Landmarks of the labeled model against the true ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facewright.models.camera import pose_points, project
from facewright.models.morphable_model import MorphableModel
from facewright.training.data.shards import Labels


@dataclass(frozen=True)
class LandmarkErrors:
    """Distances in crop px between landmarks under the nominal camera and in the photo."""

    median: float
    mean: float
    percentile_95: float
    worst_portrait: float

    def __str__(self) -> str:
        return (
            f"{self.median:.2f} px (median), {self.mean:.2f} px (mean), "
            f"{self.percentile_95:.2f} px (95%), {self.worst_portrait:.2f} px (worst portrait)"
        )


def landmark_errors(labels: Labels, model: MorphableModel | Path) -> LandmarkErrors:
    """Project the labeled coefficients and compare with the labeled landmarks."""
    if isinstance(model, Path):
        model = MorphableModel.load(model)
    distances = []
    for start in range(0, len(labels), 50):
        part = labels.take(slice(start, start + 50))
        shapes = model.shape(part.identity, part.expression)[:, model.landmarks]
        posed = pose_points(shapes, part.rotation, part.translation)
        distances.append(np.linalg.norm(project(posed) - part.landmarks, axis=2))
    all_distances = np.concatenate(distances)
    return LandmarkErrors(
        median=float(np.median(all_distances)),
        mean=float(all_distances.mean()),
        percentile_95=float(np.percentile(all_distances, 95)),
        worst_portrait=float(all_distances.mean(axis=1).max()),
    )
