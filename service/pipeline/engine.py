"""The loaded models and the way of one photo through them; no HTTP in here.

The server, the command line and the benchmark all use an `Engine`.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facewright.models.resampling import cut_square
from facewright.models.segmentation import (
    SEGMENTATION_SIDE,
    Segmentation,
    segmentation_transform,
)
from facewright.models.texture.views import TextureView
from facewright.service.errors import ModelError
from facewright.service.networks.detection import DetectedFace, Detector, TooCoarse
from facewright.service.networks.image_networks import BATCH_BYTES, Outputs, Query, answer
from facewright.service.networks.regression import Prediction
from facewright.service.options import (
    Faces,
    Subject,
)
from facewright.service.pipeline.hairline import Scalp
from facewright.service.pipeline.job import Job
from facewright.service.pipeline.loading import LoadedModels
from facewright.service.pipeline.photo import ImageLimits, Photo, open_photo
from facewright.service.pipeline.reconstruction import (
    ObservedFace,
    Reconstruction,
    Reconstructor,
    reconstruct_faces,
)
from facewright.service.pipeline.scalp import scalp_in_photo
from facewright.service.pipeline.warm_up import warm_up
from facewright.service.runtime.batch_events import BatchObserver
from facewright.service.runtime.batching import MicroBatcher
from facewright.service.settings import Settings

log = logging.getLogger(__name__)

RgbU8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

REDUCED_SIDES: dict[Faces, int] = {"all": 1280, "largest": 512}
"""Pixels that the longer side of a reduced photo has at least: most faces keep enough then."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo and the faces found in it, the largest first."""

    width: int
    """Of the photo, px."""
    height: int
    faces: list[Reconstruction]
    decode: Callable[[], RgbU8]
    seen: Photo | None = None
    """The photo, maybe reduced, that the faces were found in; None if they come without one."""

    @cached_property
    def photo(self) -> RgbU8:
        """(H, W, 3) as a viewer shows it; decoded when it is asked for."""
        return self.decode()


