"""Doing everything once, so that no request waits for a compiler or an allocation."""

from __future__ import annotations

import numpy as np

from facewright.models.arcface import ARCFACE_POINTS, ARCFACE_SIDE
from facewright.models.camera import CROP_SIZE
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
from facewright.service.pipeline.reconstruction import ObservedFace, reconstruct_faces
from facewright.service.pipeline.scalp import scalp_in_photo
from facewright.service.runtime.sessions import CPU_PROVIDERS


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
    crop = np.zeros((1, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    coefficients, confidences, *_ = models.regressor.regress(crop)
    nowhere = DetectedFace(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 1.0)
    in_the_middle = np.array([[1.0, 0, -CROP_SIZE / 2], [0, 1.0, -CROP_SIZE / 2]])
    (face,) = reconstruct_faces(
        models.model, [ObservedFace(nowhere, in_the_middle, coefficients[0], confidences[0])]
    )
    shares = np.full((len(CLASSES), SEGMENTATION_SIDE, SEGMENTATION_SIDE), 0.5, np.float32)
    seen = Segmentation(shares, SEGMENTATION_SIDE / CROP_SIZE * face.crop_transform)
    view = TextureView(photo, face.posed_vertices(), face.projected(), segmentation=seen)
    # Two views, as of an album; that of the head below is of one.
    texture = models.bake([view, view], face.albedo, DEFAULT_TEXTURE_SIZE)
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
