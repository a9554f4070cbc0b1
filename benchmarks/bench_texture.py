"""Bake known textures again from photos of them: `python benchmarks/bench_texture.py`.

Prints the errors, as docs/texture.md gives them, and the time of a baking.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from bench_rasterizer import milliseconds
from numpy.typing import NDArray

from facewright.models.camera import CROP_SIZE, depth, pose_points, project
from facewright.models.morphable_model import PART_SKIN
from facewright.models.rasterizer import interpolate, rasterize
from facewright.models.texture.atlas import build_atlas
from facewright.models.texture.baking import DEFAULT_TEXTURE_SIZE
from facewright.models.texture.views import TextureView
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.job import Job
from facewright.service.pipeline.reconstruction import Reconstruction
from facewright.service.settings import Settings

PORTRAITS = Path(__file__).parents[1] / "docs" / "images" / "portraits"
SIDE = 600
YAWS_DEGREES = (0.0, -40.0, 40.0, -20.0, 20.0)
EXPOSURES = (1.0, 0.7, 1.15, 0.85, 1.05)
CAST = 0.05  # standard deviation of the channels' factors
# How far R-Net would have placed the face wrong.
POSE_ERROR_DEGREES, POSE_ERROR_MM = 1.0, 1.0


def placed(
    vertices: NDArray[np.float32], yaw: float, error: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Posed vertices (V, 3) mm and their places in the photo (V, 3), off by `error` (6,)."""
    angles = np.radians([[error[0], yaw + error[1], error[2]]]).astype(np.float32)
    posed = pose_points(vertices[None], angles, error[None, 3:].astype(np.float32) / 100.0)
    pixels = project(posed) * (SIDE / CROP_SIZE)
    points = np.concatenate([pixels, depth(posed)[..., None]], -1).astype(np.float32)
    return posed[0], points[0]


def view(
    engine: Engine,
    face: Reconstruction,
    texture: NDArray[np.uint8],
    yaw: float,
    exposure: float,
    rng: np.random.Generator,
) -> TextureView:
    """A photo of the textured face, which the baker is told to lie elsewhere."""
    model = engine.model
    _, true = placed(face.vertices, yaw, np.zeros(6))
    fragments = rasterize(true[None], model.triangles, SIDE, SIDE)
    uv = interpolate(fragments, model.triangles, model.uv[None])[0]
    columns, rows = uv[..., 0] * len(texture) - 0.5, (1.0 - uv[..., 1]) * len(texture) - 0.5
    photo = cv2.remap(texture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    factors = exposure * np.exp(rng.normal(0, CAST, 3))
    photo = np.clip(np.rint(photo * factors), 0, 255).astype(np.uint8)
    photo[fragments.triangle_ids[0] < 0] = (40, 90, 60)
    sizes = [POSE_ERROR_DEGREES] * 3 + [POSE_ERROR_MM] * 3
    posed, points = placed(face.vertices, yaw, rng.normal(0, sizes))
    return TextureView(photo, posed, points)


def psnr(baked: NDArray[np.uint8], truth: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """In dB, after the best factor of each channel: nobody can tell the true exposure."""
    one, other = baked[where].astype(float), truth[where].astype(float)
    one *= (one * other).sum(0) / (one * one).sum(0)
    return float(10 * np.log10(255**2 / np.square(one - other).mean()))


def main() -> None:
    """Print a line per number of views."""
    engine = Engine(Settings())
    job = Job()
    errors: dict[str, list[tuple[float, float]]] = {"the frontal view alone": [], "five views": []}
    atlas = build_atlas(engine.model, DEFAULT_TEXTURE_SIZE)
    on_skin = (engine.model.parts[engine.model.triangles] == PART_SKIN).all(axis=1)[atlas.owners]
    skin = np.zeros((DEFAULT_TEXTURE_SIZE, DEFAULT_TEXTURE_SIZE), np.bool_)
    skin[tuple(atlas.places.T)] = np.repeat(on_skin, np.diff(atlas.starts))
    for portrait in sorted(PORTRAITS.glob("*.png")):
        scene = engine.reconstruct(portrait.read_bytes(), "largest", job)
        face = scene.faces[0]
        texture = engine.texture(scene, face, DEFAULT_TEXTURE_SIZE, job)
        rng = np.random.default_rng(0)
        views = [
            view(engine, face, texture, yaw, exposure, rng)
            for yaw, exposure in zip(YAWS_DEGREES, EXPOSURES, strict=True)
        ]
        seen = engine.baker.bake(views, face.albedo).coverage > 0
        for name, some in zip(errors, (views[:1], views), strict=True):
            baked = engine.baker.bake(some, face.albedo).rgb_u8
            errors[name].append((psnr(baked, texture, seen & skin), psnr(baked, texture, seen)))
    for (name, values), some in zip(errors.items(), (views[:1], views), strict=True):
        time = milliseconds(lambda v=some: engine.baker.bake(v, face.albedo))
        on_skin, anywhere = np.mean(values, axis=0)
        print(
            f"{name}: {on_skin:.1f} dB of the skin, {anywhere:.1f} dB with eyes and mouth, "
            f"{time:.0f} ms for {DEFAULT_TEXTURE_SIZE} px"
        )
    engine.close()


if __name__ == "__main__":
    main()
