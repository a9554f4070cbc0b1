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
from scipy.spatial.transform import Rotation

from facewright.models.landmarks import NOSE_TIP
from facewright.models.morphable_model import PART_SKIN, MorphableModel
from facewright.training.evaluation.nearest import Nearest, Surface
from facewright.training.evaluation.scans import FACE_RADIUS
from facewright.training.evaluation.similarity import Similarity, fit_similarity
from facewright.training.face_model.registration import barycentric

Array = NDArray[Any]

N_POINTS = 3000
N_STEPS = 15
#: Weights of a squared coefficient beside the squared distances (mm) of all points, one per round:
#: while correspondences are still wrong, fine modes must not follow them.
RIDGES = np.geomspace(1000.0, 1.0, 12)
#: Weight of distances along the surface beside those along its normal.
TANGENTIAL = 0.05
#: Distance (mm) below which points count alike; beyond, by its inverse. A few points lie on
#: surfaces that the other mesh lacks, up to 15 mm away: squared, they would bend the whole face.
ROBUST = 0.2
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
    def sample(cls, vertices: Array, triangles: Array, landmarks: Array, seen: Array) -> TrueFace:
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


class _Posed:
    """A prediction's skin with the similarity that maps it to the truth."""

    def __init__(self, model: MorphableModel, vertices: Array, truth: TrueFace) -> None:
        skin = (model.parts[model.triangles] == PART_SKIN).all(axis=1)
        self.surface = Surface(vertices, model.triangles[skin])
        self.truth = truth
        self.pose = fit_similarity(vertices[model.landmarks][START], truth.landmarks[START])

    def look(self) -> tuple[Array, Array, Array, Array]:
        """Truth in the prediction's space (N, 3), offsets from the surface, normals, triangles."""
        points = self.pose.undo(self.truth.points)
        found = self.surface.nearest(points)
        normals = self.surface.normals[found.triangles]
        return points, points - found.points, normals, found.triangles

    def register(self) -> None:
        """Point-to-plane ICP: points beyond the mesh's rim do not pull sideways."""
        for _ in range(N_STEPS):
            points, offsets, normals, _ = self.look()
            along = (offsets * normals).sum(1)
            near = np.abs(along) <= np.quantile(np.abs(along), 0.98)
            center = points.mean(0)
            arms = points - center
            columns = [np.cross(arms, normals), normals, (arms * normals).sum(1, keepdims=True)]
            slopes = np.concatenate(columns, axis=1)[near]
            step = np.linalg.lstsq(slopes, -along[near], rcond=None)[0]
            turn = Rotation.from_rotvec(step[:3]).as_matrix()
            growth = float(np.exp(step[6]))
            # x' = growth turn (x - center) + center + shift, for x = undo(truth).
            scale, rotation, translation = self.pose
            inverse = growth * turn @ rotation.T / scale
            shift = (
                center + step[3:6] + growth * turn @ (-rotation.T @ translation / scale - center)
            )
            self.pose = Similarity(
                np.asarray(scale / growth), (turn @ rotation.T).T, -np.linalg.solve(inverse, shift)
            )
            if np.abs(step[:3]).max() < 1e-5 and np.abs(step[3:6]).max() < 1e-3:
                break


def distance(model: MorphableModel, vertices: Array, truth: TrueFace) -> float:
    """Mean point-to-plane distance of the truth to a prediction (V, 3), mm of the truth."""
    posed = _Posed(model, vertices, truth)
    posed.register()
    _, offsets, normals, _ = posed.look()
    return float(np.abs((offsets * normals).sum(1)).mean() * posed.pose.scale)


def fit(model: MorphableModel, truth: TrueFace) -> Array:
    """(n_identity,) coefficients whose neutral face is nearest to the truth, with a unit prior."""
    mean = model.mean_vertices.astype(np.float64)
    neutral = np.zeros((model.n_identity, model.n_expression))
    basis = model.shape(np.eye(model.n_identity), neutral).astype(np.float64) - mean
    coefficients = np.zeros(model.n_identity)
    for weight in RIDGES:
        vertices = mean + np.tensordot(coefficients, basis, 1)
        posed = _Posed(model, vertices, truth)
        posed.register()
        points, offsets, normal, triangles = posed.look()
        corners = posed.surface.triangles[triangles]
        weights = barycentric(vertices[corners], points - offsets)
        # Beyond the rim a point has no partner.
        found = Nearest(points - offsets, triangles, np.zeros(len(points)))
        inside = ~posed.surface.on_border(found)
        weights, corners, normal = weights[inside], corners[inside], normal[inside]
        points, offsets = points[inside], offsets[inside]
        counts = 1 / np.maximum(np.linalg.norm(offsets, axis=1), ROBUST)
        counts /= np.median(counts)
        moves = np.einsum("nk,mnkj->mnj", weights, basis[:, corners])
        # The pose moves along: rotation, translation and scale of the truth.
        arms = points - points.mean(0)
        axes = np.eye(3)
        rigid = [np.cross(axis, arms) for axis in axes]
        rigid += [np.broadcast_to(axis, arms.shape) for axis in axes] + [arms]
        jacobian = np.concatenate([moves, -np.stack(rigid)])
        along = np.einsum("mnj,nj->nm", jacobian, normal)
        flat = jacobian.transpose(1, 2, 0).reshape(-1, len(jacobian))
        counted, counted_flat = along.T * counts, flat.T * np.repeat(counts, 3)
        form = counted @ along + TANGENTIAL * counted_flat @ flat
        right = counted @ (offsets * normal).sum(1) + TANGENTIAL * counted_flat @ offsets.ravel()
        ridge = np.zeros(len(jacobian))
        ridge[: model.n_identity] = weight
        right[: model.n_identity] -= weight * coefficients
        step = np.linalg.solve(form + np.diag(ridge + 1e-9), right)
        coefficients = coefficients + step[: model.n_identity]
    return coefficients
