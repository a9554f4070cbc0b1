"""The loaded models and the way of one photo through them; no HTTP in here.

The server, the command line and the benchmark all use an `Engine`.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from facewright.models.agreement import STRANGER_SIMILARITY
from facewright.models.assets import FACE_MODEL, HEAD_RIG, WEIGHTS, asset_path
from facewright.models.assets import sha256 as file_sha256
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.blendshapes import BlendshapeSolver
from facewright.models.camera import CROP_SIZE
from facewright.models.head_rig import ForeignHeadRig, HeadRig, HeadRigFileError
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.models.resampling import warm_up as warm_up_resampling
from facewright.models.texture.baking import DEFAULT_TEXTURE_SIZE, TextureBaker
from facewright.models.texture.views import TextureView
from facewright.service.errors import InvalidParameter, ModelError
from facewright.service.formats.glb import write_glb
from facewright.service.formats.head import HeadMesh, HeadPose
from facewright.service.formats.head_glb import write_head_glb
from facewright.service.formats.mesh import Mesh
from facewright.service.formats.obj import write_obj
from facewright.service.formats.ply import write_ply
from facewright.service.formats.stl import write_stl
from facewright.service.networks.centerface import CenterFace
from facewright.service.networks.detection import DetectedFace, Detector, LoadedDetector, TooCoarse
from facewright.service.networks.image_networks import BATCH_BYTES, Outputs, Query, answer
from facewright.service.networks.insightface import InsightFace
from facewright.service.networks.quick import QuickDetector
from facewright.service.networks.recognition import Evidence, Recognizer
from facewright.service.networks.regression import Prediction, Regressor
from facewright.service.options import (
    MESH_FORMATS,
    Expression,
    Faces,
    MeshChoice,
    MeshFormat,
    Pose,
    Subject,
    Texture,
)
from facewright.service.pipeline.head_texture import HeadTextures, hair_color
from facewright.service.pipeline.heads import Heads, HeadShape, plain_mesh
from facewright.service.pipeline.meshing import AXES, FaceLevel, colored_mesh, face_mesh
from facewright.service.pipeline.overlay import draw_overlay
from facewright.service.pipeline.overlay import warm_up as warm_up_overlay
from facewright.service.pipeline.photo import ImageLimits, Photo, open_photo
from facewright.service.pipeline.reconstruction import (
    ObservedFace,
    Reconstruction,
    Reconstructor,
    reconstruct_faces,
)
from facewright.service.runtime.batch_events import BatchObserver
from facewright.service.runtime.batching import MicroBatcher
from facewright.service.runtime.deadline import Deadline
from facewright.service.runtime.processors import usable_processors
from facewright.service.runtime.sessions import (
    CPU_PROVIDERS,
    CUDA,
    Device,
    Provider,
    provider_name,
    providers_of,
)
from facewright.service.settings import Settings
from facewright.service.telemetry.stages import StageClock

log = logging.getLogger(__name__)

RgbU8 = npt.NDArray[np.uint8]

REDUCED_SIDE = 1280
"""Pixels that the longer side of a reduced photo has at least: most faces keep enough then."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo and the faces found in it, the largest first."""

    width: int
    """Of the photo, px."""
    height: int
    faces: list[Reconstruction]
    decode: Callable[[], RgbU8]

    @cached_property
    def photo(self) -> RgbU8:
        """(H, W, 3) as a viewer shows it; decoded when it is asked for."""
        return self.decode()


