"""The mesh that was asked for: face or head, in its detail, of one photo or of an album."""

from __future__ import annotations

import numpy as np

from facewright.models.arrays import ByteArray, FloatArray
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.layout import layout_of
from facewright.service.formats.head import HeadMesh, HeadPose
from facewright.service.formats.mesh import Mesh
from facewright.service.options import MeshChoice, MeshFormat
from facewright.service.pipeline.hairline import Scalp
from facewright.service.pipeline.heads import HeadShape, plain_mesh
from facewright.service.pipeline.loading import LoadedModels
from facewright.service.pipeline.meshing import FaceLevel, colored_mesh, face_mesh
from facewright.service.pipeline.reconstruction import Reconstruction


def chosen_face(
    models: LoadedModels,
    face: Reconstruction,
    choice: MeshChoice = MeshChoice(),
    texture: ByteArray | None = None,
    form: MeshFormat = "glb",
    scalp: Scalp | None = None,
) -> Mesh | HeadMesh:
    """The mesh of one face.

    Args:
        models: what made the face.
        face: the face.
        choice: face or head, its detail, expression and pose.
        texture: (N, N, 3) baked for this subject; the albedo's colors without it.
        form: of the file it is for; only "glb" has room for a head's parts and targets.
        scalp: what the photo tells of the hair, for heads without a texture.

    Raises:
        InvalidParameter: a head or another detail of a face model without a head.
    """
    if choice.subject == "face":
        level = face_level(models, choice)
        return face_mesh(models.model, face, choice.expression, choice.pose, texture, level)
    if form == "glb":
        return chosen_head(models, face, choice, texture, scalp)
    plain = choice._replace(targets="none")
    return plain_mesh(chosen_head(models, face, plain, texture, scalp))


def chosen_identity(
    models: LoadedModels,
    identity: FloatArray,
    albedo: FloatArray,
    choice: MeshChoice = MeshChoice(),
    texture: ByteArray | None = None,
    form: MeshFormat = "glb",
) -> Mesh | HeadMesh:
    """The neutral, canonical mesh of identity and albedo coefficients (80,); see `chosen_face`."""
    model = models.model
    colors = model.albedo(albedo[None])[0]
    if choice.subject == "face":
        relaxed = np.zeros((1, model.n_expression), np.float32)
        vertices = model.shape(identity[None], relaxed)[0]
        return colored_mesh(model, vertices, colors, texture, face_level(models, choice))
    heads = models.known_heads()
    resting = models.resting(identity)
    cage = heads.rig.cage(model.cage(identity[None], resting[None])[0], identity, resting)
    targets = choice.targets if form == "glb" else "none"
    head = heads.mesh(HeadShape(cage, {}, None), colors, choice.detail, targets, texture)
    return head if form == "glb" else plain_mesh(head)


def chosen_head(
    models: LoadedModels,
    face: Reconstruction,
    choice: MeshChoice,
    texture: ByteArray | None = None,
    scalp: Scalp | None = None,
) -> HeadMesh:
    """The whole head of one face, whatever `choice.subject`.

    With morph targets its vertices are neutral and the targets' weights are the expression, as
    near as they come; without, its vertices have it.
    Raises `InvalidParameter` when the face model has no head.
    """
    heads, geometry = models.known_heads(), face.geometry
    coefficients = layout_of(face.coefficients).split(face.coefficients[None])
    weights: dict[str, float] = {}
    if choice.expression == "neutral" or choice.targets != "none":
        resting = models.resting(geometry.identity)
        face_cage = models.model.cage(geometry.identity[None], resting[None])[0]
        cage = heads.rig.cage(face_cage, geometry.identity, resting)
        if choice.expression == "keep" and models.blendshapes is not None:
            solved = models.blendshapes.solve(coefficients.expression[0], geometry.identity)
            weights = dict(zip(ARKIT_BLENDSHAPES, solved.weights.tolist(), strict=True))
    else:
        cage = heads.rig.cage(geometry.cage, geometry.identity, coefficients.expression[0])
    pose = HeadPose(face.rotation_matrix, face.translation_mm) if choice.pose == "camera" else None
    shape = HeadShape(cage, weights, pose)
    return heads.mesh(shape, geometry.albedo, choice.detail, choice.targets, texture, scalp)


def mesh_size(models: LoadedModels, choice: MeshChoice) -> tuple[int, int]:
    """Numbers of vertices and triangles of a mesh; raises as `chosen_face`."""
    if choice.subject == "head":
        return models.known_heads().size(choice.detail)
    level = face_level(models, choice)
    if level is None:
        return models.model.n_vertices, models.model.n_triangles
    return len(level.vertices), len(level.triangles)


def face_level(models: LoadedModels, choice: MeshChoice) -> FaceLevel | None:
    """The mesh of a face in less than full detail; None for the model's own."""
    if choice.detail == "high":
        return None
    return models.known_heads().face_levels[choice.detail]
