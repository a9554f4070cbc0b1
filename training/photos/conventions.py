"""Where a collection's 68 landmarks lie on the face model's surface.

Collections agree on sharp anatomy, the corners of eyes and mouth, the lips and the nose, but not
on the jaw and the brows, whose points lie anywhere along a line. A convention gives those points
other vertices of the face model; landmarks 27 to 67 keep the model's own, so that no bias of
the network that it was fitted with can hide in them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facewright.models.arrays import Array
from facewright.models.camera import pose_points, project
from facewright.models.landmarks import (
    JAW,
    LANDMARK_COUNT,
    LEFT_BROW,
    MIRROR_ORDER,
    NOSE_BRIDGE,
    RIGHT_BROW,
)
from facewright.models.layout import CoefficientLayout
from facewright.models.morphable_model import PART_SKIN, MorphableModel
from facewright.training.photos.crops import map_points

MOVED = slice(JAW.start, RIGHT_BROW.stop)
"""Jaw and brows: the landmarks a convention may place."""
SHARP = slice(NOSE_BRIDGE.start, LANDMARK_COUNT)
"""The landmarks that are the same in all collections."""

LABEL_CONVENTION = Path(__file__).with_name("label_convention.json")
"""The jaw and brows at the "true contour", as in the collections of 3D-aware landmarks."""

# How far from the model's landmark a convention's may be, mm on the mean face.
_JAW_REACH = 35.0
_BROW_REACH = 15.0
# A best vertex this close to the mesh's rim says that the true place may lie beyond.
_RIM = 5.0
_CHUNK = 32


@dataclass(frozen=True, eq=False)
class LandmarkConvention:
    """Vertices of the face model that a collection's landmarks lie on.

    Attributes:
        vertices: (68,) int32.
        beyond_rim: (68,) bool: the best vertex is on the rim of the mesh, which does not reach as
            far as the landmark.
    """

    vertices: npt.NDArray[np.int32]
    beyond_rim: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ConventionFit:
    """A convention and what it changes.

    Attributes:
        convention: the result.
        before, after: (68,) mean distances, % of the labels' box, of the model's landmarks and
            of the convention's to the labels, after a similarity onto the sharp landmarks.
        photos: number of photos it was fitted to.
    """

    convention: LandmarkConvention
    before: Array
    after: Array
    photos: int


def topology_of(model: MorphableModel) -> str:
    """SHA-256 of the triangles: vertices keep their places while it is the same."""
    return hashlib.sha256(np.ascontiguousarray(model.triangles, "<i4").tobytes()).hexdigest()


def fit_convention(
    model: MorphableModel,
    layout: CoefficientLayout,
    coefficients: Array,
    transforms: Array,
    landmarks: Array,
    *,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> ConventionFit:
    """Place jaw and brow landmarks where predicted faces meet the labels best.

    For every landmark, the vertex of skin near the model's own landmark with the least mean
    distance in the photos; mirror pairs get mirror vertices, the chin one on the midline. Every
    predicted face is first moved, turned and scaled in the picture onto its photo's sharp
    landmarks, so an error of the network's pose or size counts as little as can be.

    Only photos of training people may be given: the convention is part of what evaluations on
    held-out people rest on.

    Args:
        model: the face model.
        layout: of the coefficients.
        coefficients: (N, size), predicted.
        transforms: (N, 2, 3), photo px to crop px.
        landmarks: (N, 68, 2) labels, photo px.
        track: wraps the loop over chunks of photos to show progress.

    Raises:
        ValueError: there is no photo.
    """
    if not len(landmarks):
        raise ValueError("no photo with landmarks to fit a convention to")
    candidates = _candidates(model)
    total = {landmark: np.zeros(len(places)) for landmark, places in candidates.items()}
    before = np.zeros(LANDMARK_COUNT)
    for k in track(range(0, len(landmarks), _CHUNK)):
        rows = slice(k, k + _CHUNK)
        true = map_points(transforms[rows], landmarks[rows])
        parts = layout.split(np.asarray(coefficients[rows], np.float32))
        shape = model.shape(parts.identity, parts.expression)
        found = project(pose_points(shape, parts.rotation, parts.translation)).astype(np.float64)
        found = _move_onto(found, model.landmarks[SHARP], true[:, SHARP])
        size = np.sqrt(np.prod(true.max(1) - true.min(1), axis=1))[:, None]

        def distance(vertices: Array, landmark: int) -> Array:
            apart = np.linalg.norm(found[:, vertices] - true[:, landmark, None], axis=2)  # noqa: B023
            return (100 * apart / size).sum(0)  # noqa: B023

        for landmark in range(LANDMARK_COUNT):
            before[landmark] += distance(model.landmarks[[landmark]], landmark)[0]
        for landmark, places in candidates.items():
            total[landmark] += distance(places, landmark) / 2
            total[landmark] += distance(model.mirror[places], MIRROR_ORDER[landmark]) / 2

    before /= len(landmarks)
    after = before.copy()
    vertices = model.landmarks.copy()
    for landmark, places in candidates.items():
        best = int(total[landmark].argmin())
        vertices[landmark] = places[best]
        vertices[MIRROR_ORDER[landmark]] = model.mirror[places[best]]
        after[[landmark, MIRROR_ORDER[landmark]]] = total[landmark][best] / len(landmarks)
    convention = LandmarkConvention(vertices, _near_rim(model, vertices))
    return ConventionFit(convention, before, after, len(landmarks))


def write_convention(
    fit: ConventionFit, model: MorphableModel, path: Path, *, fitted_on: str
) -> None:
    """Write a convention of a face model as JSON, with the residuals it was chosen by."""
    rows = [
        {
            "landmark": landmark,
            "vertex": int(fit.convention.vertices[landmark]),
            "beyond_rim": bool(fit.convention.beyond_rim[landmark]),
            "percent_of_box_before": round(float(fit.before[landmark]), 2),
            "percent_of_box_after": round(float(fit.after[landmark]), 2),
        }
        for landmark in range(MOVED.start, MOVED.stop)
    ]
    text = json.dumps(
        {"fitted_on": fitted_on, "topology_sha256": topology_of(model), "moved": rows},
        indent=1,
    )
    path.write_text(text + "\n")


def read_convention(
    model: MorphableModel, path: Path = LABEL_CONVENTION
) -> LandmarkConvention | None:
    """Read a convention; None when it was fitted with a face model of other triangles."""
    stored = json.loads(path.read_text())
    if stored["topology_sha256"] != topology_of(model):
        return None
    vertices, beyond = model.landmarks.copy(), np.zeros(LANDMARK_COUNT, np.bool_)
    for row in stored["moved"]:
        vertices[row["landmark"]] = row["vertex"]
        beyond[row["landmark"]] = row["beyond_rim"]
    return LandmarkConvention(vertices, beyond)


def _candidates(model: MorphableModel) -> dict[int, Array]:
    """Vertices that may take the image-left and midline landmarks."""
    points = model.mean_vertices
    skin = model.parts == PART_SKIN
    midline = model.mirror == np.arange(model.n_vertices)
    allowed = {}
    for landmark in (*range(JAW.start, 9), *range(LEFT_BROW.start, LEFT_BROW.stop)):
        reach = _JAW_REACH if landmark < JAW.stop else _BROW_REACH
        own = points[model.landmarks[landmark]]
        near = skin & (np.linalg.norm(points - own, axis=1) < reach)
        on_side = midline if MIRROR_ORDER[landmark] == landmark else points[:, 0] < 0
        allowed[landmark] = np.union1d(
            np.flatnonzero(near & on_side), model.landmarks[landmark]
        ).astype(np.int64)
    return allowed


def _near_rim(model: MorphableModel, vertices: Array) -> npt.NDArray[np.bool_]:
    """Which vertices lie on the outer edge of the mesh's skin, or nearly."""
    sides = np.sort(model.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, uses = np.unique(sides, axis=0, return_counts=True)
    rim = np.unique(edges[uses == 1])
    rim = rim[model.parts[rim] == PART_SKIN]
    if not len(rim):
        return np.zeros(len(vertices), np.bool_)
    apart = model.mean_vertices[vertices, None] - model.mean_vertices[None, rim]
    near: npt.NDArray[np.bool_] = np.linalg.norm(apart, axis=2).min(1) < _RIM
    return near


def _move_onto(points: Array, anchors: Array, targets: Array) -> Array:
    """Move points (N, V, 2) by the similarity that brings some of them nearest to targets."""
    moving, fixed = points[:, anchors], targets
    from_center, to_center = moving.mean(1, keepdims=True), fixed.mean(1, keepdims=True)
    a = (moving - from_center) @ [1, 1j]
    b = (fixed - to_center) @ [1, 1j]
    turn = (a.conj() * b).sum(1) / (np.abs(a) ** 2).sum(1)
    turned = ((points - from_center) @ [1, 1j]) * turn[:, None]
    moved: Array = np.stack([turned.real, turned.imag], -1) + to_center
    return moved