class Engine:
    """Models loaded and warmed up, and what can be done with them; thread safe.

    Raises `ModelError` when a file is missing, unusable or does not fit the others.
    """

    def __init__(self, settings: Settings, observer: BatchObserver | None = None) -> None:
        # Photos are worked on side by side already: more threads would only switch.
        cv2.setNumThreads(1)
        self.settings = settings
        weights = self.weights = settings.weights or _shipped(WEIGHTS)
        self.model = _load_face_model(settings.face_model or _shipped(FACE_MODEL))
        self.baker = TextureBaker(self.model)
        self.heads = _load_heads(self.model)
        """Makes whole heads; None for a face model that has none."""
        self._head_textures = None if self.heads is None else HeadTextures(self.model, self.heads)
        known = set(ARKIT_BLENDSHAPES) & set(self.model.expression_units)
        self.blendshapes = BlendshapeSolver(self.model) if known else None
        """Says expressions in ARKit's blendshapes; None for a face model without their names."""
        self.regressor, self.detector, self.providers = _open_networks(
            settings, weights, self.model.sha256
        )
        self.recognizer: Recognizer | None = self.detector.recognizer
        """Tells people apart; not every detector comes with one."""
        self.weights_sha256 = file_sha256(weights)
        self.limits = ImageLimits(
            max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels
        )
        self._warm_up()
        # One network runs at a time, on all processors: two would only take them from each other.
        self._processors = threading.Lock()
        self._regression: MicroBatcher[RgbU8, Prediction] = MicroBatcher(
            self._regress_batch,
            stage="regress",
            max_batch=settings.batch_size,
            capacity=settings.queue_size,
            weigh=_weigh,
            capacity_bytes=settings.queue_bytes,
            max_delay=settings.batch_delay_ms / 1000,
            observer=observer,
        )
        self._detection: MicroBatcher[Query, Outputs] = MicroBatcher(
            self._detect_batch,
            stage="detect",
            max_batch=settings.batch_size,
            capacity=settings.queue_size,
            weigh=lambda query: query.image.nbytes,
            batch_bytes=BATCH_BYTES,
            capacity_bytes=settings.queue_bytes,
            max_delay=settings.batch_delay_ms / 1000,
            observer=observer,
        )

    def reconstruct(
        self,
        data: bytes,
        faces: Faces,
        deadline: Deadline,
        clock: StageClock,
        *,
        reduced: bool = False,
    ) -> Scene:
        """Decode a photo and reconstruct its faces; blocks.  Raises as `observe` does.

        reduced: `Scene.photo` will probably not be asked for.
        """
        photo, observed = self.observe(data, faces, deadline, clock, reduced=reduced)

        def decode() -> RgbU8:
            return self.decode(data, deadline, clock) if photo.reduction > 1 else photo.rgb_u8

        with clock.stage("reconstruct"):
            found = reconstruct_faces(self.model, observed)
            return Scene(photo.width, photo.height, found, decode)

    def observe(
        self,
        data: bytes,
        faces: Faces,
        deadline: Deadline,
        clock: StageClock,
        *,
        reduced: bool = False,
    ) -> tuple[Photo, list[ObservedFace]]:
        """Decode a photo, find its faces and ask the network about them; blocks.

        The largest face comes first.  Faces are in pixels of the whole photo.

        reduced: a reduced photo will do, if its faces keep pixels enough.

        Raises:
            BadPhoto: the bytes are no usable photo.
            NoFaceFound: there is no face in it.
            QueueFull, DeadlinePassed, NotReady: see `MicroBatcher.ask`.
        """
        photo = self._open(data, deadline, clock, REDUCED_SIDE if reduced else 0)
        try:
            found = self._observe(photo, faces, deadline, clock)
        except TooCoarse:
            photo = self._open(data, deadline, clock)
            found = self._observe(photo, faces, deadline, clock)
        return photo, [one.moved(photo.reduction, photo.shift) for one in found]

    def _observe(
        self, photo: Photo, faces: Faces, deadline: Deadline, clock: StageClock
    ) -> list[ObservedFace]:
        """The faces in pixels of `photo.rgb_u8`; raises `TooCoarse` if those are too few."""

        def regress(crops_u8: RgbU8) -> Prediction:
            with clock.stage("regress"):
                answers = self._regression.ask(list(crops_u8), deadline)
            return tuple(np.stack(part) for part in zip(*answers, strict=True))

        asking = self.detector.asking(
            lambda queries: self._detection.ask(queries, deadline),
            only_largest=faces == "largest",
            reduction=photo.reduction,
        )
        detector = _TimedDetector(asking, self.settings.max_faces, clock, deadline)
        with clock.stage("reconstruct"):
            return Reconstructor(self.model, detector, regress).observe(
                photo.rgb_u8, faces, largest_zoom=1.0 if photo.reduction > 1 else math.inf
            )

    def embed(
        self,
        photo: Photo,
        faces: Sequence[ObservedFace],
        deadline: Deadline,
        clock: StageClock,
    ) -> npt.NDArray[np.float32] | None:
        """What tells N >= 1 faces of a photo apart, (N, D) of unit length, by `evidence`.

        The detector's recogniser comes before the weights' descriptors, because somebody chose it.
        None where there is neither.  Raises `DeadlinePassed`, and `ModelError` when the network
        fails.
        """
        if self.recognizer is None:
            known = [face.descriptor for face in faces if face.descriptor is not None]
            return np.stack(known) if known else None
        deadline.check()
        with clock.stage("recognize"):
            points = np.stack([face.face.points for face in faces])
            seen = ((points - photo.shift) / photo.reduction).astype(np.float32)
            return self.recognizer.embed(photo.rgb_u8, seen)

    @property
    def evidence(self) -> Evidence:
        """What people of an album are told apart by."""
        if self.recognizer is not None:
            return "embedding"
        return "descriptor" if self.regressor.describes else "shape"

    @property
    def stranger_similarity(self) -> float | None:
        """Below which what `embed` gives is of different people; None without."""
        limits = {"embedding": STRANGER_SIMILARITY, "descriptor": self.regressor.stranger_cosine}
        return limits.get(self.evidence)

    def decode(self, data: bytes, deadline: Deadline, clock: StageClock) -> RgbU8:
        """The pixels (H, W, 3) of a photo.  Raises `BadPhoto` and `DeadlinePassed`."""
        return self._open(data, deadline, clock).rgb_u8

    def _open(
        self, data: bytes, deadline: Deadline, clock: StageClock, least_side: int = 0
    ) -> Photo:
        deadline.check()
        with clock.stage("decode"):
            photo = open_photo(data, self.limits, least_side)
        deadline.check()
        return photo

    def mesh_file(
        self,
        face: Reconstruction,
        form: MeshFormat,
        expression: Expression,
        pose: Pose,
        clock: StageClock,
        texture: RgbU8 | None = None,
        material_file: str | None = None,
        choice: MeshChoice = MeshChoice(),
    ) -> bytes:
        """The mesh of one face as the bytes of a file.

        texture: what `texture` has baked for this subject; the albedo's colours without it.
        material_file: name of the MTL file that an OBJ file refers to; without one the
            texture's colours are given to its vertices.
        Raises `InvalidParameter` for a head or another detail of a face model without a head.
        """
        with clock.stage("mesh"):
            if choice.subject == "head":
                head = self.head_mesh(face, expression, pose, choice, texture, form=form)
                return self._write_head(head, form, expression, pose, choice, material_file)
            mesh = face_mesh(self.model, face, expression, pose, texture, self.face_level(choice))
            return self._write(mesh, form, expression, pose, material_file)

    def head_mesh(
        self,
        face: Reconstruction,
        expression: Expression,
        pose: Pose,
        choice: MeshChoice,
        texture: RgbU8 | None = None,
        form: MeshFormat = "glb",
    ) -> HeadMesh:
        """The whole head of one face.

        With morph targets, which only a GLB file has, its vertices are neutral and the targets'
        weights are the expression, as near as they come; without, its vertices have it.
        Raises `InvalidParameter` when the face model has no head.
        """
        heads = self._known_heads()
        geometry = face.geometry
        targets = choice.targets if form == "glb" else "none"
        coefficients = LAYOUT_239.split(face.coefficients[None])
        resting = np.zeros(self.model.n_expression, np.float32)
        weights: dict[str, float] = {}
        if expression == "neutral" or targets != "none":
            face_cage = self.model.cage(geometry.identity[None], resting[None])[0]
            cage = heads.cage(face_cage, geometry.identity, resting)
            if expression == "keep" and self.blendshapes is not None:
                solved = self.blendshapes.solve(coefficients.expression[0])
                weights = dict(zip(ARKIT_BLENDSHAPES, solved.weights.tolist(), strict=True))
        else:
            cage = heads.cage(geometry.cage, geometry.identity, coefficients.expression[0])
        placed = HeadPose(face.rotation_matrix, face.translation_mm) if pose == "camera" else None
        return heads.mesh(
            HeadShape(cage, weights, placed), geometry.albedo, choice.detail, targets, texture
        )

    def mesh_size(self, choice: MeshChoice) -> tuple[int, int]:
        """Numbers of vertices and triangles of a mesh.  Raises `InvalidParameter` as it."""
        if choice.subject == "head":
            return self._known_heads().size(choice.detail)
        level = self.face_level(choice)
        if level is None:
            return self.model.n_vertices, self.model.n_triangles
        return len(level.vertices), len(level.triangles)

    def face_level(self, choice: MeshChoice) -> FaceLevel | None:
        """The mesh of a face in less than full detail; None for the model's own."""
        if choice.detail == "high":
            return None
        return self._known_heads().face_levels[choice.detail]

    def _known_heads(self) -> Heads:
        if self.heads is None:
            raise InvalidParameter("This face model has no head and no other level of detail.")
        return self.heads

    def texture(
        self,
        scene: Scene,
        face: Reconstruction,
        size: int,
        clock: StageClock,
        subject: Subject = "face",
    ) -> RgbU8:
        """A texture of one face, or its head, baked from its photo: (size, size, 3)."""
        with clock.stage("texture"):
            view = TextureView(scene.photo, face.posed_vertices(), face.projected())
            hair = None
            if subject == "head":
                heads = self._known_heads()
                hair = hair_color(scene.photo, face, heads)
            return self.bake([view], face.albedo, size, subject, hair)

    def bake(
        self,
        views: Sequence[TextureView],
        albedo: npt.NDArray[np.float32],
        size: int,
        subject: Subject = "face",
        hair: RgbU8 | None = None,
    ) -> RgbU8:
        """A texture (size, size, 3) of one person's face or head; see `TextureBaker.bake`.

        hair: (3,) color that tints a head's scalp.
        Raises `InvalidParameter` for a head of a face model that has none.
        """
        if subject == "face":
            return self.baker.bake(views, albedo, size).rgb_u8
        if self._head_textures is None:
            raise InvalidParameter("This face model has no head.")
        return self._head_textures.bake(views, albedo, size, hair)

    def identity_file(
        self,
        identity: npt.NDArray[np.float32],
        albedo: npt.NDArray[np.float32],
        form: MeshFormat,
        clock: StageClock,
        texture: RgbU8 | None = None,
        material_file: str | None = None,
        choice: MeshChoice = MeshChoice(),
    ) -> bytes:
        """The neutral, canonical mesh of identity and albedo coefficients (80,) as a file.

        texture, material_file, choice: see `mesh_file`.
        """
        with clock.stage("mesh"):
            if choice.subject == "head":
                head = self.identity_head(identity, albedo, choice, texture, form=form)
                return self._write_head(head, form, "neutral", "canonical", choice, material_file)
            vertices = self.model.shape(identity[None], np.zeros((1, self.model.n_expression)))[0]
            colors = self.model.albedo(albedo[None])[0]
            mesh = colored_mesh(self.model, vertices, colors, texture, self.face_level(choice))
            return self._write(mesh, form, "neutral", "canonical", material_file)

    def identity_head(
        self,
        identity: npt.NDArray[np.float32],
        albedo: npt.NDArray[np.float32],
        choice: MeshChoice,
        texture: RgbU8 | None = None,
        form: MeshFormat = "glb",
    ) -> HeadMesh:
        """The neutral head of identity and albedo coefficients (80,); see `head_mesh`."""
        heads = self._known_heads()
        resting = np.zeros(self.model.n_expression, np.float32)
        cage = heads.cage(self.model.cage(identity[None], resting[None])[0], identity, resting)
        colors = self.model.albedo(albedo[None])[0]
        targets = choice.targets if form == "glb" else "none"
        shape = HeadShape(cage, {}, None)
        return heads.mesh(shape, colors, choice.detail, targets, texture)

    def _write_head(
        self,
        head: HeadMesh,
        form: MeshFormat,
        expression: Expression,
        pose: Pose,
        choice: MeshChoice,
        material_file: str | None,
    ) -> bytes:
        if form != "glb":
            return self._write(plain_mesh(head), form, expression, pose, material_file)
        about = self._about(expression, pose, head.texture is not None)
        assert self.heads is not None
        about |= {"head_model_sha256": self.heads.rig.sha256, "detail": choice.detail}
        return write_head_glb(head, about, quantized=choice.compression == "quantized")

    def _write(
        self,
        mesh: Mesh,
        form: MeshFormat,
        expression: Expression,
        pose: Pose,
        material_file: str | None = None,
    ) -> bytes:
        about = self._about(expression, pose, mesh.texture is not None)
        if form == "glb":
            return write_glb(mesh, about)
        if form == "ply":
            return write_ply(mesh, about)
        if form == "stl":
            return write_stl(mesh)
        return write_obj(mesh, about, material_file)

    def about_scene(self, expression: Expression, texture: Texture) -> dict[str, Any]:
        """What the file of a scene says of its origin."""
        about = self._about(expression, "camera", texture == "photo")
        return {**about, "units": "metres"}

    def _about(self, expression: Expression, pose: Pose, textured: bool) -> dict[str, str]:
        """What a mesh file says of its origin."""
        return {
            "generator": "facewright",
            "face_model": f"{self.model.metadata['name']} {self.model.metadata['version']}",
            "face_model_sha256": self.model.sha256,
            "weights_sha256": self.weights_sha256,
            "licence": self.model.metadata["licence"],
            "expression": expression,
            "pose": pose,
            "axes": AXES[pose],
            "texture": "photo" if textured else "albedo",
        }

    def overlay(self, scene: Scene, landmarks: bool, clock: StageClock) -> RgbU8:
        """The photo with all its faces drawn on it: (H, W, 3)."""
        with clock.stage("overlay"):
            return draw_overlay(scene.photo, self.model, scene.faces, landmarks=landmarks)

    def models(self) -> list[tuple[str, str, str, str]]:
        """Kind, name, version and sha256 of all that is loaded; the detector's are its makers'."""
        face_model, weights = self.model.metadata, self.regressor.metadata
        return [
            ("face_model", face_model["name"], face_model["version"], self.model.sha256),
            ("weights", weights.get("name", ""), weights.get("version", ""), self.weights_sha256),
            ("detector", self.detector.name, "", ""),
        ]

    @property
    def alive(self) -> bool:
        """False when photos can no longer reach a network, which only a restart can mend."""
        return self._detection.alive and self._regression.alive

    @property
    def call_seconds(self) -> float:
        """For how long a call of a network has been going on; 0 when none is."""
        return max(self._detection.call_seconds, self._regression.call_seconds)

    def close(self, timeout: float | None = None) -> None:
        """Finish what waits for the networks and refuse more; give up after `timeout` seconds."""
        if not all(batcher.close(timeout) for batcher in (self._detection, self._regression)):
            log.warning("work was still waiting for a network at shutdown")

    def _regress_batch(self, crops: Sequence[RgbU8]) -> list[Prediction | ModelError]:
        with self._processors:
            return self.regressor.regress_each(np.stack(crops))

    def _detect_batch(self, queries: Sequence[Query]) -> Sequence[Outputs]:
        with self._processors:
            return answer(self.detector.networks, queries)

    def _warm_up(self) -> None:
        """Do everything once, so that no request waits for a compiler or an allocation."""
        self.detector.warm_up()
        largest = self.settings.batch_size
        # A GPU chooses its kernels for each shape.
        on_cpu = self.providers == CPU_PROVIDERS
        self.regressor.warm_up(sorted({1, largest}) if on_cpu else range(1, largest + 1))
        # Not left to the picture below: the network may see its face beyond the border.
        warm_up_overlay()
        warm_up_resampling()
        photo = np.zeros((2 * CROP_SIZE, 2 * CROP_SIZE, 3), np.uint8)
        faces = Reconstructor(
            self.model, _KnownFace(self.model), self.regressor.regress
        ).reconstruct(photo)
        clock = StageClock()
        scene = Scene(photo.shape[1], photo.shape[0], faces, lambda: photo)
        texture = self.texture(scene, faces[0], DEFAULT_TEXTURE_SIZE, clock)
        for form in MESH_FORMATS:
            for colours in (None, texture):
                self.mesh_file(faces[0], form, "keep", "canonical", clock, colours)
        if self.blendshapes is not None:
            self.blendshapes.solve(np.zeros(self.model.n_expression, np.float32))
        if self.heads is not None:
            head = MeshChoice("head", "medium")
            texture = self.texture(scene, faces[0], DEFAULT_TEXTURE_SIZE, clock, "head")
            for colours in (None, texture):
                self.mesh_file(faces[0], "glb", "keep", "canonical", clock, colours, choice=head)
        self.overlay(scene, True, clock)


