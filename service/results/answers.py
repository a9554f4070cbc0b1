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

from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.blendshapes import BlendshapeSolver
from facewright.models.camera import CAMERA_DISTANCE, angles_from_matrix
from facewright.models.layout import layout_of
from facewright.service.errors import InvalidParameter
from facewright.service.formats.media_types import (
    EXTENSIONS,
    GLB,
    JPEG,
    JSON,
    MESH_TYPES,
    OBJ,
    PLY,
    PNG,
    STL,
    ZIP,
)
from facewright.service.formats.obj import write_mtl
from facewright.service.formats.pictures import encode_picture
from facewright.service.formats.scene_glb import Placed, write_scene_glb
from facewright.service.formats.zip import zip_files
from facewright.service.options import MeshFormat, ReconstructOptions
from facewright.service.pipeline.chosen_mesh import mesh_size
from facewright.service.pipeline.engine import Engine, Scene
from facewright.service.pipeline.hairline import Scalp
from facewright.service.pipeline.job import Job
from facewright.service.pipeline.overlay import draw_overlay
from facewright.service.pipeline.reconstruction import Reconstruction
from facewright.service.pipeline.scene_camera import SceneCamera
from facewright.service.results import schemas
from facewright.service.results.mesh_files import face_file, origin

MOST_LARGE_IN_JSON = 8
"""Faces whose OBJ or STL meshes fit into JSON: each is some 6 MB of base64, held several times."""


FORMS = (JSON, GLB, OBJ, PLY, STL, JPEG, PNG, ZIP)
"""What can be asked for, from the default to the least usual."""


ARCHIVED: tuple[MeshFormat, ...] = ("glb", "obj")
"""Formats of meshes in an archive; the others hold less than these."""


@dataclass(frozen=True)
class Answer:
    """A finished body."""

    body: bytes
    media_type: str
    filename: str
    """The name under which a browser saves it."""


