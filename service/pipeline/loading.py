"""The models that settings name, loaded from their files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from facewright.models.arrays import ByteArray, FloatArray
from facewright.models.assets import FACE_MODEL, HEAD_RIG, SEGMENTATION, WEIGHTS, asset_path
from facewright.models.assets import sha256 as file_sha256
from facewright.models.blendshape_calibration import (
    BlendshapeCalibration,
    ForeignCalibration,
    calibration_beside,
)
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.blendshapes import BlendshapeSolver
from facewright.models.head_rig import ForeignHeadRig, HeadRig, HeadRigFileError
from facewright.models.morphable_model import MorphableModel
from facewright.models.texture.baking import TextureBaker
from facewright.models.texture.views import TextureView
from facewright.service.errors import InvalidParameter, ModelError
from facewright.service.networks.arcface import ArcFace
from facewright.service.networks.centerface import CenterFace
from facewright.service.networks.detection import LoadedDetector
from facewright.service.networks.insightface import InsightFace
from facewright.service.networks.quick import QuickDetector
from facewright.service.networks.recognition import Evidence, Recognizer
from facewright.service.networks.regression import Regressor
from facewright.service.networks.segmentation import Segmenter
from facewright.service.pipeline.hairline import Scalp
from facewright.service.pipeline.head_texture import HeadTextures
from facewright.service.pipeline.heads import Heads
from facewright.service.runtime.processors import Processors, usable_processors
from facewright.service.runtime.sessions import (
    CPU_PROVIDERS,
    CUDA,
    Device,
    Provider,
    provider_name,
    providers_of,
)
from facewright.service.settings import Settings

log = logging.getLogger(__name__)


class LoadedModels:
    """Face model, head, networks and what is made of them once.

    Raises `ModelError` when a file is missing, unusable or does not fit the others.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        weights = self.weights = settings.weights or _shipped(WEIGHTS)
        face_model = settings.face_model or _shipped(FACE_MODEL)
        self.model = _load_face_model(face_model)
        self.baker = TextureBaker(self.model)
        self.heads = _load_heads(self.model)
        """Makes whole heads; None for a face model that has none."""
        self._head_textures = None if self.heads is None else HeadTextures(self.model, self.heads)
        self.regressor, self.detector, self.recognizer, self.providers = _open_networks(
            settings, weights, face_model, self.model.sha256
        )
        self.weights_sha256 = file_sha256(weights)
        known = set(ARKIT_BLENDSHAPES) & set(self.model.expression_units)
        calibration = _load_calibration(weights, self.weights_sha256)
        self.blendshapes = BlendshapeSolver(self.model, calibration) if known else None
        """Says expressions in ARKit's blendshapes; None for a face model without their names."""
        self.segmenter = Segmenter(_shipped(SEGMENTATION))
        """Tells the skin of faces from what lies before it."""
        threads = settings.inference_threads or usable_processors()
        parted = self.providers == CPU_PROVIDERS and threads <= settings.concurrency
        self.processors = Processors(threads if parted else 1)
        """What calls of networks share, if there can be a photo for each; else they take turns."""
        self.lone_regressor = self.regressor
        """The regressor for one of them."""
        if self.processors.count > 1:
            self.lone_regressor = Regressor(weights, face_model_sha256=self.model.sha256)

    def models(self) -> list[tuple[str, str, str, str]]:
        """Kind, name, version and sha256 of all that is loaded; the detector's are its makers'."""
        face_model, weights = self.model.metadata, self.regressor.metadata
        return [
            ("face_model", face_model["name"], face_model["version"], self.model.sha256),
            ("weights", weights.get("name", ""), weights.get("version", ""), self.weights_sha256),
            ("detector", self.detector.name, "", ""),
        ]

    @property
    def evidence(self) -> Evidence:
        """What people of an album are told apart by."""
        if self.recognizer is not None:
            return "embedding"
        return "descriptor" if self.regressor.describes else "shape"

    @property
    def stranger_similarity(self) -> float | None:
        """Cosine of embeddings or descriptors below which people differ; None without either."""
        if self.recognizer is not None:
            return self.recognizer.stranger_cosine
        return self.regressor.stranger_cosine if self.regressor.describes else None

    def resting(self, identity: FloatArray) -> FloatArray:
        """The expression (64,) of a neutral head of identity coefficients (80,): lips that meet."""
        if self.blendshapes is None:
            return np.zeros(self.model.n_expression, np.float32)
        return self.blendshapes.resting(identity)

    def known_heads(self) -> Heads:
        """`heads`; raises `InvalidParameter` for a face model that has none."""
        if self.heads is None:
            raise InvalidParameter("This face model has no head and no other level of detail.")
        return self.heads

    def bake(
        self,
        views: Sequence[TextureView],
        albedo: FloatArray,
        size: int,
        scalp: Scalp | None = None,
    ) -> ByteArray:
        """A texture (size, size, 3) of one person's face; see `TextureBaker.bake`.

        scalp: of the whole head instead, with this hair.
        Raises `InvalidParameter` for a head of a face model that has none.
        """
        if scalp is None:
            return self.baker.bake(views, albedo, size).rgb_u8
        if self._head_textures is None:
            raise InvalidParameter("This face model has no head.")
        return self._head_textures.bake(views, albedo, size, scalp)


def open_detector(
    settings: Settings, providers: Sequence[Provider] = CPU_PROVIDERS
) -> LoadedDetector:
    """The detector that the settings name. Raises `ModelError` when it cannot be loaded."""
    if settings.detector == "insightface":
        root = settings.insightface_root.expanduser()
        return InsightFace(settings.insightface_pack, root, providers)
    kind = CenterFace if settings.detector == "centerface" else QuickDetector
    return kind(providers, settings.inference_threads or usable_processors())


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


def _load_calibration(weights: Path, sha256: str) -> BlendshapeCalibration | None:
    """What lies beside the weights, if it does and belongs to them."""
    path = calibration_beside(weights)
    try:
        return BlendshapeCalibration.load(path, sha256) if path.exists() else None
    except ForeignCalibration as error:
        log.warning("%s: %s", path.name, error)
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load {path}: {error}") from error


def _load_face_model(path: Path) -> MorphableModel:
    try:
        return MorphableModel.load(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load the face model {path}: {error}") from error


_Networks = tuple[Regressor, LoadedDetector, Recognizer | None, tuple[str, ...]]


def _open_networks(
    settings: Settings, weights: Path, face_model: Path, face_model_sha256: str
) -> _Networks:
    """Regressor, detector and what tells people apart, if there is one.

    Then where the regressor runs: preferred provider first.
    """
    threads = settings.inference_threads or usable_processors()

    def on(device: Device) -> _Networks:
        providers = providers_of(device, half=settings.tensorrt_fp16)
        regressor = Regressor(
            weights,
            providers,
            threads,
            face_model_sha256=face_model_sha256,
            face_model=face_model,
        )
        plain = providers_of("cpu" if device == "cpu" else "cuda")
        detector = open_detector(settings, plain)
        recognizer = detector.recognizer
        if settings.recognizer is not None:
            recognizer = ArcFace(settings.recognizer, plain, threads)
        return regressor, detector, recognizer, tuple(map(provider_name, providers))

    if settings.device != "auto":
        return on(settings.device)
    if CUDA in ort.get_available_providers():
        try:
            return on("cuda")
        except ModelError as error:
            log.warning("no usable GPU, running on the CPU", extra={"reason": error.detail})
    return on("cpu")