class _KnownFace:
    """A detector that sees the model's mean face in the middle of every photo."""

    name = "known"

    def __init__(self, model: MorphableModel) -> None:
        self._offsets = model.five_points[:, :2] * (1, -1)

    def detect(self, rgb_u8: RgbU8, *, turned: bool = False) -> list[DetectedFace]:
        height, width = rgb_u8.shape[:2]
        points = (self._offsets + (width / 2, height / 2)).astype(np.float32)
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
        return [DetectedFace(box=box, points=points, score=1.0)]


class _TimedDetector:
    """A detector that is timed, bounded and stops when nobody waits any more."""

    def __init__(
        self, detector: Detector, max_faces: int, clock: StageClock, deadline: Deadline
    ) -> None:
        self.name = detector.name
        self._detector = detector
        self._max_faces = max_faces
        self._clock = clock
        self._deadline = deadline

    def detect(self, rgb_u8: RgbU8, *, turned: bool = False) -> list[DetectedFace]:
        self._deadline.check()
        with self._clock.stage("detect"):
            found = self._detector.detect(rgb_u8, turned=turned)
        largest = sorted(found, key=lambda face: face.area, reverse=True)[: self._max_faces]
        return sorted(largest, key=lambda face: face.score, reverse=True)


def _weigh(image: RgbU8) -> int:
    return image.nbytes