class Writer(ABC):
    """Turns what was reconstructed into one of `FORMS`; what it costs is noted by the `job`.

    Every method raises `DeadlinePassed` before its next file when its deadline has passed.
    """

    mesh_name: str
    picture_name: ClassVar[str]
    """Names of the files, without their endings."""
    archive_name: ClassVar[str]

    def __init__(self, engine: Engine, job: Job) -> None:
        self._engine = engine
        self._job = job

    def write(self, media_type: str) -> Answer:
        """The answer as one of `FORMS`."""
        if media_type == JSON:
            return self.json_answer()
        if media_type in (JPEG, PNG):
            name = self.picture_name + EXTENSIONS[media_type]
            return Answer(self.picture(media_type), media_type, name)
        if media_type == ZIP:
            return zip_answer(self.files(), f"{self.archive_name}.zip", self._job)
        form = next(form for form, of_form in MESH_TYPES.items() if of_form == media_type)
        return Answer(self.main_mesh(form), media_type, f"{self.mesh_name}.{form}")

    def json_answer(self) -> Answer:
        """`result` as a body."""
        result = self.result()
        with self._job.stage("encode"):
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
    """Writes the faces of one photo; single-mesh forms hold the largest.

    But for a GLB file where the camera's frame is asked for: it holds all faces in one scene.
    """

    picture_name, archive_name = "overlay", "faces"

    def __init__(
        self,
        engine: Engine,
        scene: Scene,
        options: ReconstructOptions,
        job: Job,
    ) -> None:
        super().__init__(engine, job)
        self._scene = scene
        self._options = options
        self.mesh_name = options.mesh
        self._baked: tuple[Reconstruction, npt.NDArray[np.uint8]] | None = None

    def result(self) -> schemas.ReconstructResult:
        """The JSON document, with what `include` asks for.

        Raises `InvalidParameter` for OBJ and STL meshes of more than `MOST_LARGE_IN_JSON` faces.
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
            mesh=self._options.mesh,
            faces=[self._face(face) for face in self._scene.faces],
            overlay=overlay,
        )

    def mesh(
        self, face: Reconstruction, form: MeshFormat, material_file: str | None = None
    ) -> bytes:
        """The mesh file of one face; an OBJ file may name a material file beside it."""
        texture = self._texture(face, form)
        self._job.check()
        return face_file(
            self._engine,
            face,
            form,
            self._options.expression,
            self._options.pose,
            self._job,
            texture,
            material_file,
            self._options.choice,
            self._scalp(face, form),
        )

    def mesh_files(
        self, face: Reconstruction, form: MeshFormat, stem: str
    ) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the mesh file and of those that belong to it, one at a time."""

        def write(form: MeshFormat, material_file: str | None = None) -> bytes:
            return self.mesh(face, form, material_file)

        return write_mesh_files(write, self._texture(face, form), [form], stem, self._job)

    def picture(self, media_type: str) -> bytes:
        """The picture with all faces drawn on it, as a JPEG or PNG file."""
        self._job.check()
        scene, landmarks = self._scene, self._options.landmarks
        with self._job.stage("overlay"):
            picture = draw_overlay(
                scene.photo, self._engine.model, scene.faces, landmarks=landmarks
            )
        with self._job.stage("encode"):
            return encode_picture(picture, media_type)

    def main_mesh(self, form: MeshFormat) -> bytes:
        """The mesh of the largest face, or of all where they stand in one scene."""
        if form == "glb" and self.makes_scene:
            return self.scene_file()
        return self.mesh(self._scene.faces[0], form)

    @property
    def makes_scene(self) -> bool:
        """Whether there are several faces, and they are placed as in the photo."""
        return self._options.pose == "camera" and len(self._scene.faces) > 1

    def scene_file(self) -> bytes:
        """A GLB file of all faces before the photo's camera, each under a node `Face0`, ..."""
        scene, options = self._scene, self._options
        camera = SceneCamera.of(scene.faces, scene.width, scene.height)
        placed = []
        for index, face in enumerate(scene.faces):
            texture = self._texture(face, "glb")
            self._job.check()
            mesh = face_file(
                self._engine, face, "glb", options.expression, "canonical", self._job, texture,
                choice=options.choice, scalp=self._scalp(face, "glb"),
            )  # fmt: skip
            matrix = camera.place(face)
            matrix[:3, 3] /= 1000
            placed.append(Placed(f"Face{index}", mesh, matrix))
        with self._job.stage("mesh"):
            about = {
                **origin(self._engine, options.expression, "camera", options.texture),
                "units": "meters",
                "focal_px": camera.focal_px,
                "photo_px": [scene.width, scene.height],
            }
            return write_scene_glb(placed, about)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Overlay, JSON, every mesh as GLB and OBJ, and the scene if there is one."""
        yield "overlay.jpg", self.picture(JPEG)
        yield "result.json", self.json_answer().body
        for index, face in enumerate(self._scene.faces):
            for form in ARCHIVED:
                yield from self.mesh_files(face, form, f"face{index}")
        if self.makes_scene:
            yield "scene.glb", self.scene_file()

    def _texture(self, face: Reconstruction, form: MeshFormat) -> npt.NDArray[np.uint8] | None:
        """The face's texture if one is asked for; the last one is kept for its next file."""
        if self._options.texture == "albedo" or form == "stl":  # which has no colors
            return None
        if self._baked is None or self._baked[0] is not face:
            self._job.check()
            size = self._options.texture_size
            subject = self._options.mesh
            self._baked = (
                face,
                self._engine.texture(self._scene, face, size, self._job, subject),
            )
        return self._baked[1]

    def _scalp(self, face: Reconstruction, form: MeshFormat) -> Scalp | None:
        """What a head without a texture needs to know of the photo."""
        options = self._options
        if options.mesh == "face" or options.texture == "photo" or form == "stl":
            return None
        return self._engine.scalp(self._scene, face)

    def _check_size(self) -> None:
        form = self._options.mesh_format
        large = "mesh" in self._options.include and form in ("obj", "stl")
        if large and len(self._scene.faces) > MOST_LARGE_IN_JSON:
            raise InvalidParameter(
                f"The photo has {len(self._scene.faces)} faces; JSON holds {form.upper()} meshes "
                f"of at most {MOST_LARGE_IN_JSON}. Accept {ZIP} without `include`, or take "
                "mesh_format=glb."
            )

    def _face(self, face: Reconstruction) -> schemas.Face:
        mesh = None
        if "mesh" in self._options.include:
            form = self._options.mesh_format
            size = mesh_size(self._engine, self._options.choice)
            mesh = mesh_in_json(self.mesh(face, form), form, size)
        return describe_face(
            face,
            confidences="confidences" in self._options.include,
            blendshapes=self._engine.blendshapes,
            mesh=mesh,
        )


