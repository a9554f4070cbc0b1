"""The JSON of version 1 of the API.

Additions keep `schema_version` at 1.x; anything that breaks a reader makes a new path.
Photo coordinates are pixels of the photo as a viewer shows it (EXIF orientation applied),
continuous: the centre of the top left pixel is (0.5, 0.5).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

SCHEMA_VERSION: Final = "1.0"

Vector3 = Annotated[list[float], Field(min_length=3, max_length=3)]
Matrix3 = Annotated[list[Vector3], Field(min_length=3, max_length=3)]
Point2 = Annotated[list[float], Field(min_length=2, max_length=2)]


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


class ReconstructOptions(BaseModel):
    """The query of `POST /v1/reconstruct`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    faces: Faces = Field(default="all", description="`all` faces, or only the `largest`.")
    include: list[Include] = Field(
        default=[],
        description="Comma-separated list of what the JSON shall hold besides: `mesh` and "
        "`overlay` (files in base64), `confidences` (all 80 per face).",
        examples=["mesh,overlay"],
    )
    expression: Expression = Field(
        default="keep", description="`keep` the photo's expression in meshes, or `neutral`."
    )
    pose: Pose = Field(
        default="canonical",
        description="Meshes in the model's frame (`canonical`), or turned and placed as in the "
        "photo, in the frame of the camera's axes (`camera`).",
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


class Photo(BaseModel):
    """The photo as it was read."""

    width: int = Field(description="Pixels.", examples=[512])
    height: int = Field(description="Pixels.", examples=[512])


class ModelReference(BaseModel):
    """Which model made a result."""

    name: str = Field(examples=["facewright-open"])
    version: str = Field(examples=["1"])
    sha256: str = Field(description="Of the model's file.")


class FaceBox(BaseModel):
    """The detector's box, in photo pixels; it may reach beyond the photo."""

    x0: float = Field(examples=[173.2])
    y0: float = Field(examples=[72.0])
    x1: float = Field(examples=[275.9])
    y1: float = Field(examples=[209.4])


class Angles(BaseModel):
    """Rotation angles in degrees; R = Rz(roll) · Ry(yaw) · Rx(pitch), right-handed."""

    pitch: float = Field(description="About +x: positive looks down.", examples=[4.1])
    yaw: float = Field(
        description="About +y: positive turns to the subject's left.", examples=[-12.5]
    )
    roll: float = Field(
        description="About +z: positive turns counter-clockwise in the picture.", examples=[2.0]
    )


class FacePose(BaseModel):
    """Where the face is: model point v (mm) is at p = R·v + t before the camera.

    The camera is at (0, 0, 1000) mm and looks along -z; x is to the right in the picture and
    y up.  The point's depth is d = 1000 - p_z, and its place in the photo is
    (intrinsics · (p_x, -p_y, d)) / d.
    """

    angles: Angles
    rotation_matrix: Matrix3 = Field(description="R.")
    translation_mm: Vector3 = Field(description="t.", examples=[[1.2, -3.4, 5.6]])


class CoefficientGroups(BaseModel):
    """The 239 numbers of Deng et al. 2019; shape and albedo in standard deviations."""

    identity: list[float] = Field(min_length=80, max_length=80, description="alpha.")
    expression: list[float] = Field(min_length=64, max_length=64, description="beta.")
    albedo: list[float] = Field(min_length=80, max_length=80, description="delta.")
    light: list[float] = Field(
        min_length=9, max_length=9, description="gamma: spherical harmonics, three bands."
    )
    rotation: Vector3 = Field(description="Pitch, yaw, roll in radians.")
    translation: Vector3 = Field(description="In units of 100 mm.")


class ConfidenceSummary(BaseModel):
    """How much the photo tells about the identity coefficients, each in 0..1."""

    mean: float = Field(examples=[0.53])
    min: float = Field(examples=[0.12])
    max: float = Field(examples=[0.91])


class File(BaseModel):
    """A file inside JSON."""

    media_type: str = Field(examples=["model/gltf-binary"])
    data: str = Field(description="The bytes in base64.", examples=["Z2xURgIAAAA="])


class MeshFile(File):
    """A mesh inside JSON; GLB is in metres, OBJ in millimetres."""

    vertices: int = Field(examples=[37868])
    triangles: int = Field(examples=[75176])


class Face(BaseModel):
    """One reconstructed face."""

    box: FaceBox
    score: float = Field(description="The detector's confidence, 0..1.", examples=[0.98])
    quarter_turns: int = Field(
        ge=0,
        le=3,
        description="Turns of 90° counter-clockwise that make the face upright; the crop is "
        "turned so.",
    )
    crop_transform: Annotated[list[Vector3], Field(min_length=2, max_length=2)] = Field(
        description="2x3: photo pixels (x, y, 1) to pixels of the 224x224 crop that the "
        "network saw."
    )
    intrinsics: Matrix3 = Field(description="3x3 camera matrix for the whole photo; see `pose`.")
    pose: FacePose
    coefficients: CoefficientGroups
    confidence: ConfidenceSummary
    confidences: list[float] | None = Field(
        default=None, description="With include=confidences: one per identity coefficient."
    )
    landmarks: Annotated[list[Point2], Field(min_length=68, max_length=68)] = Field(
        description="The model's 68 landmarks (iBUG order) in photo pixels (x, y)."
    )
    mesh: MeshFile | None = Field(default=None, description="With include=mesh.")


class ReconstructResult(BaseModel):
    """The answer of `POST /v1/reconstruct`."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    photo: Photo
    face_model: ModelReference
    weights: ModelReference
    detector: str = Field(examples=["centerface"])
    expression: Expression = Field(description="The expression in `mesh`.")
    mesh_pose: Pose = Field(description="The frame of `mesh`.")
    texture: Texture = Field(description="Where the colours of `mesh` come from.")
    faces: list[Face] = Field(description="The largest first.")
    overlay: File | None = Field(
        default=None,
        description="With include=overlay: the photo with all faces drawn on it, JPEG.",
    )


class FaceModelInfo(ModelReference):
    """The face model that is loaded."""

    licence: str
    source: str
    vertices: int
    triangles: int
    landmarks: int
    identity_coefficients: int
    expression_coefficients: int
    albedo_coefficients: int
    expression_units: list[str] = Field(description="Names of the blendshapes it knows.")


class WeightsInfo(ModelReference):
    """The regression network that is loaded."""

    licence: str
    layout: str = Field(description="Layout of its coefficients.", examples=["239"])
    face_model: str = Field(description="sha256 of the face model it was trained for.")
    providers: list[str] = Field(
        description="Where ONNX Runtime runs it, preferred first.",
        examples=[["CPUExecutionProvider"]],
    )


class DetectorInfo(BaseModel):
    """The face detector in use."""

    name: str = Field(examples=["centerface"])
    licence: str = Field(examples=["MIT"])


class ModelsResult(BaseModel):
    """The answer of `GET /v1/models`."""

    service_version: str
    face_model: FaceModelInfo
    weights: WeightsInfo
    detector: DetectorInfo


class Health(BaseModel):
    """The answer of the probes."""

    status: Literal["ok"] = "ok"
