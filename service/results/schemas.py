"""The JSON of version 1 of the API.

Additions keep `schema_version` at 1.x; anything that breaks a reader makes a new path.
Photo coordinates are pixels of the photo as a viewer shows it (EXIF orientation applied),
continuous: the center of the top left pixel is (0.5, 0.5).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field

from facewright.service.networks.recognition import Evidence
from facewright.service.options import (
    AlbumFaces,
    Expression,
    Outliers,
    Pose,
    Strategy,
    Subject,
    Texture,
)

SCHEMA_VERSION: Final = "1.0"

Vector3 = Annotated[list[float], Field(min_length=3, max_length=3)]
Matrix3 = Annotated[list[Vector3], Field(min_length=3, max_length=3)]
Vector4 = Annotated[list[float], Field(min_length=4, max_length=4)]
Matrix4 = Annotated[list[Vector4], Field(min_length=4, max_length=4)]
Point2 = Annotated[list[float], Field(min_length=2, max_length=2)]

PhotoStatus = Literal["used", "left_out", "failed"]


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
    matrix: Matrix4 = Field(
        description="4x4, rows: model points in meters to the frame of a camera at the origin "
        "that looks along -z, as live animation takes it."
    )


class CoefficientGroups(BaseModel):
    """The 239 numbers of Deng et al. 2019, or the 257 of its authors' released checkpoints.

    Shape and albedo are in standard deviations.

    Light, rotation and translation are those of the crop, where the face was turned upright;
    `pose` is the one in the photo.
    """

    identity: list[float] = Field(min_length=80, max_length=80, description="alpha.")
    expression: list[float] = Field(min_length=64, max_length=64, description="beta.")
    albedo: list[float] = Field(min_length=80, max_length=80, description="delta.")
    light: list[float] = Field(
        min_length=9,
        max_length=27,
        description="gamma: spherical harmonics, three bands. Of layout 257 27 numbers: those of "
        "red, then of green and of blue.",
    )
    rotation: Vector3 = Field(description="Pitch, yaw, roll in radians.")
    translation: Vector3 = Field(description="In units of 100 mm.")


class ConfidenceSummary(BaseModel):
    """How much the photo tells about the identity coefficients, each in 0..1."""

    mean: float = Field(examples=[0.53])
    min: float = Field(examples=[0.12])
    max: float = Field(examples=[0.91])


class Blendshapes(BaseModel):
    """The expression in ARKit's blendshapes."""

    weights: dict[str, Annotated[float, Field(ge=0.0, le=1.0)]] = Field(
        description="Those of the mesh, by bounded least squares over the skin: the default "
        "weights of a head's file. All 52 names; `tongueOut` is always 0.",
        examples=[{"jawOpen": 0.31}],
    )
    calibrated: dict[str, Annotated[float, Field(ge=0.0, le=1.0)]] | None = Field(
        default=None,
        description="To drive other avatars: as far as a face tracker would say of the photo. "
        "Unless the weights come without a calibration.",
        examples=[{"jawOpen": 0.35}],
    )
    residual_mm: float = Field(
        description="Root mean square of what they leave of the expression.", examples=[0.42]
    )


class File(BaseModel):
    """A file inside JSON."""

    media_type: str = Field(examples=["model/gltf-binary"])
    data: str = Field(description="The bytes in base64.", examples=["Z2xURgIAAAA="])


class MeshFile(File):
    """A mesh inside JSON; GLB is in meters, OBJ in millimeters."""

    vertices: int = Field(examples=[37868])
    triangles: int = Field(examples=[75176])