def shows_photo(media_type: str, options: ReconstructOptions) -> bool:
    """Whether an answer is made of the photo's pixels, not of its faces' coefficients alone."""
    if media_type in (JPEG, PNG, ZIP) or "overlay" in options.include:
        return True
    if media_type == JSON:
        textured = "mesh" in options.include and options.mesh_format != "stl"
    else:
        textured = media_type != STL
    return textured and options.texture == "photo"


def describe_face(
    face: Reconstruction,
    *,
    confidences: bool,
    blendshapes: BlendshapeSolver | None = None,
    mesh: schemas.MeshFile | None = None,
) -> schemas.Face:
    """Everything that is known of one face, with all of its confidences if asked for.

    blendshapes: what says its expression in ARKit's blendshapes, where the face model can.
    """
    parts = layout_of(face.coefficients).split(face.coefficients[None])
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
            matrix=_pose_matrix(face),
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
        blendshapes=_blendshapes(parts.expression[0], parts.identity[0], blendshapes),
        mesh=mesh,
    )


def _pose_matrix(face: Reconstruction) -> list[list[float]]:
    """4x4: model points in m to the frame of a camera at the origin that looks along -z."""
    matrix = np.eye(4)
    matrix[:3, :3] = face.rotation_matrix
    matrix[:3, 3] = (face.translation_mm - np.array([0, 0, CAMERA_DISTANCE])) / 1000
    return [[float(f"{value:.7g}") for value in row] for row in matrix.tolist()]


def _blendshapes(
    expression: npt.NDArray[np.float32],
    identity: npt.NDArray[np.float32],
    solver: BlendshapeSolver | None,
) -> schemas.Blendshapes | None:
    if solver is None:
        return None
    solved = solver.solve(expression, identity)

    def named(weights: npt.NDArray[np.float32]) -> dict[str, float]:
        rounded = np.round(weights.astype(np.float64), 4).tolist()
        return dict(zip(ARKIT_BLENDSHAPES, rounded, strict=True))

    return schemas.Blendshapes(
        weights=named(solved.weights),
        calibrated=None if solved.calibrated is None else named(solved.calibrated),
        residual_mm=round(solved.residual_mm, 4),
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
    job: Job,
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a mesh in some formats, one at a time.

    A textured OBJ file comes with its material and the texture's picture.
    """
    for form in forms:
        if form != "obj" or texture is None:
            yield f"{stem}.{form}", write(form)
            continue
        yield f"{stem}.obj", write(form, f"{stem}.mtl")
        yield f"{stem}.mtl", write_mtl(f"{stem}.png")
        with job.stage("mesh"):
            picture = encode_picture(texture, PNG)
        yield f"{stem}.png", picture


def mesh_in_json(data: bytes, form: MeshFormat, size: tuple[int, int]) -> schemas.MeshFile:
    """A mesh file to be put into JSON; `size` is its numbers of vertices and triangles."""
    return schemas.MeshFile(
        media_type=MESH_TYPES[form],
        data=_base64(data),
        vertices=size[0],
        triangles=size[1],
    )


def picture_in_json(jpeg: bytes) -> schemas.File:
    """A JPEG file, to be put into JSON."""
    return schemas.File(media_type=JPEG, data=_base64(jpeg))


def json_answer(result: BaseModel) -> Answer:
    """A result as a body; what is not there is left out."""
    return Answer(result.model_dump_json(exclude_none=True).encode(), JSON, "result.json")


def zip_answer(files: Iterable[tuple[str, bytes]], filename: str, job: Job) -> Answer:
    """Named files in one archive; raises `DeadlinePassed` when time runs out between them."""

    def timely() -> Iterator[tuple[str, bytes]]:
        for file in files:
            job.check()
            yield file

    return Answer(zip_files(timely(), lambda: job.stage("encode")), ZIP, filename)


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
            license=model.metadata["licence"],
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
            license=weights.get("licence", ""),
            layout=engine.regressor.layout.name,
            confidences=engine.regressor.confides,
            face_model=weights.get("face_model", ""),
            providers=list(engine.providers),
        ),
        detector=schemas.DetectorInfo(name=engine.detector.name, license=engine.detector.license),
    )


def rounded(values: npt.NDArray[np.float32]) -> list[float]:
    """A flat list with seven digits: what a float32 holds, without the noise behind it."""
    return [float(f"{value:.7g}") for value in values.ravel().tolist()]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
