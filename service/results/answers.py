"""The forms of an answer: JSON, mesh file, picture, or everything in a ZIP file."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from facewright.models.camera import angles_from_matrix
from facewright.models.layout import LAYOUT_239
from facewright.service.errors import InvalidParameter
from facewright.service.formats.media_types import (
    EXTENSIONS,
    GLB,
    JPEG,
    JSON,
    MESH_TYPES,
    OBJ,
    PNG,
    ZIP,
)
from facewright.service.formats.obj import write_mtl
from facewright.service.formats.pictures import encode_picture
from facewright.service.formats.zip import zip_files
from facewright.service.options import MESH_FORMATS, MeshFormat, ReconstructOptions
from facewright.service.pipeline.engine import Engine, Scene
from facewright.service.pipeline.reconstruction import Reconstruction
from facewright.service.results import schemas
from facewright.service.runtime.deadline import Deadline
from facewright.service.telemetry.stages import StageClock

MOST_OBJ_IN_JSON = 8
"""Faces whose OBJ meshes fit into JSON: each is some 7 MB of base64, held several times over."""


FORMS = (JSON, GLB, OBJ, JPEG, PNG, ZIP)
"""What can be asked for, from the default to the least usual."""


@dataclass(frozen=True)
class Answer:
    """A finished body."""

    body: bytes
    media_type: str
    filename: str
    """The name under which a browser saves it."""


class Writer(ABC):
    """Turns what was reconstructed into one of `FORMS`; what it costs goes to `clock`.

    Every method raises `DeadlinePassed` before its next file when `deadline` has passed.
    """

    mesh_name: ClassVar[str]
    """Names of the files, without their endings."""
    picture_name: ClassVar[str]
    archive_name: ClassVar[str]

    def __init__(self, engine: Engine, deadline: Deadline, clock: StageClock) -> None:
        self._engine = engine
        self._deadline = deadline
        self._clock = clock

    def write(self, media_type: str) -> Answer:
        """The answer as one of `FORMS`."""
        if media_type == JSON:
            return self.json_answer()
        if media_type in (JPEG, PNG):
            name = self.picture_name + EXTENSIONS[media_type]
            return Answer(self.picture(media_type), media_type, name)
        if media_type == ZIP:
            return zip_answer(self.files(), f"{self.archive_name}.zip", self._deadline, self._clock)
        form: MeshFormat = "glb" if media_type == GLB else "obj"
        return Answer(self.main_mesh(form), media_type, f"{self.mesh_name}.{form}")

    def json_answer(self) -> Answer:
        """`result` as a body."""
        result = self.result()
        with self._clock.stage("encode"):
            return json_answer(result)

    @abstractmethod
    def result(self) -> BaseModel:
        """The JSON document, with what `include` asks for."""

    @abstractmethod
    def main_mesh(self, form: MeshFormat) -> bytes:
        """The one mesh of a form that holds a single mesh."""

    @abstractmethod
    def picture(self, media_type: str) -> bytes:
        """What was reconstructed, drawn on the photo or photos, as a JPEG or PNG file."""

    @abstractmethod
    def files(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents for the archive, one at a time: many meshes are much memory."""


