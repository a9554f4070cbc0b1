"""Time the rasterizer on one face: `python benchmarks/bench_rasterizer.py`.

Draws the shipped face model when it is there, else a bumpy half sphere of about 75,000 triangles,
filling most of the image, on one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.morphable_model import MorphableModel
from facewright.models.rasterizer import interpolate, rasterize, warm_up

TARGET_MS = {224: 8.0, 1024: 25.0}


def bumpy_half_sphere(rows: int = 194) -> tuple[NDArray[Any], NDArray[Any]]:
    """A face-sized half sphere with bumps: vertices (V, 3) in mm and triangles (T, 3)."""
    v, u = np.mgrid[0:rows, 0:rows] / (rows - 1) * np.pi
    radius = 90 + 4 * np.sin(9 * u) * np.sin(7 * v)
    unit = np.stack([np.cos(u) * np.sin(v), np.cos(v), np.sin(u) * np.sin(v)], -1)
    corner = (np.arange(rows - 1)[:, None] * rows + np.arange(rows - 1)).ravel()
    upper = np.stack([corner, corner + rows, corner + 1], -1)
    lower = np.stack([corner + 1, corner + rows, corner + rows + 1], -1)
    return (radius[..., None] * unit).reshape(-1, 3), np.concatenate([upper, lower])


def face_mesh() -> tuple[str, NDArray[Any], NDArray[Any]]:
    """The shipped mean face, or its stand-in."""
    try:
        model = MorphableModel.load(asset_path(FACE_MODEL))
    except FileNotFoundError:
        return ("bumpy half sphere", *bumpy_half_sphere())
    return model.metadata["name"], model.mean_vertices, model.triangles


def project(vertices: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Image points (1, V, 3) of a turned face that fills a size x size image."""
    yaw = 0.3
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    x, y, z = (vertices @ turn.T).T
    depth = 1000 - z
    focal = 1015 / 224 * size
    image = np.stack([size / 2 + focal * x / depth, size / 2 - focal * y / depth, depth], -1)
    return image[None].astype(np.float32)


def milliseconds(call: Callable[[], object], repeats: int = 30) -> float:
    """Median CPU time of a call that runs on one thread, whatever else the machine does."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    """Print one line per image size."""
    start = time.perf_counter()
    warm_up()
    name, vertices, triangles = face_mesh()
    print(f"{name}: {len(vertices)} vertices, {len(triangles)} triangles")
    print(f"warm-up {1000 * (time.perf_counter() - start):.0f} ms")
    colors = np.random.default_rng(0).random((1, len(vertices), 3), np.float32)
    for size, target in TARGET_MS.items():
        points = project(vertices, size)
        fragments = rasterize(points, triangles, size, size)
        drawing = milliseconds(lambda p=points, s=size: rasterize(p, triangles, s, s))
        coloring = milliseconds(lambda f=fragments: interpolate(f, triangles, colors))
        covered = float((fragments.triangle_ids >= 0).mean())
        print(
            f"{size:5d} px: rasterize {drawing:6.2f} ms"
            f" ({drawing / target:.2f} of the {target:g} ms target),"
            f" interpolate 3 channels {coloring:6.2f} ms, {covered:.0%} covered"
        )


if __name__ == "__main__":
    main()
