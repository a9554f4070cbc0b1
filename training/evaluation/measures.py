"""Errors of predicted faces: shape in mm, landmarks in px, pose in degrees, identity as AUC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facewright.models.arrays import Array
from facewright.models.camera import pose_points, project, rotation_matrix
from facewright.models.landmarks import NOSE_TIP
from facewright.models.layout import LAYOUT_239, CoefficientLayout, Coefficients
from facewright.models.morphable_model import PART_SKIN, MorphableModel
from facewright.models.normals import vertex_normals
from facewright.training.data.shards import Labels
from facewright.training.evaluation.scans import FACE_RADIUS
from facewright.training.evaluation.similarity import fit_similarity

# Faces evaluated at once: bounds memory.
CHUNK = 32


def align_similarity(moving: Array, fixed: Array) -> Array:
    """Scale, rotate and shift each point set onto its partner by least squares.

    Args:
        moving: (N, V, 3) points.
        fixed: (N, V, 3) their partners.

    Returns:
        `moving` after its similarity, (N, V, 3).
    """
    return fit_similarity(moving, fixed).apply(moving)


def point_to_plane(predicted: Array, true: Array, normals: Array) -> Array:
    """Mean distance (N,) of points (N, V, 3) to the tangent planes at their true partners."""
    distance: Array = np.abs(((predicted - true) * normals).sum(2)).mean(1)
    return distance


def rotation_degrees(predicted: Array, true: Array) -> Array:
    """Angle (N,) of the rotation between rotation matrices (N, 3, 3)."""
    # |R - R'| = 2 √2 sin(angle / 2) holds its precision where the trace's arc cosine does not.
    distance = np.linalg.norm(predicted - true, axis=(1, 2))
    degrees: Array = np.degrees(2 * np.arcsin(np.clip(distance / np.sqrt(8), 0, 1)))
    return degrees


def box_size(landmarks: Array) -> Array:
    """√(width · height) of the box around landmarks (N, L, 2): (N,)."""
    size: Array = np.sqrt(np.prod(landmarks.max(1) - landmarks.min(1), axis=1))
    return size


def landmark_distance(predicted: Array, true: Array) -> Array:
    """Mean Euclidean distance (N,) of landmarks (N, L, 2)."""
    distance: Array = np.linalg.norm(predicted - true, axis=2).mean(1)
    return distance


def area_under_curve(positive: Array, negative: Array) -> float:
    """Probability that a positive score exceeds a negative one, ties counting half.

    This is the area under the receiver operating characteristic (Mann & Whitney 1947).

    Args:
        positive: (P,) scores, not empty.
        negative: (Q,) scores, not empty.
    """
    if not len(positive) or not len(negative):
        raise ValueError("both kinds of pairs are needed")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left")
    not_above = np.searchsorted(ordered, positive, "right")
    return float((below + not_above).mean() / (2 * len(ordered)))


class NeutralErrors:
    """The point-to-plane error of neutral faces, as in `FaceErrors`, many of one person.

    Args:
        model: the face model.
    """

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        self._region = _face_region(model)
        basis = model.refine(model.identity_basis)[:, self._region]
        self._basis = basis.reshape(len(basis), -1).astype(np.float32)
        self._mean = model.mean_vertices[self._region].astype(np.float32)

    def __call__(self, identity: Array, true: Array) -> Array:
        """Errors (N,) in mm of identities (N, 80) whose true one is `true` (80,)."""
        face = self._model.shape(
            true[None].astype(np.float32), np.zeros((1, len(self._model.expression_basis)))
        )
        normals = vertex_normals(face, self._model.triangles)[:, self._region]
        fixed = face[:, self._region]
        parts = []
        for k in range(0, len(identity), CHUNK):
            shapes = identity[k : k + CHUNK].astype(np.float32) @ self._basis
            moving = self._mean + shapes.reshape(len(shapes), -1, 3)
            target = np.broadcast_to(fixed, moving.shape)
            parts.append(point_to_plane(align_similarity(moving, target), target, normals))
        return np.concatenate(parts)


def _face_region(model: MorphableModel) -> Array:
    """Skin (V,) bool within 95 mm of the nose tip."""
    tip = model.mean_vertices[model.landmarks[NOSE_TIP]]
    near = np.linalg.norm(model.mean_vertices - tip, axis=1) < FACE_RADIUS
    region: Array = (model.parts == PART_SKIN) & near
    return region


@dataclass(frozen=True, eq=False)
class FaceErrors:
    """Errors of N faces, each (N,).

    Attributes:
        vertex_mm: mean vertex distance in model space, expression included, skin only.
        plane_mm: mean point-to-plane distance after similarity alignment, within 95 mm of the
            nose tip, expression included.
        neutral_plane_mm: the same of the faces without their expressions.
        landmark_px, landmark_percent: of the crop and of the size of the landmarks' box.
        rotation_degrees: angle between the poses.
    """

    vertex_mm: Array
    plane_mm: Array
    neutral_plane_mm: Array
    landmark_px: Array
    landmark_percent: Array
    rotation_degrees: Array


def face_errors(
    model: MorphableModel,
    coefficients: Array,
    labels: Labels,
    layout: CoefficientLayout = LAYOUT_239,
) -> FaceErrors:
    """Compare predicted coefficients (N, layout.size) with what is known."""
    chunks = [
        _face_errors(model, coefficients[k : k + CHUNK], labels.take(slice(k, k + CHUNK)), layout)
        for k in range(0, len(coefficients), CHUNK)
    ]
    return FaceErrors(
        **{
            name: np.concatenate([getattr(chunk, name) for chunk in chunks])
            for name in FaceErrors.__dataclass_fields__
        }
    )


def _face_errors(
    model: MorphableModel, coefficients: Array, labels: Labels, layout: CoefficientLayout
) -> FaceErrors:
    predicted: Coefficients = layout.split(np.asarray(coefficients, np.float32))
    skin = model.parts == PART_SKIN
    face = _face_region(model)

    def plane_mm(mine: Array, theirs: Array) -> Array:
        normals = vertex_normals(theirs, model.triangles)[:, face]
        return point_to_plane(
            align_similarity(mine[:, face], theirs[:, face]), theirs[:, face], normals
        )

    mine = model.shape(predicted.identity, predicted.expression)
    theirs = model.shape(labels.identity, labels.expression)
    vertex_mm = np.linalg.norm(mine[:, skin] - theirs[:, skin], axis=2).mean(1)
    posed = pose_points(mine[:, model.landmarks], predicted.rotation, predicted.translation)
    pixels = landmark_distance(project(posed), labels.landmarks)
    whole = plane_mm(mine, theirs)
    mine = model.shape(predicted.identity, 0 * predicted.expression)
    theirs = model.shape(labels.identity, 0 * labels.expression)
    return FaceErrors(
        vertex_mm=vertex_mm,
        plane_mm=whole,
        neutral_plane_mm=plane_mm(mine, theirs),
        landmark_px=pixels,
        landmark_percent=100 * pixels / box_size(labels.landmarks),
        rotation_degrees=rotation_degrees(
            rotation_matrix(predicted.rotation.astype(np.float64)),
            rotation_matrix(labels.rotation.astype(np.float64)),
        ),
    )


def mode_correlations(predicted: Array, true: Array) -> Array:
    """Correlation (k,) over N faces of predicted and true coefficients (N, k); 0 if constant."""
    a, b = predicted - predicted.mean(0), true - true.mean(0)
    norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    correlation: Array = np.divide((a * b).sum(0), norm, out=np.zeros_like(norm), where=norm > 0)
    return correlation