class AnswerWriter(Writer):
    """Writes the faces of one photo; single-mesh forms hold the largest."""

    mesh_name, picture_name, archive_name = "face", "overlay", "faces"

    def __init__(
        self,
        engine: Engine,
        scene: Scene,
        options: ReconstructOptions,
        deadline: Deadline,
        clock: StageClock,
    ) -> None:
        super().__init__(engine, deadline, clock)
        self._scene = scene
        self._options = options
        self._baked: tuple[Reconstruction, npt.NDArray[np.uint8]] | None = None

    def result(self) -> schemas.ReconstructResult:
        """The JSON document, with what `include` asks for.

        Raises `InvalidParameter` for OBJ meshes of more than `MOST_OBJ_IN_JSON` faces.
        """
        self._check_size()
        overlay = None
        if "overlay" in self._options.include:
            overlay = picture_in_json(self.picture(JPEG))
        return schemas.ReconstructResult(
            photo=schemas.Photo(width=self._scene.width, height=self._scene.height),
            face_model=face_model_reference(self._engine),
            weights=weights_reference(self._engine),
            detector=self._engine.detector.name,
            expression=self._options.expression,
            mesh_pose=self._options.pose,
            texture=self._options.texture,
            faces=[self._face(face) for face in self._scene.faces],
            overlay=overlay,
        )

    def mesh(
        self, face: Reconstruction, form: MeshFormat, material_file: str | None = None
    ) -> bytes:
        """The mesh file of one face; an OBJ file may name a material file beside it."""
        texture = self._texture(face)
        self._deadline.check()
        return self._engine.mesh_file(
            face,
            form,
            self._options.expression,
            self._options.pose,
            self._clock,
            texture,
            material_file,
        )

    def mesh_files(
        self, face: Reconstruction, form: MeshFormat, stem: str
    ) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the mesh file and of those that belong to it, one at a time."""

        def write(form: MeshFormat, material_file: str | None = None) -> bytes:
            return self.mesh(face, form, material_file)

        return write_mesh_files(write, self._texture(face), [form], stem, self._clock)

    def picture(self, media_type: str) -> bytes:
        """The picture with all faces drawn on it, as a JPEG or PNG file."""
        self._deadline.check()
        picture = self._engine.overlay(self._scene, self._options.landmarks, self._clock)
        with self._clock.stage("encode"):
            return encode_picture(picture, media_type)

    def main_mesh(self, form: MeshFormat) -> bytes:
        """The mesh of the largest face."""
        return self.mesh(self._scene.faces[0], form)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Overlay, JSON and every mesh in both formats."""
        yield "overlay.jpg", self.picture(JPEG)
        yield "result.json", self.json_answer().body
        for index, face in enumerate(self._scene.faces):
            for form in MESH_FORMATS:
                yield from self.mesh_files(face, form, f"face{index}")

    def _texture(self, face: Reconstruction) -> npt.NDArray[np.uint8] | None:
        """The face's texture if one is asked for; the last one is kept for its next file."""
        if self._options.texture == "albedo":
            return None
        if self._baked is None or self._baked[0] is not face:
            self._deadline.check()
            size = self._options.texture_size
            self._baked = face, self._engine.texture(self._scene, face, size, self._clock)
        return self._baked[1]

    def _check_size(self) -> None:
        wants_obj = "mesh" in self._options.include and self._options.mesh_format == "obj"
        if wants_obj and len(self._scene.faces) > MOST_OBJ_IN_JSON:
            raise InvalidParameter(
                f"The photo has {len(self._scene.faces)} faces; JSON holds OBJ meshes of at most "
                f"{MOST_OBJ_IN_JSON}. Accept {ZIP} without `include`, or take mesh_format=glb."
            )

    def _face(self, face: Reconstruction) -> schemas.Face:
        mesh = None
        if "mesh" in self._options.include:
            form = self._options.mesh_format
            mesh = mesh_in_json(self.mesh(face, form), form, self._engine)
        return describe_face(face, confidences="confidences" in self._options.include, mesh=mesh)


def shows_photo(media_type: str, options: ReconstructOptions) -> bool:
    """Whether an answer is made of the photo's pixels, not of its faces' coefficients alone."""
    pictured = media_type in (JPEG, PNG, ZIP)
    return pictured or options.texture == "photo" or "overlay" in options.include


def describe_face(
    face: Reconstruction, *, confidences: bool, mesh: schemas.MeshFile | None = None
) -> schemas.Face:
    """Everything that is known of one face, with all of its confidences if asked for."""
    parts = LAYOUT_239.split(face.coefficients[None])
    x0, y0, x1, y1 = (round(float(value), 3) for value in face.face.box)
    angles = angles_from_matrix(face.rotation_matrix[None].astype(np.float64))[0]
    pitch, yaw, roll = np.degrees(angles).tolist()
    return schemas.Face(
        box=schemas.FaceBox(x0=x0, y0=y0, x1=x1, y1=y1),
        score=float(face.face.score),
        crop_transform=face.crop_transform.tolist(),
        intrinsics=face.intrinsics.tolist(),
        pose=schemas.FacePose(
            angles=schemas.Angles(pitch=pitch, yaw=yaw, roll=roll),
            rotation_matrix=face.rotation_matrix.tolist(),
            translation_mm=face.translation_mm.tolist(),
        ),
        coefficients=schemas.CoefficientGroups(
            identity=rounded(parts.identity),
            expression=rounded(parts.expression),
            albedo=rounded(parts.albedo),
            light=rounded(parts.light),
            rotation=rounded(parts.rotation),
            translation=rounded(parts.translation),
        ),
        confidence=schemas.ConfidenceSummary(
            mean=float(face.confidences.mean()),
            min=float(face.confidences.min()),
            max=float(face.confidences.max()),
        ),
        confidences=rounded(face.confidences) if confidences else None,
        landmarks=np.round(face.landmarks_px.astype(np.float64), 3).tolist(),
        mesh=mesh,
    )


