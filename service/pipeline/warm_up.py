"""Doing everything once, so that no request waits for a compiler or an allocation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facewright.models.arcface import ARCFACE_POINTS, ARCFACE_SIDE
from facewright.models.camera import CROP_SIZE
from facewright.models.morphable_model import MorphableModel
from facewright.models.resampling import warm_up as warm_up_resampling
from facewright.models.segmentation import CLASSES, SEGMENTATION_SIDE, Segmentation
from facewright.models.texture.baking import DEFAULT_TEXTURE_SIZE
from facewright.models.texture.views import TextureView
from facewright.service.formats.mesh_file import write_mesh
from facewright.service.networks.detection import DetectedFace
from facewright.service.options import MESH_FORMATS, MeshChoice
from facewright.service.pipeline.chosen_mesh import chosen_face
from facewright.service.pipeline.loading import LoadedModels
from facewright.service.pipeline.overlay import draw_overlay
from facewright.service.pipeline.overlay import warm_up as warm_up_overlay
from facewright.service.pipeline.reconstruction import Reconstructor
from facewright.service.pipeline.scalp import scalp_in_photo
from facewright.service.runtime.sessions import CPU_PROVIDERS

RgbU8 = npt.NDArray[np.uint8]


def warm_up(models: LoadedModels) -> None:
    """Run the networks, and make every kind of mesh, texture and picture once."""
    models.detector.warm_up()
    if models.recognizer is not None:
        blank = np.zeros((2 * ARCFACE_SIDE, 2 * ARCFACE_SIDE, 3), np.uint8)
        models.recognizer.embed(blank, np.float32(2 * ARCFACE_POINTS)[None])
    largest = models.settings.batch_size
    # A GPU chooses its kernels for each shape.
    on_cpu = models.providers == CPU_PROVIDERS
    models.regressor.warm_up(sorted({1, largest}) if on_cpu else range(1, largest + 1))
    models.lone_regressor.warm_up()
    models.segmenter.warm_up()
    # Not left to the picture below: the network may see its face beyond the border.
    warm_up_overlay()
    warm_up_resampling()
    photo = np.zeros((2 * CROP_SIZE, 2 * CROP_SIZE, 3), np.uint8)
    (face,) = Reconstructor(
        models.model,
        _KnownFace(models.model),
        models.regressor.regress,
        models.regressor.alignment,
    ).reconstruct(photo)
    shares = np.full((len(CLASSES), SEGMENTATION_SIDE, SEGMENTATION_SIDE), 0.5, np.float32)
    seen = Segmentation(shares, SEGMENTATION_SIDE / CROP_SIZE * face.crop_transform)
    view = TextureView(photo, face.posed_vertices(), face.projected(), segmentation=seen)
    texture = models.bake([view], face.albedo, DEFAULT_TEXTURE_SIZE)
    for form in MESH_FORMATS:
        for image in (None, texture):
            write_mesh(chosen_face(models, face, texture=image, form=form), form, {})
    if models.blendshapes is not None:
        models.blendshapes.solve(
            np.zeros(models.model.n_expression, np.float32), face.geometry.identity
        )
    if models.heads is not None:
        choice = MeshChoice("head", "medium")
        scalp = scalp_in_photo(photo, face, models.heads)
        texture = models.bake([view], face.albedo, DEFAULT_TEXTURE_SIZE, scalp)
        for image in (None, texture):
            write_mesh(chosen_face(models, face, choice=choice, texture=image), "glb", {})
    draw_overlay(photo, models.model, [face], landmarks=True)


class _KnownFace:
    """A detector that sees the model's mean face in the middle of every photo."""

    name = "known"

    def __init__(self, model: MorphableModel) -> None:
        self._offsets = model.five_points[:, :2] * (1, -1)

    def detect(self, rgb_u8: RgbU8, *, turned: bool = False) -> list[DetectedFace]:
        height, width = rgb_u8.shape[:2]
        points = (self._offsets + (width / 2, height / 2)).astype(np.float32)
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
        return [DetectedFace(box=box, points=points, score=1.0)]
