"""What a face model can say of scanned people: its mean face, and its modes fitted to true shapes.

A network can come no nearer to a person than the best coefficients do, and one that knows nothing
of the person is as far off as the mean face. Distances follow the paper's protocol: the true
surface within 95 mm of the tip of the nose, registered by ICP with isotropic scale, mean
point-to-plane distance; only over what a scanner sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.landmarks import NOSE_TIP
from models.morphable_model import PART_SKIN, MorphableModel
from training.evaluation.icp import register
from training.evaluation.nearest import Surface
from training.evaluation.scans import FACE_RADIUS
from training.evaluation.similarity import Similarity, fit_similarity
from training.face_model.registration import barycentric

Array = NDArray[Any]

N_POINTS = 3000
N_ROUNDS = 15
#: Weight of a squared coefficient beside the squared distances (mm) of all points.
RIDGE = 1.0
#: Weight of distances along the surface beside those along its normal.
TANGENTIAL = 0.05
#: Landmarks that start the registration: corners of eyes and mouth, nose.
START = [36, 39, 42, 45, 27, 30, 31, 35, 48, 54]


@dataclass(frozen=True, eq=False)
class TrueFace:
    """Points of a person's true surface, sampled evenly over its area.

    Attributes:
        points: (N, 3) mm, within 95 mm of the tip of the nose.
        landmarks: (68, 3) mm.
    """

    points: Array
    landmarks: Array

    @classmethod
    def sample(
        cls, vertices: Array, triangles: Array, landmarks: Array, seen: Array
    ) -> TrueFace:
        """Sample a mesh.

        Args:
            vertices: (W, 3) mm.
            triangles: (U, 3).
            landmarks: (68,) vertices.
            seen: (W,) bool, what a scanner sees.
        """
        marks = vertices[landmarks]
        near = np.linalg.norm(vertices - marks[NOSE_TIP], axis=1) < 15
        tip = vertices[near][np.argmax(vertices[near, 2])]
        inside = seen & (np.linalg.norm(vertices - tip, axis=1) < FACE_RADIUS)
        corners = vertices[triangles[inside[triangles].all(axis=1)]]
        edges = corners[:, 1:] - corners[:, :1]
        area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
        rng = np.random.default_rng(0)
        chosen = rng.choice(len(corners), N_POINTS, p=area / area.sum())
        shares = rng.random((N_POINTS, 2))
        shares = np.where(shares.sum(1, keepdims=True) > 1, 1 - shares, shares)
        points = corners[chosen, 0] + np.einsum("nk,nkj->nj", shares, edges[chosen])
        return cls(points, marks)


def distance(model: MorphableModel, vertices: Array, truth: TrueFace) -> tuple[float, Similarity]:
    """Mean point-to-plane distance, mm, and the pose that maps the prediction to the truth.

    Args:
        model: whose mesh is measured.
        vertices: (V, 3) mm, the prediction.
        truth: the person.
    """
    skin = (model.parts[model.triangles] == PART_SKIN).all(axis=1)
    surface = Surface(vertices, model.triangles[skin])
    marks = vertices[model.landmarks]
    start = fit_similarity(marks[START], truth.landmarks[START])
    found = register(
        surface, truth.points, start, scaled=True, trim=0.0, rng=np.random.default_rng(0)
    )
    foot, normal = found.nearest.points, surface.normals[found.nearest.triangles]
    offsets = found.pose.undo(truth.points) - foot
    along = np.abs((offsets * normal).sum(1)) * float(found.pose.scale)
    return float(along.mean()), found.pose


def fit(model: MorphableModel, truth: TrueFace) -> Array:
    """(n_identity,) coefficients whose neutral face is nearest to the truth, with a unit prior."""
    mean = model.mean_vertices.astype(np.float64)
    basis = model.shape(np.eye(model.n_identity), np.zeros((model.n_identity, model.n_expression)))
    basis = basis.astype(np.float64) - mean
    skin = (model.parts[model.triangles] == PART_SKIN).all(axis=1)
    coefficients = np.zeros(model.n_identity)
    pose = distance(model, mean, truth)[1]
    for _ in range(N_ROUNDS):
        vertices = mean + np.tensordot(coefficients, basis, 1)
        surface = Surface(vertices, model.triangles[skin])
        points = pose.undo(truth.points)
        found = surface.nearest(points)
        corners = surface.triangles[found.triangles]
        weights = barycentric(vertices[corners], found.points)
        moves = np.einsum("nk,mnkj->mnj", weights, basis[:, corners])
        offsets, normal = points - found.points, surface.normals[found.triangles]
        # The pose moves along: rotation, translation and scale of the truth.
        centre = points.mean(0)
        arms = points - centre
        rigid = [np.cross(np.eye(3)[k], arms) for k in range(3)]
        rigid += [np.broadcast_to(np.eye(3)[k], arms.shape) for k in range(3)] + [arms]
        jacobian = np.concatenate([moves, -np.stack(rigid)])
        along = np.einsum("mnj,nj->nm", jacobian, normal)
        flat = jacobian.transpose(1, 2, 0).reshape(-1, len(jacobian))
        form = along.T @ along + TANGENTIAL * flat.T @ flat
        right = along.T @ (offsets * normal).sum(1) + TANGENTIAL * flat.T @ offsets.ravel()
        ridge = np.zeros(len(jacobian))
        ridge[: model.n_identity] = RIDGE
        right[: model.n_identity] -= RIDGE * coefficients
        step = np.linalg.solve(form + np.diag(ridge + 1e-9), right)
        coefficients = coefficients + step[: model.n_identity]
        vertices = mean + np.tensordot(coefficients, basis, 1)
        marks = vertices[model.landmarks]
        pose = fit_similarity(marks[START], truth.landmarks[START])
        surface = Surface(vertices, model.triangles[skin])
        pose = register(
            surface, truth.points[::3], pose, scaled=True, trim=0.0, rng=np.random.default_rng(0)
        ).pose
    return coefficients
