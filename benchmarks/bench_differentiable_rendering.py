"""Time differentiable rendering on the CPU: `python benchmarks/bench_differentiable_rendering.py`.

From the coefficients of a batch of faces to their pictures and back: the shipped face model, pose,
normals, spherical-harmonics shading, z-buffer, interpolation, and gradients of all coefficients;
stage by stage, together, and within the paper's loss (without a recognizer).  On a busy machine
look at the CPU time with one thread: an idle one needs no more wall time than that.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facewright.models import rasterizer
from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.camera_torch import depth, pose_points, project
from facewright.models.layout import LAYOUT_239, Coefficients
from facewright.models.light_torch import shade
from facewright.models.morphable_model import MorphableModel
from facewright.models.morphable_model_torch import TorchMorphableModel
from facewright.models.normals_torch import vertex_normals
from facewright.training.losses.hybrid import HybridLoss, HybridWeights, PhotoTargets
from facewright.training.render import make_renderer

TARGET_S = 0.5
"""Forward and backward, batch of 8 at 224 x 224, on two cores."""


class Timing(NamedTuple):
    wall_ms: float
    cpu_ms: float


def measure(call: Callable[[], object], repeats: int) -> Timing:
    """Median times of a call."""
    call()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Timing(1000 * statistics.median(walls), 1000 * statistics.median(cpus))


def random_faces(count: int) -> Tensor:
    rng = np.random.default_rng(0)
    light = rng.normal(0, 0.1, (count, 1, 9)) + 0.8 * np.eye(9)[0]
    parts = Coefficients(
        identity=rng.standard_normal((count, 80)),
        expression=rng.standard_normal((count, 64)),
        albedo=rng.standard_normal((count, 80)),
        light=light,
        rotation=rng.normal(0, 0.2, (count, 3)),
        translation=rng.normal(0, 0.05, (count, 3)),
    )
    return torch.from_numpy(LAYOUT_239.join(parts)).float()


def forward_and_backward(call: Callable[[], Tensor]) -> Callable[[], None]:
    weights = torch.randn(call().shape, generator=torch.Generator().manual_seed(0))
    return lambda: (call() * weights).sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="side of the pictures in px")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    model = MorphableModel.load(asset_path(FACE_MODEL))
    twin = TorchMorphableModel(model)
    render = make_renderer(torch.device("cpu"))
    coefficients = random_faces(options.batch).requires_grad_()
    parts = LAYOUT_239.split(coefficients.detach())
    with torch.no_grad():
        shape = twin.shape(parts.identity, parts.expression)
        albedo = twin.albedo(parts.albedo)
        posed = pose_points(shape, parts.rotation, parts.translation)
        normals = vertex_normals(posed, twin.triangles)
        colors = shade(albedo, normals, parts.light)
        points = torch.cat([project(posed), depth(posed)[..., None]], -1).numpy()
    points[..., :2] *= options.size / 224
    leaves = [t.clone().requires_grad_() for t in (*parts, shape, albedo, posed, normals, colors)]
    identity, expression, albedo_part, light, rotation, translation, *rest = leaves
    shape, albedo, posed, normals, colors = rest

    def picture() -> Tensor:
        parts = LAYOUT_239.split(coefficients)
        shape = twin.shape(parts.identity, parts.expression)
        posed = pose_points(shape, parts.rotation, parts.translation)
        normals = vertex_normals(posed, twin.triangles)
        colors = shade(twin.albedo(parts.albedo), normals, parts.light)
        return render(posed, twin.triangles, colors, options.size).image

    loss = HybridLoss(model, LAYOUT_239, HybridWeights(), None, render, options.size)
    with torch.no_grad():
        image, mask = loss.render(coefficients.flip(0))
    targets = PhotoTargets(
        photo=image.clamp(0, 1),
        attention=torch.ones(mask.shape),
        landmarks=torch.full((options.batch, 68, 2), 112.0),
        landmark_known=torch.ones(options.batch, 68, dtype=torch.bool),
    )
    stages: dict[str, Callable[[], object]] = {
        "shape": forward_and_backward(lambda: twin.shape(identity, expression)),
        "albedo": forward_and_backward(lambda: twin.albedo(albedo_part)),
        "pose": forward_and_backward(lambda: pose_points(shape, rotation, translation)),
        "normals": forward_and_backward(lambda: vertex_normals(posed, twin.triangles)),
        "shading": forward_and_backward(lambda: shade(albedo, normals, light)),
        "z-buffer": lambda: rasterizer.rasterize(
            points, model.triangles, options.size, options.size
        ),
        "z-buffer and interpolation": forward_and_backward(
            lambda: render(posed, twin.triangles, colors, options.size).image
        ),
        "coefficients to picture": forward_and_backward(picture),
        "loss of coefficients": lambda: loss.total(loss(coefficients, targets)).backward(),
    }
    print(
        f"{model.n_vertices} vertices, {model.n_triangles} triangles, batch of {options.batch},"
        f" {options.size} px, {int(mask.sum())} pixels of face, {options.threads} threads"
    )
    print(f"forward and backward, ms{'wall':>15s} {'CPU':>8s}")
    for name, call in stages.items():
        timing = measure(call, options.repeats)
        print(f"{name:30s} {timing.wall_ms:8.1f} {timing.cpu_ms:8.1f}", flush=True)
        if name == "coefficients to picture" and (options.batch, options.size) == (8, 224):
            verdicts = ["met" if ms <= 1000 * TARGET_S else "missed" for ms in timing]
            print(f"{f'(target {1000 * TARGET_S:.0f} ms)':30s} {verdicts[0]:>8s} {verdicts[1]:>8s}")


if __name__ == "__main__":
    main()