class WriteMesh(Protocol):
    """Writes a mesh file; an OBJ file may name a material file beside it."""

    def __call__(self, form: MeshFormat, material_file: str | None = None, /) -> bytes:
        """The file in one of the formats."""
        ...


def write_mesh_files(
    write: WriteMesh,
    texture: npt.NDArray[np.uint8] | None,
    forms: Sequence[MeshFormat],
    stem: str,
    clock: StageClock,
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a mesh in some formats, one at a time.

    A textured OBJ file comes with its material and the texture's picture.
    """
    for form in forms:
        if form == "glb" or texture is None:
            yield f"{stem}.{form}", write(form)
            continue
        yield f"{stem}.obj", write(form, f"{stem}.mtl")
        yield f"{stem}.mtl", write_mtl(f"{stem}.png")
        with clock.stage("mesh"):
            picture = encode_picture(texture, PNG)
        yield f"{stem}.png", picture


def mesh_in_json(data: bytes, form: MeshFormat, engine: Engine) -> schemas.MeshFile:
    """A mesh file of the engine's face model, to be put into JSON."""
    return schemas.MeshFile(
        media_type=MESH_TYPES[form],
        data=_base64(data),
        vertices=engine.model.n_vertices,
        triangles=engine.model.n_triangles,
    )


def picture_in_json(jpeg: bytes) -> schemas.File:
    """A JPEG file, to be put into JSON."""
    return schemas.File(media_type=JPEG, data=_base64(jpeg))


def json_answer(result: BaseModel) -> Answer:
    """A result as a body; what is not there is left out."""
    return Answer(result.model_dump_json(exclude_none=True).encode(), JSON, "result.json")


def zip_answer(
    files: Iterable[tuple[str, bytes]], filename: str, deadline: Deadline, clock: StageClock
) -> Answer:
    """Named files in one archive; raises `DeadlinePassed` when time runs out between them."""

    def timely() -> Iterator[tuple[str, bytes]]:
        for file in files:
            deadline.check()
            yield file

    return Answer(zip_files(timely(), lambda: clock.stage("encode")), ZIP, filename)


def face_model_reference(engine: Engine) -> schemas.ModelReference:
    """Which face model `engine` uses."""
    about = engine.model.metadata
    return schemas.ModelReference(
        name=about["name"], version=about["version"], sha256=engine.model.sha256
    )


def weights_reference(engine: Engine) -> schemas.ModelReference:
    """Which weights `engine` uses."""
    about = engine.regressor.metadata
    return schemas.ModelReference(
        name=about.get("name", "unnamed"),
        version=about.get("version", ""),
        sha256=engine.weights_sha256,
    )


def describe_models(engine: Engine, service_version: str) -> schemas.ModelsResult:
    """Everything that `engine` has loaded."""
    model, weights = engine.model, engine.regressor.metadata
    return schemas.ModelsResult(
        service_version=service_version,
        face_model=schemas.FaceModelInfo(
            **face_model_reference(engine).model_dump(),
            licence=model.metadata["licence"],
            source=model.metadata["source"],
            vertices=model.n_vertices,
            triangles=model.n_triangles,
            landmarks=len(model.landmarks),
            identity_coefficients=model.n_identity,
            expression_coefficients=model.n_expression,
            albedo_coefficients=model.n_albedo,
            expression_units=list(model.expression_units),
        ),
        weights=schemas.WeightsInfo(
            **weights_reference(engine).model_dump(),
            licence=weights.get("licence", ""),
            layout=weights.get("layout", LAYOUT_239.name),
            face_model=weights.get("face_model", ""),
            providers=list(engine.providers),
        ),
        detector=schemas.DetectorInfo(name=engine.detector.name, licence=engine.detector.licence),
    )


def rounded(values: npt.NDArray[np.float32]) -> list[float]:
    """A flat list with seven digits: what a float32 holds, without the noise behind it."""
    return [float(f"{value:.7g}") for value in values.ravel().tolist()]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
