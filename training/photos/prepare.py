"""Turning a collection of photographs into shards: aligned crops, skin attention, landmarks.

Shards hold numbers of people, never names or file names: training needs no more, and held-out
people are recognized by the names of the photographs themselves
(`photos.people.is_held_out`), which stay where they are.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facewright.models.alignment import crop_transform
from facewright.models.arrays import Array
from facewright.models.morphable_model import MorphableModel
from facewright.training.data.shards import (
    COEFFICIENTS,
    IMAGE_SIZE,
    LABEL_SHAPES,
    MARGIN,
    ShardMeta,
    ShardReader,
    ShardWriter,
    shard_path,
)
from facewright.training.photos.crops import (
    UnreadablePhoto,
    cut_crop,
    map_points,
    map_points_back,
    read_photo,
)
from facewright.training.photos.faces import Face
from facewright.training.photos.landmarks import LabeledLandmarks, same_face
from facewright.training.photos.people import (
    HELD_OUT,
    People,
    PersonRule,
    number_people,
    person_of,
    rows_of,
)
from facewright.training.skin import skin_attention, skin_probability

PREPARATION_VERSION = "2"


@dataclass(frozen=True, eq=False)
class Plan:
    """Which photos go into which shard; it depends on its inputs only, so it can be resumed.

    Attributes:
        directory: of the photos.
        names: (N,) photos relative to it, sorted.
        faces: (N,) one face for each.
        person: (N,) int64 numbers of the people.
        shard_size: photos per shard, before any is left out.
    """

    directory: Path
    names: Sequence[str]
    faces: Sequence[Face]
    person: Array
    shard_size: int

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-len(self.names) // self.shard_size)

    def rows(self, index: int) -> range:
        """Rows of the photos of a shard."""
        start = index * self.shard_size
        return range(start, min(start + self.shard_size, len(self.names)))

    def meta(self, model: MorphableModel, source: LabeledLandmarks) -> ShardMeta:
        """Recorded with every shard; equal for equal plans, face models and landmarks only."""
        digest = hashlib.sha256()
        for name, face, person in zip(self.names, self.faces, self.person, strict=True):
            digest.update(f"{name}\0{person}\0".encode())
            digest.update(np.asarray(face.points, "<f4").tobytes())
        digest.update(f"{self.shard_size} {source.description}".encode())
        version = f"photos {PREPARATION_VERSION} {digest.hexdigest()[:16]}"
        return ShardMeta("photos", 0, version, model.sha256)


def plan_photos(
    directory: Path,
    faces: dict[str, Face],
    *,
    people: People = "train",
    hold_out: float = HELD_OUT,
    rule: PersonRule | None = None,
    shard_size: int = 1000,
) -> Plan:
    """Choose the photos of training or of held-out people.

    Raises:
        ValueError: there is none, or a photo has no folder to name its person.
    """
    names = sorted(faces)
    chosen = [names[row] for row in rows_of(names, people, hold_out, rule)]
    if not chosen:
        raise ValueError(f"none of {len(names)} photos with a face is of {people} people")
    person = number_people([person_of(name, rule) for name in chosen])
    return Plan(directory, chosen, [faces[name] for name in chosen], person, shard_size)


class PreparedPhoto(NamedTuple):
    """One row of a shard.

    image: (240, 240, 3) uint8 RGB.  attention: (240, 240) uint8, 0..255 for 0..1.
    landmarks: (68, 2) px of the 224 crop.  known: (68,) bool.
    """

    image: npt.NDArray[np.uint8]
    attention: npt.NDArray[np.uint8]
    landmarks: Array
    known: npt.NDArray[np.bool_]


class Unusable(Exception):
    """Why a photo is left out."""


def prepare_photo(
    directory: Path, name: str, face: Face, template: Array, source: LabeledLandmarks
) -> PreparedPhoto:
    """Cut the crop of a photo, and find its landmarks and skin.

    Attention (paper, equation 2) is 0 beyond the borders of the photo.

    Raises:
        Unusable: the photo cannot be read, has no landmarks, or they are another face's.
    """
    try:
        photo = read_photo(directory / name)
        transform = crop_transform(face.points, template)
    except UnreadablePhoto as error:
        raise Unusable("cannot be read") from error
    except ValueError as error:
        raise Unusable("has alignment points that no face has") from error
    landmarks = source.find(name)
    if landmarks is None:
        raise Unusable("has no landmarks")
    if not same_face(landmarks.points, face.points):
        raise Unusable("has landmarks away from the face that was detected")
    image = cut_crop(photo, transform, MARGIN)
    attention = skin_attention(skin_probability(image)) * _inside(photo.shape, transform)
    crop_px = map_points(transform, landmarks.points)
    return PreparedPhoto(
        image,
        np.rint(255 * attention).astype(np.uint8),
        np.where(landmarks.known[:, None], crop_px, 0.0),
        landmarks.known,
    )


def missing_shards(plan: Plan, out: Path, meta: ShardMeta) -> list[int]:
    """Indices of the shards that are still to be written.

    Raises:
        ValueError: a shard that is there was made from something else.
    """
    present = {int(path.name[-5:]) for path in out.glob("shard_?????")}
    for index in sorted(present):
        path = shard_path(out, index)
        if index >= plan.n_shards or ShardReader(path).meta != meta:
            raise ValueError(
                f"{path} was made from other photos, labels or settings; choose another directory"
            )
    return [index for index in range(plan.n_shards) if index not in present]


def write_shards(
    plan: Plan,
    out: Path,
    model: MorphableModel,
    source: LabeledLandmarks,
    *,
    workers: int = 1,
    advance: Callable[[int], None] = lambda count: None,
) -> Counter[str]:
    """Write the shards that are missing.

    Args:
        plan: what goes where.
        out: directory of the shards.
        model: its five points are the template of the alignment.
        source: of the landmarks.
        workers: photos worked on side by side.
        advance: called with the number of photos done since the last call.

    Returns:
        How many photos of these shards were left out, by reason.

    Raises:
        ValueError: `out` has shards made from something else, or no photo of a shard can be
            used.
        KeyboardInterrupt: passed on; whole shards are kept.
    """
    meta = plan.meta(model, source)
    missing = missing_shards(plan, out, meta)
    advance(len(plan.names) - sum(len(plan.rows(index)) for index in missing))
    left_out: Counter[str] = Counter()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for index in missing:
                _write_shard(plan, out, index, meta, pool, model, source, left_out, advance)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return left_out


def _write_shard(
    plan: Plan,
    out: Path,
    index: int,
    meta: ShardMeta,
    pool: ThreadPoolExecutor,
    model: MorphableModel,
    source: LabeledLandmarks,
    left_out: Counter[str],
    advance: Callable[[int], None],
) -> None:
    rows = plan.rows(index)
    unknown = {name: np.full(LABEL_SHAPES[name], np.nan) for name in COEFFICIENTS}
    running = [
        pool.submit(
            prepare_photo, plan.directory, plan.names[k], plan.faces[k], model.five_points, source
        )
        for k in rows
    ]
    with ShardWriter(out, index, capacity=len(rows), meta=meta) as writer:
        for k, future in zip(rows, running, strict=True):
            try:
                photo = future.result()
            except Unusable as reason:
                left_out[str(reason)] += 1
            else:
                writer.add(
                    photo.image,
                    photo.attention,
                    landmarks=photo.landmarks,
                    landmark_visible=photo.known,
                    person=plan.person[k],
                    **unknown,
                )
            advance(1)
        if not len(writer):
            reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
            raise ValueError(f"no photo of shard {index} can be used: {reasons}")


def _inside(shape: tuple[int, ...], transform: Array) -> npt.NDArray[np.bool_]:
    """Which pixels (240, 240) of the crop with its margin lie on the photo (H, W, ...)."""
    centers = np.arange(IMAGE_SIZE) + 0.5 - MARGIN
    grid = np.stack(np.meshgrid(centers, centers), -1).reshape(-1, 2)
    photo_px = map_points_back(transform, grid)
    inside = np.all((photo_px >= 0) & (photo_px <= shape[1::-1]), axis=1)
    return np.asarray(inside, np.bool_).reshape(IMAGE_SIZE, IMAGE_SIZE)
