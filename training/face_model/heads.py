"""Whole heads (ears, neck, shoulders) that share the face model's coefficients.

For any identity and expression coefficients the face of the head is the face model's: its cage
vertices carry the face model's own bases. What the face does not determine (ears, skull, neck)
has a few components of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from facewright.training.face_model.build import Geometry
from facewright.training.face_model.cage import EYEBALL, MM_PER_UNIT, POCKET, SKIN, TEETH, TONGUE
from facewright.training.face_model.components import mirror_field, symmetric_components
from facewright.training.face_model.expression import unit_displacement
from facewright.training.face_model.landmarks import region_share
from facewright.training.face_model.people import People
from facewright.training.face_model.rigid import face_rows
from facewright.training.face_model.subdivision import catmull_clark

N_RESIDUAL = 24
#: What is known of drawn people; old and child as shares of the oldest and of childhood.
TRAITS = ("male", "old", "child", "european", "african", "asian", "weight")
RIDGE = 3.0


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A linear model of whole heads in the face model's frame and coefficients.

    Attributes:
        mean_shape: (V, 3) float32 mm; origin and axes of the face model.
        identity_basis: (80, V, 3) float32, for the face model's identity coefficients.
        residual_basis: (R, V, 3) float32: what the face does not tell; zero on the face.
        expression_basis: (64, V, 3) float32, for the face model's expression coefficients.
        triangles: (T, 3) int32, counter-clockwise seen from outside.
        parts: (V,) uint8: 0 skin, 1 inside of lids and mouth, 2 eyeball, 3 teeth,
            4 tongue.
        triangle_parts: (T,) uint8.
        masks: (V,) float32 weights in [0, 1]: lips, eyelids, ears, face.
        face_vertices, face_model_vertices: (n,) int32, vertices of the head and of the face
            model that are the same point for all coefficients.
        landmark_mean (68, 3), landmark_identity (80, 68, 3), landmark_expression (64, 68, 3):
            float32, the face model's landmarks.
        mirror: (V,) int32; identity_signs (80,), residual_signs (R,), expression_signs (64,):
            int8, factors of the coefficients of a mirrored head.
        identity_samples (N, 80), residual_samples (N, R), expression_samples (M, 64): float32
            coefficients of sampled people (the same rows are the same people) and expressions.
        trait_samples: (K, 7) float32, TRAITS of the last K sampled people; nothing is known of
            the scanned ones before them.
    """

    mean_shape: np.ndarray
    identity_basis: np.ndarray
    residual_basis: np.ndarray
    expression_basis: np.ndarray
    triangles: np.ndarray
    parts: np.ndarray
    triangle_parts: np.ndarray
    masks: dict[str, np.ndarray]
    face_vertices: np.ndarray
    face_model_vertices: np.ndarray
    landmark_mean: np.ndarray
    landmark_identity: np.ndarray
    landmark_expression: np.ndarray
    mirror: np.ndarray
    identity_signs: np.ndarray
    residual_signs: np.ndarray
    expression_signs: np.ndarray
    identity_samples: np.ndarray
    residual_samples: np.ndarray
    expression_samples: np.ndarray
    trait_samples: np.ndarray

    def save(self, path: Path) -> None:
        """Write all arrays to an ``.npz`` file."""
        arrays = {k: v for k, v in vars(self).items() if k != "masks"}
        masks = {f"mask_{name}": mask for name, mask in self.masks.items()}
        names = np.frombuffer(json.dumps(sorted(self.masks)).encode(), np.uint8)
        entries: dict[str, Any] = {"mask_names": names, **arrays, **masks}
        np.savez(path, **entries)

    @classmethod
    def load(cls, path: Path) -> HeadModel:
        """Read a file that :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            names = json.loads(data["mask_names"].tobytes())
            masks = {name: data[f"mask_{name}"] for name in names}
            arrays = {k: data[k] for k in data.files if not k.startswith("mask_")}
        return cls(masks=masks, **arrays)


def trait_table(people: People) -> np.ndarray:
    """(N, 7) the TRAITS of drawn people."""
    child = 0.5 * (people.child + people.baby)
    return np.column_stack([people.male, people.old, child, people.populations, people.weight])


def head_identity_basis(geometry: Geometry) -> np.ndarray:
    """(80, H, 3) mm per sigma on the head's cage: the face's own, and what goes with it best."""
    identity, cage = geometry.identity, geometry.head
    signs = identity.components.mirror_signs
    coefficients = identity.components.coefficients
    deviations = identity.heads - identity.head_mean.astype(np.float32)
    both = np.concatenate([deviations, mirror_field(deviations, cage.mirror, flip=True)])
    both_coefficients = np.concatenate([coefficients, coefficients * signs])
    normal = both_coefficients.T @ both_coefficients + RIDGE * np.eye(len(signs))
    basis = both_coefficients.T.astype(np.float32) @ both.reshape(len(both), -1)
    basis = np.linalg.solve(normal, basis.astype(np.float64)).reshape(len(signs), -1, 3)
    basis[:, face_rows(geometry.topology.cage, cage)] = identity.components.basis
    return basis


def head_expression_basis(geometry: Geometry) -> np.ndarray:
    """(64, H, 3) mm per sigma on the head's cage: the face's own, and the units' beyond it."""
    sources, expression, cage = geometry.sources, geometry.expression, geometry.head
    units = geometry.identity.scale * np.stack(
        [cage.source @ unit_displacement(sources, name) for name in expression.names]
    )
    mixture = np.linalg.lstsq(
        expression.units.reshape(len(units), -1).T,
        expression.components.basis.reshape(len(expression.components.basis), -1).T,
        rcond=None,
    )[0]
    basis = np.tensordot(mixture.T, units, 1)
    basis[:, face_rows(geometry.topology.cage, cage)] = expression.components.basis
    return basis