def _shipped(name: str) -> Path:
    try:
        return asset_path(name)
    except FileNotFoundError as error:
        raise ModelError(str(error)) from error


def _load_heads(model: MorphableModel) -> Heads | None:
    """The shipped head, if it belongs to this face model."""
    try:
        return Heads(model, HeadRig.load(_shipped(HEAD_RIG), model))
    except ForeignHeadRig:
        return None
    except (OSError, HeadRigFileError) as error:
        raise ModelError(f"The head cannot be loaded: {error}") from error


def _load_face_model(path: Path) -> MorphableModel:
    try:
        return MorphableModel.load(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load the face model {path}: {error}") from error


def _open_networks(
    settings: Settings, weights: Path, face_model_sha256: str
) -> tuple[Regressor, LoadedDetector, tuple[str, ...]]:
    """Regressor and detector, and where the regressor runs: preferred provider first."""
    threads = settings.inference_threads or usable_processors()

    def on(device: Device) -> tuple[Regressor, LoadedDetector, tuple[str, ...]]:
        providers = providers_of(device, half=settings.tensorrt_fp16)
        regressor = Regressor(weights, providers, threads, face_model_sha256=face_model_sha256)
        detector = open_detector(settings, providers_of("cpu" if device == "cpu" else "cuda"))
        return regressor, detector, tuple(map(provider_name, providers))

    if settings.device != "auto":
        return on(settings.device)
    if CUDA in ort.get_available_providers():
        try:
            return on("cuda")
        except ModelError as error:
            log.warning("no usable GPU, running on the CPU", extra={"reason": error.detail})
    return on("cpu")


def open_detector(
    settings: Settings, providers: Sequence[Provider] = CPU_PROVIDERS
) -> LoadedDetector:
    """The detector that the settings name. Raises `ModelError` when it cannot be loaded."""
    if settings.detector == "insightface":
        root = settings.insightface_root.expanduser()
        return InsightFace(settings.insightface_pack, root, providers)
    kind = CenterFace if settings.detector == "centerface" else QuickDetector
    return kind(providers, settings.inference_threads or usable_processors())
