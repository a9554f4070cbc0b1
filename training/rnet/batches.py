"""Training batches: pictures as the network sees them, and what each loss compares with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facewright.models.arrays import Array
from facewright.models.camera import rotation_matrix
from facewright.models.landmarks import MIRROR_ORDER
from facewright.models.layout import Coefficients
from facewright.models.mirror import MirrorMatrices, mirror_coefficients, mirror_landmarks
from facewright.training.data.crops import Images, crops_nchw, cut_crops
from facewright.training.data.shards import Labels, ShardSet
from facewright.training.losses.hybrid import PhotoTargets
from facewright.training.losses.photo_targets import photo_targets, plain_photo_targets
from facewright.training.rnet.augmentation import (
    degrade,
    mirror_pictures,
    shift_pose,
    tone_tables,
)
from facewright.training.rnet.experiment import Augmentation, Experiment
from facewright.training.rnet.losses import Targets
from facewright.training.rnet.plan import PHOTOS, PORTRAITS, Step


class Portraits(NamedTuple):
    """Pictures with exact labels."""

    crops: Tensor  # (N, 3, S, S) float32 in [0, 1], channels-last in memory
    targets: Targets  # of the N faces


class Photos(NamedTuple):
    """Pictures of which landmarks and a guess of the skin are known."""

    crops: Tensor  # (N, 3, S, S) float32 in [0, 1], channels-last in memory
    targets: PhotoTargets  # the same pictures in their own colors


@dataclass(frozen=True, eq=False)
class Batch:
    """What one worker trains on in a step; at least one kind of pictures.

    Attributes:
        step: that the batch belongs to.
        portraits, photos: the two kinds, None where the stage has none.
    """

    step: Step
    portraits: Portraits | None
    photos: Photos | None

    @property
    def crops(self) -> Tensor:
        """Network input of all pictures, (N, 3, S, S), portraits first."""
        parts = [part.crops for part in (self.portraits, self.photos) if part is not None]
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts).contiguous(memory_format=torch.channels_last)

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        portraits, photos = self.portraits, self.photos
        if portraits is not None:
            portraits = Portraits(
                portraits.crops.to(device), Targets(*(t.to(device) for t in portraits.targets))
            )
        if photos is not None:
            photos = Photos(
                photos.crops.to(device), PhotoTargets(*(t.to(device) for t in photos.targets))
            )
        return Batch(self.step, portraits, photos)


def augmented_portraits(
    images: Images,
    labels: Labels,
    size: int,
    rng: np.random.Generator,
    settings: Augmentation,
    mirror: MirrorMatrices,
    margin: int,
) -> Portraits:
    """Varied portraits from stored images (N, 240, 240, 3) and their labels."""
    count = len(images)
    corners, flips = _placement(rng, count, settings, margin)
    tables, gain = tone_tables(rng, count, settings)
    crops = cut_crops(images, corners, size)
    mirror_pictures(crops, flips)
    _recolor(crops, tables, rng, settings)
    coefficients = _coefficients(labels)
    # The picture's brightness is albedo times light: a gain is more light.
    coefficients = coefficients._replace(light=coefficients.light * gain[:, None, None])
    flipped = mirror_coefficients(coefficients, mirror)
    coefficients = Coefficients(
        *(
            np.where(flips.reshape(-1, *[1] * (old.ndim - 1)), new, old)
            for old, new in zip(coefficients, flipped, strict=True)
        )
    )
    shift = (margin - corners).astype(np.float64)
    landmarks = _moved_landmarks(labels.landmarks, shift, flips)
    # The crop was cut before it was mirrored.
    shift[flips, 0] *= -1
    person = 2 * labels.person + flips
    return Portraits(crops_nchw(crops), _targets(coefficients, landmarks, shift, person))


def plain_portraits(images: Images, labels: Labels, size: int, margin: int) -> Portraits:
    """The center crops as they are, for validation."""
    count = len(images)
    corners = np.full((count, 2), margin)
    still = np.zeros((count, 2))
    targets = _targets(_coefficients(labels), labels.landmarks, still, 2 * labels.person)
    return Portraits(crops_nchw(cut_crops(images, corners, size)), targets)


def augmented_photos(
    images: Images,
    attention: Images,
    labels: Labels,
    size: int,
    render_size: int,
    rng: np.random.Generator,
    settings: Augmentation,
    margin: int,
) -> Photos:
    """Varied photographs whose targets keep their own colors.

    Args:
        images: (N, 240, 240, 3).
        attention: (N, 240, 240), skin attention.
        labels: of the N photographs.
        size: side of the network's pictures, px.
        render_size: side of the targets' pictures, px.
        rng: decides everything.
        settings: how much to vary.
        margin: of the stored pictures, px.
    """
    count = len(images)
    corners, flips = _placement(rng, count, settings, margin)
    tables, _ = tone_tables(rng, count, settings)
    crops = cut_crops(images, corners, size)
    photos, masks = (cut_crops(stored, corners, render_size) for stored in (images, attention))
    for pictures in (crops, photos, masks):
        mirror_pictures(pictures, flips)
    _recolor(crops, tables, rng, settings)
    shift = (margin - corners).astype(np.float64)
    landmarks = _moved_landmarks(labels.landmarks, shift, flips)
    known = np.where(
        flips[:, None], labels.landmark_visible[:, MIRROR_ORDER], labels.landmark_visible
    )
    return Photos(crops_nchw(crops), photo_targets(photos, masks, landmarks, known))


def plain_photos(
    images: Images, attention: Images, labels: Labels, size: int, render_size: int, margin: int
) -> Photos:
    """The center crops as they are, for validation."""
    corners = np.full((len(images), 2), margin)
    targets = plain_photo_targets(images, attention, labels, render_size, margin)
    return Photos(crops_nchw(cut_crops(images, corners, size)), targets)


class BatchMaker:
    """Makes the batches of one worker.

    Args:
        experiment: sizes, augmentation and seed.
        portraits, photos: the data; None where no stage uses it.
        mirror: mirror matrices of the face model.
        rank: of this worker.
    """

    def __init__(
        self,
        experiment: Experiment,
        portraits: ShardSet | None,
        photos: ShardSet | None,
        mirror: MirrorMatrices,
        rank: int,
    ) -> None:
        self._experiment = experiment
        self._portraits, self._photos = portraits, photos
        self._mirror = mirror
        self._rank = rank

    def __call__(self, step: Step) -> Batch:
        """This worker's part of a step; depends on the arguments alone."""
        return Batch(step, self._make_portraits(step), self._make_photos(step))

    def _make_portraits(self, step: Step) -> Portraits | None:
        if not step.stage.portraits:
            return None
        assert self._portraits is not None
        rows = self._rows(step, PORTRAITS)
        return augmented_portraits(
            self._portraits.images(rows),
            self._portraits.labels.take(rows),
            step.stage.size,
            self._rng(step, PORTRAITS),
            self._experiment.portrait_augmentation,
            self._mirror,
            self._portraits.meta.margin,
        )

    def _make_photos(self, step: Step) -> Photos | None:
        if not step.stage.photos:
            return None
        assert self._photos is not None
        rows = self._rows(step, PHOTOS)
        return augmented_photos(
            self._photos.images(rows),
            self._photos.attention(rows),
            self._photos.labels.take(rows),
            step.stage.size,
            self._experiment.render_size,
            self._rng(step, PHOTOS),
            self._experiment.photo_augmentation,
            self._photos.meta.margin,
        )

    def _rows(self, step: Step, kind: int) -> npt.NDArray[np.int64]:
        current = (step.cursor.portraits, step.cursor.photos)[kind]
        batch = (step.stage.portraits, step.stage.photos)[kind]
        first = current.position + self._rank * batch
        order = current.order(self._experiment.seed, kind)
        pictures = (self._portraits, self._photos)[kind]
        experiment = self._experiment
        together = (experiment.portraits_per_person, experiment.photos_per_person)[kind]
        if together > 1:
            assert pictures is not None
            order = people_together(order, pictures.labels.person, together)
        return order[first : first + batch]

    def _rng(self, step: Step, kind: int) -> np.random.Generator:
        key = [self._experiment.seed, kind, step.cursor.step, self._rank, step.workers]
        return np.random.default_rng(key)


