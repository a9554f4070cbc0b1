"""What the answers for a photo and for an album have in common: their forms."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel

from facewright.models.arrays import ByteArray
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
from facewright.service.formats.zip import zip_files
from facewright.service.options import AnswerOptions, MeshFormat
from facewright.service.pipeline.chosen_mesh import mesh_size
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.job import Job
from facewright.service.results import schemas

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

    def __init__(self, engine: Engine, options: AnswerOptions, job: Job) -> None:
        self._engine = engine
        self._options = options
        self._job = job

    def write(self, media_type: str) -> Answer:
        """The answer as one of `FORMS`."""
        if media_type == JSON:
            return self.json_answer()
        if media_type in (JPEG, PNG):
            name = self.picture_name + EXTENSIONS[media_type]
            return Answer(self.picture(media_type), media_type, name)
        if media_type == ZIP:
            body = zip_files(self._timely_files(), lambda: self._job.stage("encode"))
            return Answer(body, ZIP, f"{self.archive_name}.zip")
        form = next(form for form, of_form in MESH_TYPES.items() if of_form == media_type)
        return Answer(self.main_mesh(form), media_type, f"{self.mesh_name}.{form}")

    def json_answer(self) -> Answer:
        """`result` as a body; what is not there is left out."""
        result = self.result()
        with self._job.stage("encode"):
            body = result.model_dump_json(exclude_none=True).encode()
        return Answer(body, JSON, "result.json")

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

    def _timely_files(self) -> Iterator[tuple[str, bytes]]:
        for file in self.files():
            self._job.check()
            yield file

    def _files_of_mesh(
        self,
        write: Callable[[MeshFormat, str | None], bytes],
        texture: ByteArray | None,
        form: MeshFormat,
        stem: str,
    ) -> Iterator[tuple[str, bytes]]:
        """Names and contents of a mesh file and of what belongs to it, one at a time.

        A textured OBJ file comes with its material and the texture's picture.

        write: the mesh file; an OBJ file may name a material file beside it.
        """
        if form != "obj" or texture is None:
            yield f"{stem}.{form}", write(form, None)
            return
        yield f"{stem}.obj", write(form, f"{stem}.mtl")
        yield f"{stem}.mtl", write_mtl(f"{stem}.png")
        with self._job.stage("mesh"):
            picture = encode_picture(texture, PNG)
        yield f"{stem}.png", picture

    def _mesh_in_json(self, data: bytes) -> schemas.MeshFile:
        vertices, triangles = mesh_size(self._engine, self._options.choice)
        return schemas.MeshFile(
            media_type=MESH_TYPES[self._options.mesh_format],
            data=_base64(data),
            vertices=vertices,
            triangles=triangles,
        )


def picture_in_json(jpeg: bytes) -> schemas.File:
    """A JPEG file, to be put into JSON."""
    return schemas.File(media_type=JPEG, data=_base64(jpeg))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
