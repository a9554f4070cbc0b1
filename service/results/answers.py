"""The forms of an answer for one photo: JSON, mesh file, picture, or everything in a ZIP file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from facewright.models.arrays import ByteArray
from facewright.service.errors import InvalidParameter
from facewright.service.formats.media_types import JPEG, JSON, PNG, STL, ZIP
from facewright.service.formats.pictures import encode_picture
from facewright.service.formats.scene_glb import Placed, write_scene_glb
from facewright.service.options import MeshChoice, MeshFormat, ReconstructOptions
from facewright.service.pipeline.engine import Engine, Scene
from facewright.service.pipeline.hairline import Scalp
from facewright.service.pipeline.job import Job
from facewright.service.pipeline.overlay import draw_overlay
from facewright.service.pipeline.reconstruction import Reconstruction
from facewright.service.pipeline.scene_camera import SceneCamera
from facewright.service.results import schemas
from facewright.service.results.descriptions import (
    describe_face,
    face_model_reference,
    weights_reference,
)
from facewright.service.results.mesh_files import face_file, origin
from facewright.service.results.writer import ARCHIVED, Writer, picture_in_json

MOST_LARGE_IN_JSON = 8
"""Faces whose OBJ or STL meshes fit into JSON: each is some 6 MB of base64, held several times."""


class AnswerWriter(Writer):
    """Writes the faces of one photo; single-mesh forms hold the largest.

    But for a GLB file where the camera's frame is asked for: it holds all faces in one scene.
    """

    picture_name, archive_name = "overlay", "faces"
    _options: ReconstructOptions

    def __init__(
        self,
        engine: Engine,
        scene: Scene,
        options: ReconstructOptions,
        job: Job,
    ) -> None:
        super().__init__(engine, options, job)
        self._scene = scene
        self.mesh_name = options.mesh
        self._baked: tuple[Reconstruction, ByteArray] | None = None

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
        return self._mesh(face, form, self._options.choice, material_file)

    def mesh_files(
        self, face: Reconstruction, form: MeshFormat, stem: str
    ) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the mesh file and of those that belong to it, one at a time."""
        texture = self._texture(face, form)
        return self._files_of_mesh(partial(self.mesh, face), texture, form, stem)

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
            mesh = self._mesh(face, "glb", options.choice._replace(pose="canonical"))
            matrix = camera.place(face)
            matrix[:3, 3] /= 1000
            placed.append(Placed(f"Face{index}", mesh, matrix))
        with self._job.stage("mesh"):
            about = {
                **origin(self._engine, options.choice, options.texture),
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

    def _texture(self, face: Reconstruction, form: MeshFormat) -> ByteArray | None:
        """The face's texture if one is asked for; the last one is kept for its next file."""
        if self._options.texture == "albedo" or form == "stl":  # which has no colors
            return None
        if self._baked is None or self._baked[0] is not face:
            self._job.check()
            size = self._options.texture_size
            subject = self._options.mesh
            texture = self._engine.texture(self._scene, face, size, self._job, subject)
            self._baked = face, texture
        return self._baked[1]

    def _mesh(
        self,
        face: Reconstruction,
        form: MeshFormat,
        choice: MeshChoice,
        material_file: str | None = None,
    ) -> bytes:
        texture = self._texture(face, form)
        self._job.check()
        scalp = self._scalp(face, form)
        return face_file(self._engine, face, form, choice, self._job, texture, material_file, scalp)

    def _scalp(self, face: Reconstruction, form: MeshFormat) -> Scalp | None:
        """What a head without a texture needs to know of the photo."""
        options = self._options
        if options.mesh == "face" or options.texture == "photo" or form == "stl":
            return None
        return self._engine.scalp(self._scene, face, self._job)

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
            mesh = self._mesh_in_json(self.mesh(face, self._options.mesh_format))
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
