"""Make readme.jpg, texture.jpg and heads.jpg of docs/images from synthetic portraits.

    .venv/bin/python docs/make_pictures.py

The portraits in docs/images/portraits were rendered by `facewright-train synth`; nobody sat
for them.  Each row of a picture is one portrait: with its overlay and its mesh in the albedo's
colors, lit, from three sides; or with its texture baked from the photo and the mesh that wears
it, not lit, as viewers show it; or with its whole head from three sides and in four expressions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.blendshape_names import ARKIT_BLENDSHAPES, VISEMES
from facewright.models.camera import CROP_SIZE, depth, pose_points, project
from facewright.models.light import shade
from facewright.models.normals import vertex_normals
from facewright.models.rasterizer import Fragments, interpolate, rasterize
from facewright.models.texture.baking import DEFAULT_TEXTURE_SIZE
from facewright.service.options import MeshChoice
from facewright.service.pipeline.chosen_mesh import chosen_head
from facewright.service.pipeline.engine import Engine, Scene
from facewright.service.pipeline.job import Job
from facewright.service.pipeline.overlay import draw_overlay
from facewright.service.settings import Settings

IMAGES = Path(__file__).parent / "images"
YAWS_DEGREES = (-40.0, 0.0, 40.0)
LIGHT = np.array([[[0.85, -0.20, 0.30, 0.10, 0.0, 0.0, 0.0, 0.0, 0.0]]], np.float32)
BACKDROP = 41
SAMPLES = 2

HEAD_YAWS_DEGREES = (0.0, 50.0, 100.0)
WHOLE = 0.68, np.array([0.0, -4.0, -55.0], np.float32)
CLOSE = 1.12, np.array([0.0, -17.0, 0.0], np.float32)
"""Scale of a picture, 1 for the crop that faces fill, and the point in its middle, mm."""
EXPRESSIONS: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.6, "browInnerUp": 0.9, "eyeWideLeft": 0.7, "eyeWideRight": 0.7},
    {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.9, "mouthSmileRight": 0.7, "cheekSquintLeft": 0.6},
    dict(VISEMES["viseme_O"]),
    {"jawOpen": 0.35, "tongueOut": 1.0, "browDownLeft": 0.6, "browOuterUpRight": 0.9},
)

RgbU8 = NDArray[np.uint8]
Floats = NDArray[np.float32]
Coloring = Callable[[Fragments, Floats], RgbU8]
"""From what each pixel sees and the posed vertices (1, V, 3) to a picture (H, W, 3)."""


def from_three_sides(engine: Engine, scene: Scene, side: int, coloring: Coloring) -> list[RgbU8]:
    """The largest face's mesh in model space, turned by yaws: three times (side, side, 3)."""
    model, views = engine.model, []
    for yaw in YAWS_DEGREES:
        angles = np.radians([[0.0, yaw, 0.0]]).astype(np.float32)
        posed = pose_points(scene.faces[0].vertices[None], angles, np.zeros((1, 3), np.float32))
        large = SAMPLES * side
        pixels = project(posed) * (large / CROP_SIZE)
        points = np.concatenate([pixels, depth(posed)[..., None]], -1).astype(np.float32)
        fragments = rasterize(points, model.triangles, large, large)
        picture = coloring(fragments, posed)
        picture[fragments.triangle_ids[0] < 0] = BACKDROP
        views.append(scaled(picture, side))
    return views


def scaled(picture: RgbU8, side: int) -> RgbU8:
    """The picture as a square of `side` px."""
    smaller = len(picture) >= side
    way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(picture, (side, side), interpolation=way).astype(np.uint8, copy=False)


