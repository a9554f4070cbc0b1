"""Batches of augmented portraits, drawn from shards in an order that can be resumed exactly.

Every random choice of a batch comes from a generator seeded with the run's seed and the batch's
place in the run, so a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.camera import (
    CAMERA_DISTANCE,
    CROP_SIZE,
    FOCAL_LENGTH,
    TRANSLATION_UNIT,
    rotation_matrix,
)
from models.layout import Coefficients
from models.mirror import MirrorMatrices, mirror_coefficients, mirror_landmarks
from training.data.shards import Labels, ShardSet
from training.rnet.config import Augmentation
from training.rnet.losses import Targets

Images = npt.NDArray[np.uint8]


def shift_pose(
    rotation: npt.NDArray[Any], translation: npt.NDArray[Any], shift_px: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Pose under which the same photo would have been taken had the crop been cut elsewhere.

    Moving the picture by a few px is turning the camera a little about its own centre. Unlike a
    sideways step this moves near and far points alike; what is left is 0.1 px at the rim.

    Args:
        rotation: (N, 3, 3).
        translation: (N, 3), 100 mm.
        shift_px: (N, 2) how far the content moves right and down, px of the crop.
    """
    angles = np.zeros((len(shift_px), 3))
    angles[:, 0] = -np.arctan(shift_px[:, 1] / FOCAL_LENGTH)
    angles[:, 1] = -np.arctan(shift_px[:, 0] / FOCAL_LENGTH)
    turn = rotation_matrix(angles)
    camera = np.array([0.0, 0.0, CAMERA_DISTANCE / TRANSLATION_UNIT])
    moved = np.einsum("nij,nj->ni", turn, translation - camera) + camera
    return turn @ rotation, moved


def cut_crops(images: Images, corners: npt.NDArray[Any], size: int) -> Images:
    """Crops (N, size, size, 3) of stored images whose upper left corners are at (N, 2) x, y px."""
    out = np.empty((len(images), size, size, 3), np.uint8)
    for k, (x, y) in enumerate(corners):
        crop = images[k, y : y + CROP_SIZE, x : x + CROP_SIZE]
        if size == CROP_SIZE:
            out[k] = crop
        else:
            cv2.resize(crop, (size, size), dst=out[k], interpolation=cv2.INTER_AREA)
    return out


def tone_tables(
    rng: np.random.Generator, count: int, settings: Augmentation
) -> tuple[Images, npt.NDArray[np.float64]]:
    """Random tone curves: tables (count, 256, 3), and the common gain (count,) within them."""
    gamma = np.exp(rng.normal(0, settings.gamma, (count, 1, 1)))
    gain = np.exp(rng.normal(0, settings.gain, count))
    tint = np.exp(rng.normal(0, settings.tint, (count, 1, 3)))
    contrast = np.exp(rng.normal(0, settings.contrast, (count, 1, 1)))
    levels = (np.arange(256) / 255.0)[None, :, None] ** gamma
    levels = ((levels - 0.5) * contrast + 0.5) * gain[:, None, None] * tint
    return (levels.clip(0, 1) * 255 + 0.5).astype(np.uint8), gain


def degrade(image: Images, rng: np.random.Generator, settings: Augmentation) -> None:
    """Lose colour, resolution, certainty and parts of an image (S, S, 3), in place."""
    size = len(image)
    if rng.random() < settings.grey:
        image[:] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    if rng.random() < settings.coarse:
        small = max(8, round(size * rng.uniform(settings.coarsest, 0.9)))
        coarse = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        cv2.resize(coarse, (size, size), dst=image, interpolation=cv2.INTER_LINEAR)
    if rng.random() < settings.noise:
        noise = rng.standard_normal(image.shape, np.float32)
        noise *= rng.uniform(1, settings.noise_sigma)
        np.clip(noise + image, 0, 255, out=noise)
        image[:] = noise
    if rng.random() < settings.cutout:
        height, width = (size * rng.uniform(0.08, settings.cutout_side, 2)).astype(int)
        y, x = rng.integers(size - height), rng.integers(size - width)
        image[y : y + height, x : x + width] = rng.integers(0, 256, 3)


@dataclass(frozen=True, eq=False)
class Batch:
    """Network input and what is known about it.

    Attributes:
        crops: (N, 3, S, S) float32 in [0, 1], channels-last in memory.
        targets: of the N faces.
    """

    crops: Tensor
    targets: Targets