def people_together(
    order: npt.NDArray[np.int64], person: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int64]:
    """The pictures of an order (N,) so that `count` of the same person follow each other.

    Every group stands where its first picture stood; what is left of a person is a smaller group.

    Args:
        order: numbers of pictures.
        person: of every picture.
        count: largest size of a group.
    """
    people = person[order]
    by_person = np.argsort(people, kind="stable")
    begins = np.searchsorted(people[by_person], people[by_person])
    within = np.arange(len(order)) - begins  # of the person's pictures, in the order
    place = by_person[begins + within // count * count]
    return order[by_person[np.lexsort((within, place))]]


def _placement(
    rng: np.random.Generator, count: int, settings: Augmentation, margin: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Upper left corners (N, 2) of the crops, and which of them to mirror (N,)."""
    shift = min(settings.shift, margin)
    corners = margin + rng.integers(-shift, shift + 1, (count, 2))
    return corners, rng.random(count) < settings.mirror


def _recolor(
    crops: Images, tables: Images, rng: np.random.Generator, settings: Augmentation
) -> None:
    for crop, table in zip(crops, tables, strict=True):
        cv2.LUT(crop, table[None], dst=crop)
        degrade(crop, rng, settings)


def _moved_landmarks(landmarks: Array, shift: Array, flips: Array) -> Array:
    moved = landmarks + shift[:, None].astype(np.float32)
    return np.where(flips[:, None, None], mirror_landmarks(moved), moved)


def _coefficients(labels: Labels) -> Coefficients:
    return Coefficients(
        labels.identity,
        labels.expression,
        labels.albedo,
        labels.light[:, None],
        labels.rotation,
        labels.translation,
    )


def _targets(
    coefficients: Coefficients, landmarks: Array, shift_px: Array, person: Array
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
    tensors = (torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in arrays)
    return Targets._make([*tensors, torch.from_numpy(np.ascontiguousarray(person, np.int64))])
