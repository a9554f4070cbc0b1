"""Files of the meshes that were asked for, with a note of where they come from."""

from __future__ import annotations

from facewright.models.arrays import ByteArray, FloatArray
from facewright.service.formats.head import HeadMesh
from facewright.service.formats.mesh import Mesh
from facewright.service.formats.mesh_file import write_mesh
from facewright.service.options import MeshChoice, MeshFormat, Texture
from facewright.service.pipeline.chosen_mesh import chosen_face, chosen_identity
from facewright.service.pipeline.hairline import Scalp
from facewright.service.pipeline.job import Job
from facewright.service.pipeline.loading import LoadedModels
from facewright.service.pipeline.meshing import AXES
from facewright.service.pipeline.reconstruction import Reconstruction


def face_file(
    models: LoadedModels,
    face: Reconstruction,
    form: MeshFormat,
    choice: MeshChoice,
    job: Job,
    texture: ByteArray | None = None,
    material_file: str | None = None,
    scalp: Scalp | None = None,
) -> bytes:
    """The mesh of one face as the bytes of a file; see `chosen_face` and `write_mesh`."""
    with job.stage("mesh"):
        mesh = chosen_face(models, face, choice, texture, form, scalp)
        return _write(models, mesh, form, choice, material_file)


def identity_file(
    models: LoadedModels,
    identity: FloatArray,
    albedo: FloatArray,
    form: MeshFormat,
    choice: MeshChoice,
    job: Job,
    texture: ByteArray | None = None,
    material_file: str | None = None,
) -> bytes:
    """The mesh of an album's identity; see `chosen_identity` and `write_mesh`."""
    with job.stage("mesh"):
        mesh = chosen_identity(models, identity, albedo, choice, texture, form)
        return _write(models, mesh, form, choice, material_file)


def origin(models: LoadedModels, choice: MeshChoice, texture: Texture) -> dict[str, str]:
    """What a mesh file says of where it comes from."""
    return {
        "generator": "facewright",
        "face_model": f"{models.model.metadata['name']} {models.model.metadata['version']}",
        "face_model_sha256": models.model.sha256,
        "weights_sha256": models.weights_sha256,
        "license": models.model.metadata["licence"],
        "expression": choice.expression,
        "pose": choice.pose,
        "axes": AXES[choice.pose],
        "texture": texture,
    }


def _write(
    models: LoadedModels,
    mesh: Mesh | HeadMesh,
    form: MeshFormat,
    choice: MeshChoice,
    material_file: str | None,
) -> bytes:
    about = origin(models, choice, "albedo" if mesh.texture is None else "photo")
    if isinstance(mesh, HeadMesh):
        head_model = models.known_heads().rig.sha256
        about |= {"head_model_sha256": head_model, "detail": choice.detail}
    quantized = choice.compression == "quantized"
    return write_mesh(mesh, form, about, material_file, quantized=quantized)
