"""Make docs/images/texture.jpg: portraits, their textures, and the coloured mesh from three sides.

    .venv/bin/python docs/make_texture_picture.py

The portraits in docs/images/portraits were rendered by `facewright-train synth`; nobody sat
for them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.camera import CROP_SIZE, depth, pose_points, project
from models.morphable_model import MorphableModel
from models.rasterizer import interpolate, rasterize
from models.texture.baking import DEFAULT_TEXTURE_SIZE
from service.deadline import Deadline
from service.engine import Engine
from service.reconstruction import Reconstruction
from service.settings import Settings
from service.stages import StageClock

IMAGES = Path(__file__).parent / "images"
SIDE = 300
SAMPLES = 2
YAWS_DEGREES = (-35.0, 0.0, 35.0)
BACKDROP = 41


def mesh_view(
    model: MorphableModel, face: Reconstruction, texture: NDArray[np.uint8], yaw_degrees: float
) -> NDArray[np.uint8]:
    """The mesh as a viewer shows it that does not light it: (SIDE, SIDE, 3)."""
    angles = np.radians([[0.0, yaw_degrees, 0.0]]).astype(np.float32)
    posed = pose_points(face.vertices[None], angles, np.zeros((1, 3), np.float32))
    side = SAMPLES * SIDE
    pixels = project(posed) * (side / CROP_SIZE)
    points = np.concatenate([pixels, depth(posed)[..., None]], -1).astype(np.float32)
    fragments = rasterize(points, model.triangles, side, side)
    uv = interpolate(fragments, model.triangles, model.uv[None])[0]
    picture = cv2.remap(
        texture,
        uv[..., 0] * len(texture) - 0.5,
        (1.0 - uv[..., 1]) * len(texture) - 0.5,
        cv2.INTER_LINEAR,
    )
    picture[fragments.triangle_ids[0] < 0] = BACKDROP
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def row(engine: Engine, photo_file: Path) -> NDArray[np.uint8]:
    """Portrait, texture and three views of the mesh, side by side."""
    clock = StageClock()
    scene = engine.reconstruct(photo_file.read_bytes(), "largest", Deadline(), clock)
    face = scene.faces[0]
    texture = engine.texture(scene, face, DEFAULT_TEXTURE_SIZE, clock)
    pictures = [
        cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        for picture in (scene.photo, texture)
    ]
    views = [mesh_view(engine.model, face, texture, yaw) for yaw in YAWS_DEGREES]
    return np.concatenate([*pictures, *views], axis=1)


def main() -> None:
    """Write the picture."""
    engine = Engine(Settings())
    portraits = sorted((IMAGES / "portraits").glob("*.png"))
    sheet = np.concatenate([row(engine, portrait) for portrait in portraits])
    engine.close()
    bgr = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(IMAGES / "texture.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