class Engine(LoadedModels):
    """Models loaded and warmed up, and the way of photos through them; thread safe.

    Raises `ModelError` when a file is missing, unusable or does not fit the others.
    """

    def __init__(self, settings: Settings, observer: BatchObserver | None = None) -> None:
        # Photos are worked on side by side already: more threads would only switch.
        cv2.setNumThreads(1)
        super().__init__(settings)
        self.limits = ImageLimits(
            max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels
        )
        warm_up(self)
        self._observing = 0
        self._counting = threading.Lock()
        batcher = partial(
            MicroBatcher,
            max_batch=settings.batch_size,
            capacity=settings.queue_size,
            capacity_bytes=settings.queue_bytes,
            dispatchers=self.processors.count,
            observer=observer,
        )
        delayed = partial(batcher, max_delay=settings.batch_delay_ms / 1000)
        self._regression: MicroBatcher[RgbU8, Prediction] = delayed(
            self._regress_batch, stage="regress", weigh=lambda crop: crop.nbytes
        )
        self._detection: MicroBatcher[Query, Outputs] = delayed(
            self._detect_batch,
            stage="detect",
            weigh=lambda query: query.image.nbytes,
            batch_bytes=BATCH_BYTES,
        )
        self._segmentation: MicroBatcher[RgbU8, Float32] = batcher(
            self._segment_batch, stage="segment", weigh=lambda crop: crop.nbytes
        )

    def reconstruct(
        self,
        data: bytes,
        faces: Faces,
        job: Job,
        *,
        reduced: bool = False,
    ) -> Scene:
        """Decode a photo and reconstruct its faces; blocks.  Raises as `observe` does.

        reduced: `Scene.photo` will probably not be asked for.
        """
        photo, observed = self.observe(data, faces, job, reduced=reduced)
        return self.scene(data, photo, observed, job)

    def scene(self, data: bytes, photo: Photo, observed: Sequence[ObservedFace], job: Job) -> Scene:
        """The geometry of the faces that `observe` has found in the photo with the bytes `data`."""

        def decode() -> RgbU8:
            return self.decode(data, job) if photo.reduction > 1 else photo.rgb_u8

        with job.stage("reconstruct"):
            found = reconstruct_faces(self.model, observed)
            return Scene(photo.width, photo.height, found, decode, photo)

    def observe(
        self,
        data: bytes,
        faces: Faces,
        job: Job,
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
        with self._counted():
            least_side = REDUCED_SIDES[faces] if reduced else 0
            while True:
                photo = self._open(data, job, least_side)
                try:
                    found = self._observe(photo, faces, job)
                    break
                except TooCoarse as coarse:
                    least_side *= 2 ** math.ceil(math.log2(coarse.times))
                del photo  # not two of them at a time
        return photo, [one.moved(photo.reduction, photo.shift) for one in found]

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a photo that is being observed."""
        with self._counting:
            self._observing += 1
        try:
            yield
        finally:
            with self._counting:
                self._observing -= 1

    def _observe(self, photo: Photo, faces: Faces, job: Job) -> list[ObservedFace]:
        """The faces in pixels of `photo.rgb_u8`; raises `TooCoarse` if those are too few."""

        def regress(crops_u8: RgbU8) -> Prediction:
            with job.stage("regress"):
                answers = self._regression.ask(list(crops_u8), job.deadline)
            return tuple(np.stack(part) for part in zip(*answers, strict=True))

        asking = self.detector.asking(
            lambda queries: self._detection.ask(queries, job.deadline),
            only_largest=faces == "largest",
            reduction=photo.reduction,
        )
        detector = _TimedDetector(asking, self.settings.max_faces, job)
        with job.stage("reconstruct"):
            return Reconstructor(self.model, detector, regress, self.regressor.alignment).observe(
                photo.rgb_u8, faces, largest_zoom=1.0 if photo.reduction > 1 else math.inf
            )

    def embed(
        self,
        photo: Photo,
        faces: Sequence[ObservedFace],
        job: Job,
    ) -> npt.NDArray[np.float32] | None:
        """What tells N >= 1 faces of a photo apart, (N, D) of unit length, by `evidence`.

        A recognizer comes before the weights' descriptors, because somebody chose it.
        None where there is neither.  Raises `DeadlinePassed`, and `ModelError` when the network
        fails.
        """
        if self.recognizer is None:
            known = [face.descriptor for face in faces if face.descriptor is not None]
            return np.stack(known) if known else None
        job.check()
        with job.stage("recognize"):
            points = np.stack([face.face.points for face in faces])
            seen = ((points - photo.shift) / photo.reduction).astype(np.float32)
            return self.recognizer.embed(photo.rgb_u8, seen)

    def decode(self, data: bytes, job: Job) -> RgbU8:
        """The pixels (H, W, 3) of a photo.  Raises `BadPhoto` and `DeadlinePassed`."""
        return self._open(data, job).rgb_u8

    def _open(self, data: bytes, job: Job, least_side: int = 0) -> Photo:
        job.check()
        with job.stage("decode"):
            photo = open_photo(data, self.limits, least_side)
        job.check()
        return photo

    def texture(
        self,
        scene: Scene,
        face: Reconstruction,
        size: int,
        job: Job,
        subject: Subject = "face",
    ) -> RgbU8:
        """A texture of one face, or its head, baked from its photo: (size, size, 3)."""
        seen = self.segment(scene.photo, face.landmarks_px, job)
        with job.stage("texture"):
            view = TextureView(
                scene.photo, face.posed_vertices(), face.projected(), segmentation=seen
            )
            scalp = None
            if subject == "head":
                scalp = scalp_in_photo(scene.photo, face, self.known_heads(), segmentation=seen)
            return self.bake([view], face.albedo, size, scalp)

    def segment(
        self, photo: RgbU8, landmarks: npt.NDArray[np.float32], job: Job
    ) -> Segmentation | None:
        """What a photo (H, W, 3) shows around a face with these landmarks (68, 2), px; blocks.

        None where the landmarks are no face's.  Raises `QueueFull`, `DeadlinePassed` and
        `NotReady` as `MicroBatcher.ask` does.
        """
        try:
            transform = segmentation_transform(landmarks, self.model.landmark_template)
        except ValueError:
            return None
        with job.stage("segment"):
            crop = cut_square(photo, transform, SEGMENTATION_SIDE)
            (shares,) = self._segmentation.ask([crop], job.deadline)
        return Segmentation(shares, transform)

    def scalp(self, scene: Scene, face: Reconstruction, job: Job) -> Scalp | None:
        """What the photo tells of one face's hair; None where there is no photo or no head.

        Raises as `segment` does.
        """
        if scene.seen is None or self.heads is None:
            return None
        # That a reduced photo may begin a few pixels further does not matter to hair.
        scale = 1 / scene.seen.reduction
        photo = scene.seen.rgb_u8
        seen = self.segment(photo, (face.landmarks_px * scale).astype(np.float32), job)
        return scalp_in_photo(photo, face, self.heads, scale, seen)

    @property
    def alive(self) -> bool:
        """False when photos can no longer reach a network, which only a restart can mend."""
        return all(batcher.alive for batcher in self._batchers)

    @property
    def call_seconds(self) -> float:
        """For how long a call of a network has been going on; 0 when none is."""
        return max(batcher.call_seconds for batcher in self._batchers)

    def close(self, timeout: float | None = None) -> None:
        """Finish what waits for the networks and refuse more; give up after `timeout` seconds."""
        if not all(batcher.close(timeout) for batcher in self._batchers):
            log.warning("work was still waiting for a network at shutdown")

    @property
    def _batchers(self) -> tuple[MicroBatcher[Any, Any], ...]:
        return self._detection, self._regression, self._segmentation

    def _regress_batch(self, crops: Sequence[RgbU8]) -> list[Prediction | ModelError]:
        # Threads of one call wait for each other, layer by layer.  With a photo for every
        # processor nobody has to.
        if self._observing < self.processors.count:
            with self.processors.take(self.processors.count):
                return self.regressor.regress_each(np.stack(crops))
        with self.processors.take(1):
            return self.lone_regressor.regress_each(np.stack(crops))

    def _segment_batch(self, crops: Sequence[RgbU8]) -> list[Float32]:
        with self.processors.take(1):
            return self.segmenter.segment(crops)

    def _detect_batch(self, queries: Sequence[Query]) -> Sequence[Outputs]:
        networks = self.detector.networks
        threads = max(networks[query.network].threads for query in queries)
        with self.processors.take(min(threads, self.processors.count)):
            return answer(networks, queries)


class _TimedDetector:
    """A detector that is timed, bounded and stops when nobody waits any more."""

    def __init__(self, detector: Detector, max_faces: int, job: Job) -> None:
        self.name = detector.name
        self._detector = detector
        self._max_faces = max_faces
        self._job = job

    def detect(self, rgb_u8: RgbU8, *, turned: bool = False) -> list[DetectedFace]:
        self._job.check()
        with self._job.stage("detect"):
            found = self._detector.detect(rgb_u8, turned=turned)
        largest = sorted(found, key=lambda face: face.area, reverse=True)[: self._max_faces]
        return sorted(largest, key=lambda face: face.score, reverse=True)