def augmented_batch(
    images: Images,
    labels: Labels,
    size: int,
    rng: np.random.Generator,
    settings: Augmentation,
    mirror: MirrorMatrices,
    margin: int,
) -> Batch:
    """A training batch from stored images (N, 240, 240, 3) and their labels."""
    count = len(images)
    corners = rng.integers(0, 2 * margin + 1, (count, 2))
    flips = rng.random(count) < settings.mirror
    tables, gain = tone_tables(rng, count, settings)
    crops = cut_crops(images, corners, size)
    for k in range(count):
        if flips[k]:
            crops[k] = crops[k, :, ::-1].copy()
        cv2.LUT(crops[k], tables[k][None], dst=crops[k])
        degrade(crops[k], rng, settings)

    shift = (margin - corners).astype(np.float64)
    landmarks = labels.landmarks + shift[:, None].astype(np.float32)
    coefficients = Coefficients(
        labels.identity,
        labels.expression,
        labels.albedo,
        # The picture's brightness is albedo times light: a gain is more light.
        labels.light[:, None] * gain[:, None, None],
        labels.rotation,
        labels.translation,
    )
    flipped = mirror_coefficients(coefficients, mirror)
    coefficients = Coefficients(
        *(
            np.where(flips.reshape(-1, *[1] * (old.ndim - 1)), new, old)
            for old, new in zip(coefficients, flipped, strict=True)
        )
    )
    landmarks = np.where(flips[:, None, None], mirror_landmarks(landmarks), landmarks)
    # The crop was cut before it was mirrored.
    shift[flips, 0] *= -1
    return Batch(_crops_nchw(crops), _targets(coefficients, landmarks, shift))


def plain_batch(images: Images, labels: Labels, size: int, margin: int) -> Batch:
    """The centre crops as they are, for validation."""
    count = len(images)
    corners = np.full((count, 2), margin)
    coefficients = Coefficients(
        labels.identity,
        labels.expression,
        labels.albedo,
        labels.light[:, None],
        labels.rotation,
        labels.translation,
    )
    targets = _targets(coefficients, labels.landmarks, np.zeros((count, 2)))
    return Batch(_crops_nchw(cut_crops(images, corners, size)), targets)


def _crops_nchw(crops: Images) -> Tensor:
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float().div_(255)


def _targets(
    coefficients: Coefficients, landmarks: npt.NDArray[Any], shift_px: npt.NDArray[Any]
) -> Targets:
    matrices = rotation_matrix(coefficients.rotation.astype(np.float64))
    rotation, translation = shift_pose(
        matrices, coefficients.translation.astype(np.float64), shift_px
    )
    arrays = (
        coefficients.identity,
        coefficients.expression,
        coefficients.albedo,
        coefficients.light[:, 0],
        rotation,
        translation,
        landmarks,
    )
    return Targets(*(torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in arrays))


@dataclass(frozen=True)
class Place:
    """A place in a run's sequence of batches.

    Attributes:
        epoch: number of the pass over the pool.
        position: images of this pass already consumed, by all workers.
        pool: number of images that this pass draws from.
        step: steps of the run so far.
    """

    epoch: int
    position: int
    pool: int
    step: int


class BatchSource:
    """Batches of one worker; the next one is prepared while the current one is trained on.

    Args:
        shards: the data; must not be extended while a batch is being prepared.
        mirror: mirror matrices of the face model.
        settings: augmentation.
        seed: of the run.
        rank, size: this worker's number and the number of workers.
    """

    def __init__(
        self,
        shards: ShardSet,
        mirror: MirrorMatrices,
        settings: Augmentation,
        *,
        seed: int,
        rank: int,
        size: int,
    ) -> None:
        self._shards = shards
        self._mirror = mirror
        self._settings = settings
        self._seed, self._rank, self._size = seed, rank, size
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._key: tuple[Place, int, int] | None = None
        self._future: Future[Batch] | None = None
        self._order: tuple[int, int, npt.NDArray[np.int64]] | None = None

    def get(self, place: Place, image_size: int, batch: int) -> Batch:
        """The batch at ``place``: prepared already if :meth:`prepare` was called for it."""
        if self._key != (place, image_size, batch) or self._future is None:
            self.prepare(place, image_size, batch)
        assert self._future is not None
        result = self._future.result()
        self._key = self._future = None
        return result

    def prepare(self, place: Place, image_size: int, batch: int) -> None:
        """Start to prepare the batch at ``place`` in the background."""
        self.cancel()
        self._key = (place, image_size, batch)
        self._future = self._thread.submit(self._make, place, image_size, batch)

    def cancel(self) -> None:
        """Drop what is being prepared and wait until the data is no longer in use."""
        if self._future is not None:
            self._future.result()
        self._key = self._future = None

    def _make(self, place: Place, image_size: int, batch: int) -> Batch:
        if self._order is None or self._order[:2] != (place.epoch, place.pool):
            order = np.random.default_rng([self._seed, place.epoch]).permutation(place.pool)
            self._order = (place.epoch, place.pool, order)
        first = place.position + self._rank * batch
        rows = self._order[2][first : first + batch]
        rng = np.random.default_rng([self._seed, place.step, self._rank, self._size])
        return augmented_batch(
            self._shards.images(rows),
            self._shards.labels.take(rows),
            image_size,
            rng,
            self._settings,
            self._mirror,
            self._shards.meta.margin,
        )
