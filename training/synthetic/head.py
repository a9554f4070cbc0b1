"""The whole head that portraits show, and its link to the face model's coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import FloatArray, IntArray
from facewright.models.morphable_model import MorphableModel
from facewright.training.appearance.surface import Surface
from facewright.training.face_model.heads import HeadModel
from facewright.training.synthetic.traits import TraitModel


@dataclass(frozen=True, eq=False)
class Head:
    """A head model ready to render, with what its labels need of the face model.

    Attributes:
        basis: (80 + 64 + R, 3 V) float32: identity, expression and residual modes.
        landmark_basis: (144, 204) float32: identity and expression modes of the landmarks.
        albedo_fit: (80, 3 n) float32: colors of the shared points, less their mean, to albedo
            coefficients (least squares with a unit Gaussian prior).
        template: (5, 3) five points and (68, 3) landmarks of the mean face, mm.
        units: named blendshapes' expression coefficients, (64,) each.
        traits: what identity coefficients tell about a person.
    """

    surface: Surface
    triangle_parts: NDArray[np.uint8]
    mean: FloatArray
    basis: FloatArray
    landmark_mean: FloatArray
    landmark_basis: FloatArray
    face_vertices: IntArray
    albedo_mean: FloatArray
    albedo_fit: FloatArray
    template: tuple[NDArray[np.float64], NDArray[np.float64]]
    units: Mapping[str, FloatArray]
    traits: TraitModel
    identity_samples: FloatArray
    residual_samples: FloatArray
    expression_samples: FloatArray
    face_model_sha256: str

    @classmethod
    def build(cls, data: HeadModel, model: MorphableModel) -> Head:
        """Combine a head with the face model its modes belong to.

        Raises:
            ValueError: the two do not have the same coefficients.
        """
        n_id, n_ex = model.n_identity, model.n_expression
        if len(data.identity_basis) != n_id or len(data.expression_basis) != n_ex:
            raise ValueError("the head and the face model have different numbers of modes")
        flat = [np.asarray(b, np.float32).reshape(len(b), -1) for b in (
            data.identity_basis, data.expression_basis, data.residual_basis)]  # fmt: skip
        rows = model.landmarks
        zeros_id, zeros_ex = np.zeros((1, n_id)), np.zeros((1, n_ex))
        landmark_mean = model.shape(zeros_id, zeros_ex)[0, rows]
        by_identity = model.shape(np.eye(n_id), np.zeros((n_id, n_ex)))[:, rows] - landmark_mean
        by_expression = model.shape(np.zeros((n_ex, n_id)), np.eye(n_ex))[:, rows] - landmark_mean
        landmark_basis = np.concatenate([by_identity, by_expression]).reshape(n_id + n_ex, -1)
        shared = np.asarray(data.face_model_vertices)
        albedo_basis = model.albedo_basis[:, shared].reshape(model.n_albedo, -1).astype(np.float64)
        # Residual color detail has about this standard deviation per channel.
        noise = 0.03
        gram = albedo_basis @ albedo_basis.T + noise**2 * np.eye(model.n_albedo)
        triangles = np.ascontiguousarray(data.triangles, np.int32)
        mean = np.array(data.mean_shape, np.float32)
        known = np.asarray(data.trait_samples, np.float32)
        surface = Surface(mean, triangles, data.masks, np.asarray(data.parts), landmark_mean)
        return cls(
            surface=surface,
            triangle_parts=np.ascontiguousarray(data.triangle_parts, np.uint8),
            mean=mean,
            basis=np.ascontiguousarray(np.concatenate(flat)),
            landmark_mean=landmark_mean,
            landmark_basis=np.ascontiguousarray(landmark_basis, np.float32),
            face_vertices=np.asarray(data.face_vertices, np.int32),
            albedo_mean=model.mean_albedo[shared].reshape(-1),
            albedo_fit=np.linalg.solve(gram, albedo_basis).astype(np.float32),
            template=(np.asarray(model.five_points), np.asarray(model.landmark_template)),
            units=dict(
                zip(model.expression_units, model.expression_unit_coefficients, strict=True)
            ),
            traits=TraitModel(np.asarray(data.identity_samples, np.float32)[-len(known) :], known),
            identity_samples=np.asarray(data.identity_samples, np.float32),
            residual_samples=np.asarray(data.residual_samples, np.float32),
            expression_samples=np.asarray(data.expression_samples, np.float32),
            face_model_sha256=model.sha256,
        )

    def shapes(
        self, identity: FloatArray, expression: FloatArray, residual: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Vertices (N, V, 3) and landmarks (N, 68, 3), mm, of N heads."""
        face = np.concatenate([identity, expression], axis=1).astype(np.float32)
        weights = np.concatenate([face, residual.astype(np.float32)], axis=1)
        vertices = (weights @ self.basis).reshape(len(face), -1, 3) + self.mean
        landmarks = (face @ self.landmark_basis).reshape(len(face), 68, 3) + self.landmark_mean
        return vertices, landmarks

    def albedo_coefficients(self, albedo_srgb: FloatArray) -> FloatArray:
        """(80,) albedo coefficients of head colors (V, 3) in display sRGB."""
        colors = albedo_srgb[self.face_vertices].reshape(-1) - self.albedo_mean
        return self.albedo_fit @ colors
