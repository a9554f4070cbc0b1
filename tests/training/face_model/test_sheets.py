from __future__ import annotations

import numpy as np

from facewright.models.morphable_model import MorphableModel
from facewright.training.face_model.sheets import BACKGROUND, render


def test_a_frontal_mean_face_is_drawn_symmetric_and_in_the_middle(
    shipped_model: MorphableModel,
) -> None:
    mean = shipped_model.mean_vertices
    clay = render(shipped_model, mean, None, (0.0, 0.0, 0.0), 96).astype(int)
    face = np.abs(clay - int(BACKGROUND * 255)).max(axis=2) > 8
    assert np.abs(face ^ face[:, ::-1]).mean() < 0.01
    assert 0.25 < face.mean() < 0.7
    colored = render(shipped_model, mean, shipped_model.mean_albedo, (0.0, 30.0, 0.0), 96)
    assert colored[48, 50, 0] > colored[48, 50, 2]