class Face(BaseModel):
    """One reconstructed face."""

    box: FaceBox
    score: float = Field(description="The detector's confidence, 0..1.", examples=[0.98])
    crop_transform: Annotated[list[Vector3], Field(min_length=2, max_length=2)] = Field(
        description="2x3: photo pixels (x, y, 1) to pixels of the 224x224 crop that the "
        "network saw; a similarity: it scales, shifts and turns the face upright."
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
    blendshapes: Blendshapes | None = Field(
        default=None, description="Unless the face model has no such names."
    )
    mesh: MeshFile | None = Field(default=None, description="With include=mesh.")


class ReconstructResult(BaseModel):
    """The answer of `POST /v1/reconstruct`."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    photo: Photo
    face_model: ModelReference
    weights: ModelReference
    detector: str = Field(examples=["blazeface"])
    expression: Expression = Field(description="The expression in `mesh`.")
    mesh_pose: Pose = Field(description="The frame of `mesh`.")
    mesh: Subject = Field(description="What the meshes show: the `face`, or a `head`.")
    texture: Texture = Field(description="Where the colors of `mesh` come from.")
    faces: list[Face] = Field(description="The largest first.")
    overlay: File | None = Field(
        default=None,
        description="With include=overlay: the photo with all faces drawn on it, JPEG.",
    )


class PhotoProblem(BaseModel):
    """Why a photo of an album cannot be used, in the words of the API's problems."""

    code: str = Field(description="Stable name of the problem.", examples=["no_face_found"])
    title: str = Field(examples=["No face found"])
    detail: str = Field(
        description="What is wrong with this photo.",
        examples=["No face was found in the photo, in any orientation."],
    )


class Likeness(BaseModel):
    """How well a photo's face agrees with the rest of the album."""

    distance: float = Field(
        description="From what most other photos agree on, in standard deviations of identity.",
        examples=[1.7],
    )
    similarity: float | None = Field(
        default=None,
        description="With judged_by=embedding or descriptor: mean cosine of what describes its "
        "face to that of the photos that agree best.",
        examples=[0.63],
    )
    stranger: bool = Field(
        description="Whether it seems somebody else, by what `judged_by` of the album says."
    )


class AlbumPhoto(BaseModel):
    """One photo of an album."""

    index: int = Field(description="Place in the request, from 0.", examples=[0])
    name: str | None = Field(default=None, description="File name; of the command line only.")
    status: PhotoStatus = Field(
        description="`used` for the identity, `left_out` as a stranger, or `failed`."
    )
    problem: PhotoProblem | None = Field(default=None, description="With `failed`.")
    photo: Photo | None = Field(default=None, description="Unless it failed.")
    faces_found: int | None = Field(
        default=None,
        description="With faces=consistent: how many faces there were to choose from.",
    )
    likeness: Likeness | None = Field(
        default=None, description="Unless it failed, or no other photo shows a face."
    )
    share: float | None = Field(
        default=None,
        description="Part that it has in the identity, mean of all coefficients; the shares of "
        "an album sum to 1.",
        examples=[0.31],
    )
    face: Face | None = Field(
        default=None,
        description="Unless it failed: as `/v1/reconstruct` has it, but landmarks are those of "
        "the album's identity in this photo's expression and pose (of a photo left out, its own)."
        " `coefficients.identity` is what this photo alone says.",
    )
    overlay: File | None = Field(
        default=None,
        description="With include=overlay: the photo with the album's identity drawn on it (a "
        "photo left out: its own), JPEG, its longer side at most 1280 pixels.",
    )


class AlbumIdentity(BaseModel):
    """The one identity of an album."""

    coefficients: list[float] = Field(
        min_length=80, max_length=80, description="alpha, in standard deviations."
    )
    albedo: list[float] = Field(
        min_length=80,
        max_length=80,
        description="delta, the mean of the photos used; it colors the mesh.",
    )
    photos_used: int = Field(ge=1, examples=[5])
    mesh: MeshFile | None = Field(
        default=None, description="With include=mesh: the neutral, canonical mesh."
    )


class AlbumResult(BaseModel):
    """The answer of `POST /v1/albums/reconstruct`."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    face_model: ModelReference
    weights: ModelReference
    detector: str = Field(examples=["blazeface"])
    strategy: Strategy = Field(
        description="How photos were weighed: as asked for, but `mean` with weights that have no "
        "C-Net."
    )
    faces: AlbumFaces
    outliers: Outliers
    judged_by: Evidence = Field(
        description="What tells strangers, and with faces=consistent the faces to choose: "
        "`embedding`s where there is a recognition network, else `descriptor`s "
        "of the weights, or the `shape` of the faces where the weights have none."
    )
    stranger_distance: float = Field(
        description="With judged_by=shape: the distance beyond which a photo counts as a "
        "stranger's."
    )
    stranger_similarity: float | None = Field(
        default=None,
        description="With judged_by=embedding or descriptor: the similarity below which a photo "
        "counts as a stranger's.",
    )
    mesh: Subject = Field(description="What the meshes show: the `face`, or a `head`.")
    texture: Texture = Field(description="Where the colors of the identity's mesh come from.")
    identity: AlbumIdentity
    photos: list[AlbumPhoto] = Field(description="In the order of the request.")


class FaceModelInfo(ModelReference):
    """The face model that is loaded."""

    license: str
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

    license: str
    layout: str = Field(
        description="Layout of its coefficients: 239 or 257 numbers.", examples=["239"]
    )
    confidences: bool = Field(
        description="Whether it has a C-Net; else every confidence is 1 and albums are plain means."
    )
    face_model: str = Field(description="sha256 of the face model it was trained for.")
    providers: list[str] = Field(
        description="Where ONNX Runtime runs it, preferred first.",
        examples=[["CPUExecutionProvider"]],
    )


class DetectorInfo(BaseModel):
    """The face detector in use."""

    name: str = Field(examples=["blazeface"])
    license: str = Field(examples=["MIT"])


class ModelsResult(BaseModel):
    """The answer of `GET /v1/models`."""

    service_version: str
    face_model: FaceModelInfo
    weights: WeightsInfo
    detector: DetectorInfo


class Health(BaseModel):
    """The answer of the probes."""

    status: Literal["ok"] = "ok"