def readme_row(engine: Engine, scene: Scene, job: Job) -> list[RgbU8]:
    """Portrait, overlay and the lit mesh from three sides."""
    model, side = engine.model, 360

    def lit(fragments: Fragments, posed: Floats) -> RgbU8:
        normals = vertex_normals(posed, model.triangles)
        colors = shade(scene.faces[0].albedo[None], normals, LIGHT).astype(np.float32)
        picture = interpolate(fragments, model.triangles, colors)[0]
        return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)

    pictures = [
        scaled(picture, side)
        for picture in (scene.photo, draw_overlay(scene.photo, model, scene.faces))
    ]
    return [*pictures, *from_three_sides(engine, scene, side, lit)]


def texture_row(engine: Engine, scene: Scene, job: Job) -> list[RgbU8]:
    """Portrait, texture and the mesh that wears it from three sides."""
    model, side = engine.model, 300
    texture = engine.texture(scene, scene.faces[0], DEFAULT_TEXTURE_SIZE, job)

    def worn(fragments: Fragments, posed: Floats) -> RgbU8:
        uv = interpolate(fragments, model.triangles, model.uv[None])[0] * len(texture)
        x, y = uv[..., 0] - 0.5, len(texture) - uv[..., 1] - 0.5
        return cv2.remap(texture, x, y, cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    pictures = [scaled(picture, side) for picture in (scene.photo, texture)]
    return [*pictures, *from_three_sides(engine, scene, side, worn)]


def head_row(engine: Engine, scene: Scene, job: Job) -> list[RgbU8]:
    """Portrait, its head from three sides, and four expressions."""
    face, side = scene.faces[0], 240
    assert engine.heads is not None
    texture = engine.texture(scene, face, DEFAULT_TEXTURE_SIZE, job, "head")
    choice = MeshChoice("head", "high", "none")
    kept = chosen_head(engine, face, choice, texture)
    neutral = chosen_head(engine, face, choice._replace(expression="neutral"), texture)
    assert neutral.texture is not None
    uv, triangles = neutral.texture.uv, neutral.triangles

    def worn(vertices: Floats, yaw: float, frame: tuple[float, Floats]) -> RgbU8:
        scale, center = frame
        angles = np.radians([[0.0, yaw, 0.0]]).astype(np.float32)
        posed = pose_points(vertices[None] - center, angles, np.zeros((1, 3), np.float32))
        large = SAMPLES * side
        middle = CROP_SIZE / 2
        pixels = ((project(posed) - middle) * scale + middle) * (large / CROP_SIZE)
        points = np.concatenate([pixels, depth(posed)[..., None]], -1).astype(np.float32)
        fragments = rasterize(points, triangles, large, large)
        places = interpolate(fragments, triangles, uv[None])[0] * len(texture)
        x, y = places[..., 0] - 0.5, len(texture) - places[..., 1] - 0.5
        picture = cv2.remap(texture, x, y, cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        picture[fragments.triangle_ids[0] < 0] = BACKDROP
        return scaled(picture, side)

    rig = engine.heads.rig
    pictures = [scaled(scene.photo, side)]
    pictures += [worn(kept.vertices, yaw, WHOLE) for yaw in HEAD_YAWS_DEGREES]
    for weights in EXPRESSIONS:
        field = sum(
            (w * rig.targets[ARKIT_BLENDSHAPES.index(name)] for name, w in weights.items()),
            start=np.zeros_like(rig.targets[0]),
        )
        moved = rig.subdivision.refine(field[None].astype(np.float32))[0]
        pictures.append(worn(neutral.vertices + moved, 15.0, CLOSE))
    return pictures


def main() -> None:
    """Write the pictures."""
    engine, job = Engine(Settings()), Job()
    portraits = sorted((IMAGES / "portraits").glob("*.png"))
    scenes = [engine.reconstruct(portrait.read_bytes(), "largest", job) for portrait in portraits]
    for name, row in (
        ("readme", readme_row),
        ("texture", texture_row),
        ("heads", head_row),
    ):
        sheet = np.vstack([np.hstack(row(engine, scene, job)) for scene in scenes])
        bgr = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(IMAGES / f"{name}.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    engine.close()


if __name__ == "__main__":
    main()
