"""Make docs/images/readme.jpg: synthetic portraits, the service's overlays, and the meshes.

    .venv/bin/python docs/make_readme_picture.py

The portraits in docs/images/portraits were rendered by `facewright-train synth`; nobody sat
for them.  Each row shows a portrait, its overlay, and its mesh as a client gets it, from three
sides.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.camera import CROP_SIZE, depth, pose_points, project
from models.light import shade
from models.morphable_model import MorphableModel
from models.normals import vertex_normals
from models.rasterizer import interpolate, rasterize
from service.deadline import Deadline
from service.engine import Engine
from service.reconstruction import Reconstruction
from service.settings import Settings
from service.stages import StageClock

IMAGES = Path(__file__).parent / "images"
SIDE = 360
YAWS_DEGREES = (-40.0, 0.0, 40.0)
LIGHT = np.array([[[0.85, -0.20, 0.30, 0.10, 0.0, 0.0, 0.0, 0.0, 0.0]]], np.float32)
BACKDROP = 0.16
SAMPLES = 2


def mesh_view(model: MorphableModel, face: Reconstruction, yaw_degrees: float) -> NDArray[np.uint8]:
    """The coloured mesh in model space, turned by a yaw: (SIDE, SIDE, 3)."""
    angles = np.radians([[0.0, yaw_degrees, 0.0]]).astype(np.float32)
    posed = pose_points(face.vertices[None], angles, np.zeros((1, 3), np.float32))
    colours = shade(face.albedo[None], vertex_normals(posed, model.triangles), LIGHT)
    side = SAMPLES * SIDE
    pixels = project(posed) * (side / CROP_SIZE)
    points = np.concatenate([pixels, depth(posed)[..., None]], -1).astype(np.float32)
    fragments = rasterize(points, model.triangles, side, side)
    picture = interpolate(fragments, model.triangles, colours.astype(np.float32))[0]
    picture[fragments.triangle_ids[0] < 0] = BACKDROP
    shrunk = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.rint(255 * np.clip(shrunk, 0, 1)).astype(np.uint8)


def row(engine: Engine, photo_file: Path) -> NDArray[np.uint8]:
    """Portrait, overlay and three views of the mesh, side by side."""
    clock = StageClock()
    scene = engine.reconstruct(photo_file.read_bytes(), "largest", Deadline(), clock)
    pictures = [
        cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        for picture in (scene.photo, engine.overlay(scene, False, clock))
    ]
    views = [mesh_view(engine.model, scene.faces[0], yaw) for yaw in YAWS_DEGREES]
    return np.concatenate([*pictures, *views], axis=1)


def main() -> None:
    """Write the picture."""
    engine = Engine(Settings())
    portraits = sorted((IMAGES / "portraits").glob("*.png"))
    sheet = np.concatenate([row(engine, portrait) for portrait in portraits])
    engine.close()
    bgr = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(IMAGES / "readme.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
