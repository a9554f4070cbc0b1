"""Face models of a few vertices, and labels that fit them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import pose_points, project
from facewright.models.morphable_model import MorphableModel

METADATA = {"name": "test", "version": "1", "licence": "CC0-1.0", "source": "formulas"}


def face_model(
    mean_shape: NDArray[Any],
    triangles: NDArray[Any],
    landmarks: NDArray[Any],
    *,
    identity: NDArray[Any],
    expression: NDArray[Any],
    albedo: NDArray[Any],
    **given: Any,
) -> MorphableModel:
    """A face model whose other fields are as plain as can be, unless they are given.

    Modes are (k, V, 3). `metadata` is added to what every model says.
    """
    count = len(albedo[0])
    fields: dict[str, Any] = {
        "subdivision": None,
        "mean_albedo": np.full((count, 3), 0.5),
        "skin_region": np.ones(count, np.bool_),
        "mirror": np.arange(count),
        "uv": np.zeros((count, 2)),
        "parts": np.zeros(count, np.uint8),
        "expression_units": ("jawOpen",),
        "expression_unit_coefficients": np.ones((1, len(expression))),
        **given,
        "metadata": METADATA | {"units": "mm"} | given.get("metadata", {}),
        "mean_shape": mean_shape,
        "identity_basis": identity,
        "expression_basis": expression,
        "albedo_basis": albedo,
        "triangles": triangles,
        "landmarks": landmarks,
    }
    kinds = {"f": np.float32, "i": np.int32}
    for name, value in fields.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in kinds:
            fields[name] = value.astype(kinds[value.dtype.kind])
    return MorphableModel(**fields)


def grid_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """Two triangles for each cell of a grid whose vertices are counted row by row from the top."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1)
    quads = quads.reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def random_labels(
    model: MorphableModel,
    count: int,
    rng: np.random.Generator,
    person: NDArray[np.int64] | None = None,
    hidden: float = 0.2,
) -> dict[str, NDArray[Any]]:
    """Labels of portraits that fit each other; of different people unless `person` says whose."""
    people = np.arange(count) if person is None else person
    labels = {
        "identity": rng.normal(size=(people.max() + 1, 80))[people],
        "expression": rng.normal(size=(count, 64)),
        "albedo": rng.normal(size=(count, 80)),
        "light": rng.normal(size=(count, 9)) * 0.2 + np.eye(9)[0],
        "rotation": rng.normal(size=(count, 3)) * 0.2,
        "translation": rng.normal(size=(count, 3)) * [0.05, 0.05, 0.3],
    }
    shape = model.shape(labels["identity"], labels["expression"])[:, model.landmarks]
    posed = pose_points(shape.astype(np.float64), labels["rotation"], labels["translation"])
    labels["landmarks"] = project(posed)
    seen = rng.random((count, 68)) >= hidden if hidden else np.ones((count, 68), np.bool_)
    labels["landmark_visible"] = seen
    labels["person"] = people
    return labels
