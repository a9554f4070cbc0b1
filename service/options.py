"""What can be asked for: the options of an answer, under the same names in HTTP, CLI and Python."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

Faces = Literal["all", "largest"]
Include = Literal["mesh", "overlay", "confidences"]
Expression = Literal["keep", "neutral"]
Pose = Literal["canonical", "camera"]
MeshFormat = Literal["glb", "obj"]
MESH_FORMATS: tuple[MeshFormat, ...] = get_args(MeshFormat)
Texture = Literal["albedo", "photo"]
TextureSize = Literal[256, 512, 1024, 2048]


def _whole_number(value: Any) -> Any:
    """A query is text, and a `Literal` of numbers takes none."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


AlbumFaces = Literal["largest", "consistent"]
Strategy = Literal["confidence", "mean", "best"]
Outliers = Literal["flag", "drop"]


class AnswerOptions(BaseModel):
    """What every answer with faces in it can be asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    include: list[Include] = Field(
        default=[],
        description="Comma-separated list of what the JSON shall hold besides: `mesh` and "
        "`overlay` (files in base64), `confidences` (all 80 per face).",
        examples=["mesh,overlay"],
    )
    mesh_format: MeshFormat = Field(
        default="glb", description="Format of the meshes inside JSON: `glb` or `obj`."
    )
    landmarks: bool = Field(default=False, description="Draw the 68 landmarks on the overlay.")
    texture: Texture = Field(
        default="albedo",
        description="Colours of the meshes: the face model's `albedo` per vertex, or an image "
        "baked from the `photo`, light and shadow included. An OBJ file on its own has the "
        "image's colours at its vertices.",
    )
    texture_size: Annotated[TextureSize, BeforeValidator(_whole_number)] = Field(
        default=1024, description="Side of the image that `texture=photo` bakes, in pixels."
    )

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

    faces: Faces = Field(
        default="all",
        description="`all` faces, or only the `largest`, the middle of the photo preferred.",
    )
    expression: Expression = Field(
        default="keep", description="`keep` the photo's expression in meshes, or `neutral`."
    )
    pose: Pose = Field(
        default="canonical",
        description="Meshes in the model's frame (`canonical`), or turned and placed as in the "
        "photo, in the frame of the camera's axes (`camera`).",
    )


class AlbumOptions(AnswerOptions):
    """The query of `POST /v1/albums/reconstruct`."""

    strategy: Strategy = Field(
        default="confidence",
        description="How photos are weighed: each coefficient by the photo's `confidence` in it, "
        "all alike (`mean`), or only the photo of the highest mean confidence (`best`).",
    )
    faces: AlbumFaces = Field(
        default="largest",
        description="Of several faces in a photo the `largest`, or the one that is `consistent` "
        "with the rest of the album.",
    )
    outliers: Outliers = Field(
        default="flag",
        description="Photos that seem to show somebody else: only `flag` them, or `drop` them "
        "from the identity as long as they are a minority.",
    )
    min_photos: int = Field(
        default=1, ge=1, le=64, description="Fewest photos with a face that make an answer."
    )
