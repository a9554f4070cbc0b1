"""Tables that compare the built model with the published norms and with itself."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from facewright.models.morphable_model import MorphableModel
from facewright.training.face_model.anthropometry import (
    DEPTH_LAYOUT,
    NORMS,
    PUPIL_DISTANCE,
    Measure,
    pooled_norm,
)
from facewright.training.face_model.build import Geometry

N_SAMPLES = 2000
SEED = 5
#: The layout is compared at the pitch that fits it best.
PITCHES = np.radians(np.linspace(-8, 8, 161))


def measured_table(geometry: Geometry, model: MorphableModel) -> str:
    """Markdown: distances of the mean face and their spread over random faces at one sigma."""
    measure = Measure.on(geometry.topology)
    rng = np.random.default_rng(SEED)
    rows = model.subdivision
    assert rows is not None
    # Only the measured points are needed: push the operator through to the cage.
    matrix = sparse.csr_matrix((rows.data, rows.indices, rows.indptr), rows.shape)
    operator = (measure.operator @ matrix).astype(np.float64)
    mean = operator @ model.mean_shape
    basis = np.stack([operator @ mode for mode in model.identity_basis])
    faces = mean + np.tensordot(rng.normal(size=(N_SAMPLES, model.n_identity)), basis, 1)
    lines = [
        "| distance | mean | published | sd | published |",
        "|---|---|---|---|---|",
    ]
    for pair in NORMS:
        norm = pooled_norm(pair)
        spread = measure.distance(faces, pair).std()
        lines.append(
            f"| {pair[0]}–{pair[1]} | {measure.distance(mean, pair):.1f} | {norm.mean:.1f} "
            f"| {spread:.1f} | {norm.deviation:.1f} |"
        )
    pupils = measure.pupil_distance(faces).std()
    lines.append(
        f"| pupils | {measure.pupil_distance(mean):.1f} | {PUPIL_DISTANCE:.1f} | {pupils:.1f} | |"
    )

    def misfit(pitch: float) -> float:
        profile = measure.profile(mean, pitch)
        return float(sum(((profile[k] - v) ** 2).sum() for k, v in DEPTH_LAYOUT.items()))

    profile = measure.profile(mean, min(PITCHES, key=misfit))
    lines += ["", "| point | height, depth | layout |", "|---|---|---|"]
    for name, target in DEPTH_LAYOUT.items():
        y, z = profile[name]
        lines.append(f"| {name} | {y:.1f}, {z:.1f} | {target[0]:.1f}, {target[1]:.1f} |")
    return "\n".join(lines) + "\n"
