"""What can be asked for: the options of an answer, under the same names in HTTP, CLI and Python."""

from __future__ import annotations

import re
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import annotated_types
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)
from pydantic.fields import FieldInfo

Faces = Literal["all", "largest"]
Include = Literal["mesh", "overlay", "confidences"]
Expression = Literal["keep", "neutral"]
Pose = Literal["canonical", "camera"]
MeshFormat = Literal["glb", "obj", "ply", "stl"]
MESH_FORMATS: tuple[MeshFormat, ...] = get_args(MeshFormat)
Texture = Literal["albedo", "photo"]
TextureSize = Literal[256, 512, 1024, 2048]
Subject = Literal["face", "head"]
Detail = Literal["low", "medium", "high"]
Targets = Literal["none", "arkit", "all"]
Compression = Literal["none", "quantized"]


class MeshChoice(NamedTuple):
    """Which mesh is written of a face, and how; see `AnswerOptions`."""

    subject: Subject = "face"
    detail: Detail = "high"
    targets: Targets = "all"
    compression: Compression = "quantized"
    expression: Expression = "keep"
    pose: Pose = "canonical"


def _whole_number(value: Any) -> Any:
    """A query is text, and a `Literal` of numbers takes none."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


AlbumFaces = Literal["largest", "consistent"]
Strategy = Literal["confidence", "mean", "best"]
Outliers = Literal["flag", "drop"]


class AnswerOptions(BaseModel):
    """What every answer with faces in it can be asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    include: list[Include] = Field(default=[], examples=["mesh,overlay"])
    """Comma-separated list of what the JSON shall hold besides: `mesh` and `overlay` (files in
    base64), `confidences` (all 80 per face)."""
    mesh_format: MeshFormat = "glb"
    """Format of the meshes inside JSON."""
    landmarks: bool = False
    """Draw the 68 landmarks on the overlay."""
    texture: Texture = "photo"
    """Colors of the meshes: an image baked from the `photo`, light and shadow included, or the face
    model's `albedo` per vertex. OBJ and PLY files have the image's colors at their vertices, STL
    files have none."""
    texture_size: Annotated[TextureSize, BeforeValidator(_whole_number)] = 1024
    """Side of the image that `texture=photo` bakes, in pixels."""

    mesh: Subject = "face"
    """The `face` that the network knows, or a whole `head` with ears, neck, eyes, teeth and a
    tongue, which can be animated."""
    detail: Detail | None = None
    """Triangles of the mesh: about 5,000 of the face in `low`, 21,000 in `medium` and 83,000 in
    `high`; a head has half as many more. Left out, a face is `high` and a head `medium`."""
    targets: Targets = "all"
    """Morph targets of a head's GLB file: ARKit's 52 (`arkit`), with Oculus' 15 visemes (`all`), or
    `none`."""
    compression: Compression = "quantized"
    """Numbers of a head's GLB file: `quantized` with KHR_mesh_quantization and sparse targets, or
    `none` for software that lacks them."""

    @property
    def choice(self) -> MeshChoice:
        """The mesh that is asked for: of an album's identity, without an expression."""
        detail = self.detail or ("high" if self.mesh == "face" else "medium")
        return MeshChoice(self.mesh, detail, self.targets, self.compression, "neutral")

    @field_validator("include", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            return value
        return [
            part.strip() if isinstance(part, str) else part
            for item in items
            for part in (item.split(",") if isinstance(item, str) else [item])
            if part != ""
        ]


class ReconstructOptions(AnswerOptions):
    """The query of `POST /v1/reconstruct`."""

    faces: Faces = "all"
    """`all` faces, or only the `largest`, the middle of the photo preferred."""
    expression: Expression = "keep"
    """`keep` the photo's expression in meshes, or `neutral`."""
    pose: Pose = "canonical"
    """Meshes in the model's frame (`canonical`), or turned and placed as in the photo, in the frame
    of the camera's axes (`camera`); a GLB answer then holds all faces in one scene."""

    @property
    def choice(self) -> MeshChoice:
        """The meshes that are asked for."""
        return super().choice._replace(expression=self.expression, pose=self.pose)


class AlbumOptions(AnswerOptions):
    """The query of `POST /v1/albums/reconstruct`."""

    strategy: Strategy = "confidence"
    """How photos are weighed: each coefficient by the photo's `confidence` in it, all alike
    (`mean`), or only the photo of the highest mean confidence (`best`)."""
    faces: AlbumFaces = "largest"
    """Of several faces in a photo the `largest`, or the one that is `consistent` with the rest of
    the album."""
    outliers: Outliers = "flag"
    """Photos that seem to show somebody else: only `flag` them, or `drop` them from the identity as
    long as they are a minority."""
    min_photos: int = Field(default=1, ge=1, le=64)
    """Fewest photos with a face that make an answer."""


def explain(kind: type[BaseModel], error: ValidationError) -> list[tuple[str, str]]:
    """What is wrong with the values for a model: names of fields, each with what is expected.

    Never the values themselves, nor anything that pydantic says of its own workings.
    """
    names = dict.fromkeys(str(problem["loc"][0]) for problem in error.errors() if problem["loc"])
    return [(name[:64], _expectation(kind, name)) for name in names]


def takes_several(kind: type[BaseModel], name: str) -> bool:
    """Whether a field is a list."""
    return name in kind.model_fields and get_origin(kind.model_fields[name].annotation) is list


def _expectation(kind: type[BaseModel], name: str) -> str:
    if name not in kind.model_fields:
        return f"is not known; known are {', '.join(kind.model_fields)}"
    return f"must be {_values(kind.model_fields[name])}"


def _values(field: FieldInfo) -> str:
    """The values that a field can have, in words."""
    annotation = field.annotation
    if get_origin(annotation) in (
        Union,
        UnionType,
    ):  # with None, which is nothing that one could say
        annotation = next(kind for kind in get_args(annotation) if kind is not NoneType)
    if get_origin(annotation) is list:
        return f"a list of some of {_choices(get_args(annotation)[0])}"
    if get_origin(annotation) is Literal:
        return f"one of {_choices(annotation)}"
    if annotation is bool:
        return "true or false"
    words = {int: "a whole number", float: "a number", str: "text"}
    kind = words.get(annotation, "a path") if isinstance(annotation, type) else "another value"
    limits = {
        annotated_types.Ge: ("of at least", "ge"),
        annotated_types.Gt: ("greater than", "gt"),
        annotated_types.Le: ("at most", "le"),
    }
    bounds = [
        f"{limits[type(bound)][0]} {getattr(bound, limits[type(bound)][1])}"
        for bound in field.metadata
        if type(bound) in limits
    ]
    return " ".join([kind, " and ".join(bounds)]).strip()


def _choices(literal: Any) -> str:
    return ", ".join(str(value) for value in get_args(literal))
