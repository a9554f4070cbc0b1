"""Time the face model's evaluation: `OMP_NUM_THREADS=1 python benchmarks/bench_morphable_model.py`.

Uses the shipped face model when it is there, else random bases of its size.  The baseline is
the same model with dense shape bases, as other implementations hold them; ratios are the
baseline's time over ours.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable

import numpy as np

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals
from facewright.models.subdivision import Subdivision

BATCHES = (1, 8, 32)
REPEATS = 15


def random_model(vertices: int = 36_000, cage: int = 2_600, neighbors: int = 16) -> MorphableModel:
    """A model of the shipped one's size, of no shape."""
    rng = np.random.default_rng(0)
    near = np.sort(rng.permuted(np.tile(np.arange(60), (vertices, 1)), axis=1)[:, :neighbors])
    columns = (near + (np.arange(vertices) * cage // vertices)[:, None]) % cage
    weights = rng.random((vertices, neighbors)).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.arange(0, vertices * neighbors + 1, neighbors, dtype=np.int32)
    columns = columns.astype(np.int32)
    index = np.arange(vertices, dtype=np.int32)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return MorphableModel(
        mean_shape=normal(cage, 3),
        identity_basis=normal(80, cage, 3),
        expression_basis=normal(64, cage, 3),
        subdivision=Subdivision(weights.ravel(), columns.ravel(), rows, (vertices, cage)),
        mean_albedo=rng.random((vertices, 3)).astype(np.float32),
        albedo_basis=0.02 * normal(80, vertices, 3),
        triangles=np.tile(np.stack([index, np.roll(index, 1), np.roll(index, 190)], 1), (2, 1)),
        landmarks=np.arange(68, dtype=np.int32),
        skin_region=np.ones(vertices, bool),
        mirror=index,
        uv=rng.random((vertices, 2)).astype(np.float32),
        parts=np.zeros(vertices, np.uint8),
        expression_units=(),
        expression_unit_coefficients=np.zeros((0, 64), np.float32),
        metadata={
            "name": "random",
            "version": "0",
            "licence": "none",
            "source": "random",
            "units": "mm",
        },
    )


def face_model() -> MorphableModel:
    """The shipped face model, or its stand-in."""
    try:
        return MorphableModel.load(asset_path(FACE_MODEL))
    except FileNotFoundError:
        return random_model()


def milliseconds(call: Callable[[], object]) -> float:
    """Median time of a call."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    model = face_model()
    dense = dataclasses.replace(
        model,
        mean_shape=model.mean_vertices,
        identity_basis=model.refine(model.identity_basis),
        expression_basis=model.refine(model.expression_basis),
        subdivision=None,
    )
    print(f"{model.metadata['name']}: {model.n_vertices} vertices, {model.n_triangles} triangles")
    print("ms per face    shape   dense shape (ratio)   albedo   normals     all")
    rng = np.random.default_rng(0)
    for batch in BATCHES:
        identity, expression, albedo = (
            rng.standard_normal((batch, count)).astype(np.float32)
            for count in (model.n_identity, model.n_expression, model.n_albedo)
        )
        shapes = model.shape(identity, expression)
        calls: tuple[Callable[[], object], ...] = (
            lambda: model.shape(identity, expression),  # noqa: B023
            lambda: dense.shape(identity, expression),  # noqa: B023
            lambda: model.albedo(albedo),  # noqa: B023
            lambda: vertex_normals(shapes, model.triangles),  # noqa: B023
        )
        ours, baseline, colors, normals = (milliseconds(call) / batch for call in calls)
        total = ours + colors + normals
        print(
            f"batch {batch:4d}  {ours:8.2f} {baseline:13.2f} {baseline / ours:7.1f}x"
            f" {colors:8.2f} {normals:9.2f} {total:7.2f}"
        )


if __name__ == "__main__":
    main()