def build_head_model(geometry: Geometry) -> HeadModel:
    """Extend the face model to whole heads."""
    topology, cage = geometry.topology, geometry.head
    identity, expression = geometry.identity, geometry.expression
    landmarks, origin = geometry.landmarks, geometry.origin
    mean = identity.head_mean
    signs = identity.components.mirror_signs
    coefficients = identity.components.coefficients
    rows = face_rows(topology.cage, cage)
    basis = head_identity_basis(geometry)
    residual = identity.heads - mean.astype(np.float32)
    residual -= np.tensordot(coefficients, basis, 1).astype(np.float32)
    residual[:, rows] = 0
    extra = symmetric_components(
        residual, np.full(cage.n_vertices, 1 / cage.n_vertices), cage.mirror, N_RESIDUAL, flip=True
    )
    expression_basis = head_expression_basis(geometry)

    # Level 1 connectivity at level 2 positions: points coincide with the face model's vertices.
    first, quads, mirror = catmull_clark(cage.quads, cage.n_vertices, cage.mirror)
    second, _, _ = catmull_clark(quads, first.shape[0], mirror)
    matrix = (second @ first).tocsr()[: first.shape[0]]

    def dense(fields: np.ndarray) -> np.ndarray:
        return np.stack([matrix @ field for field in fields]).astype(np.float32)

    def at_landmarks(fields: np.ndarray) -> np.ndarray:
        at = topology.dense.matrix[landmarks]
        return np.stack([at @ field for field in fields]).astype(np.float32)

    quad_parts = np.repeat(cage.parts, 4)
    parts = np.full(matrix.shape[0], SKIN, np.uint8)
    for part in (TONGUE, TEETH, EYEBALL, POCKET, SKIN):
        parts[quads[quad_parts == part]] = part
    masks = {}
    for name in ("lips", "eyelids", "ears", "face"):
        weight = matrix @ region_share(topology, getattr(topology.regions, name), cage)
        masks[name] = np.where(parts == SKIN, np.clip(weight, 0, 1), 0).astype(np.float32)

    reference = matrix @ (cage.source @ topology.reference * MM_PER_UNIT - topology.origin)
    distance, nearest = map(np.asarray, cKDTree(topology.reference_dense).query(reference))
    same = np.flatnonzero((distance < 1e-6) & (parts == topology.parts[nearest]))
    return HeadModel(
        mean_shape=(matrix @ (mean - origin)).astype(np.float32),
        identity_basis=dense(basis),
        residual_basis=dense(extra.basis),
        expression_basis=dense(expression_basis),
        triangles=np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32),
        parts=parts,
        triangle_parts=np.concatenate([quad_parts, quad_parts]),
        masks=masks,
        face_vertices=same.astype(np.int32),
        face_model_vertices=nearest[same].astype(np.int32),
        landmark_mean=at_landmarks((identity.mean - origin)[None])[0],
        landmark_identity=at_landmarks(identity.components.basis),
        landmark_expression=at_landmarks(expression.components.basis),
        mirror=mirror.astype(np.int32),
        identity_signs=signs.astype(np.int8),
        residual_signs=extra.mirror_signs.astype(np.int8),
        expression_signs=expression.components.mirror_signs.astype(np.int8),
        identity_samples=coefficients.astype(np.float32),
        residual_samples=extra.coefficients.astype(np.float32),
        expression_samples=expression.components.coefficients.astype(np.float32),
        trait_samples=trait_table(identity.people).astype(np.float32),
    )
