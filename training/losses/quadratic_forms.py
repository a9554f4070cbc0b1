"""Distances between faces as quadratic forms of coefficient differences.

Shapes and albedos are linear in their coefficients, so a mean square distance over the surface is
exactly dᵀ G d with a small constant matrix G, whatever the number of vertices. The functions here
compute such matrices; a square root of the form is a root mean square in mm (or sRGB units).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from facewright.models.arrays import DoubleArray
from facewright.models.light import sh_basis
from facewright.models.morphable_model import PART_EYEBALL, PART_SKIN, MorphableModel
from facewright.models.normals import vertex_normals

# Radius around the nose tip, mm, in which faces are compared (the evaluation's 95 mm less a rim).
FACE_RADIUS = 92.0
# The size of a head trades against its distance from the camera, which a photo hardly shows: most
# of an error in overall size is left out of the identity's distance.
IGNORED_SIZE_SHARE = 0.95
# Lids and lips move over small areas that people look at first.
FEATURE_EMPHASIS = 4.0
FEATURE_RADIUS = 8.0  # mm
# Added under square roots, so that their gradients stay finite at zero.
ROUNDING = 1e-3


def vertex_areas(vertices: npt.NDArray[Any], triangles: npt.NDArray[Any]) -> DoubleArray:
    """Surface that belongs to each vertex: a third of its triangles, (V,) in mm²."""
    corners = np.asarray(vertices, np.float64)[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    thirds = np.repeat(np.linalg.norm(cross, axis=1) / 6, 3)
    return np.bincount(triangles.reshape(-1), thirds, minlength=len(vertices)).astype(np.float64)


def displacement_form(basis: npt.NDArray[Any], weights: DoubleArray) -> DoubleArray:
    """Mean square displacement: G_ij = Σ_v w_v ⟨b_iv, b_jv⟩ / Σ_v w_v, (k, k).

    Args:
        basis: (k, V, c).
        weights: (V,) non-negative.
    """
    scaled = basis * np.sqrt(weights / weights.sum())[:, None]
    flat = scaled.reshape(len(basis), -1)
    return flat @ flat.T


def without_size(
    form: DoubleArray, basis: npt.NDArray[Any], mean: DoubleArray, weights: DoubleArray
) -> DoubleArray:
    """A displacement form with most of the overall size projected out.

    Args:
        form: of `basis` under `weights`, (k, k).
        basis: (k, V, 3) mm.
        mean: (V, 3) mm.
        weights: (V,).
    """
    share = weights / weights.sum()
    arms = mean - share @ mean
    along = np.einsum("v,vc,kvc->k", share, arms, basis, optimize=True)
    square = float(share @ (arms**2).sum(1))
    return form - IGNORED_SIZE_SHARE * np.outer(along, along) / square


def normal_form(
    basis: npt.NDArray[Any], points: DoubleArray, normals: DoubleArray, weights: DoubleArray
) -> DoubleArray:
    """Mean square displacement along normals that no small similarity explains, (k, k).

    This is the point-to-plane distance after alignment (rotation, translation, scale), to first
    order. Of the displacements (k, V), the part in the span of the seven infinitesimal motions
    is removed.

    Args:
        basis: (k, V, 3) mm.
        points: (V, 3) mm, of the mean shape.
        normals: (V, 3), there.
        weights: (V,).
    """
    root = np.sqrt(weights / weights.sum())
    along = np.einsum("kvc,vc->vk", basis, normals, optimize=True) * root[:, None]
    arms = points - weights @ points / weights.sum()
    motions = np.column_stack([np.cross(arms, normals), normals, (arms * normals).sum(1)])
    span, _ = np.linalg.qr(motions * root[:, None])
    rest = along - span @ (span.T @ along)
    return rest.T @ rest


def light_form(directions: int = 512) -> DoubleArray:
    """Mean square difference of the shading factor over normals that face the camera, (9, 9)."""
    # A Fibonacci spiral over the half sphere z > 0: equal areas.
    k = np.arange(directions) + 0.5
    z = k / directions
    angle = np.pi * (1 + np.sqrt(5)) * k
    ring = np.sqrt(1 - z**2)
    basis = sh_basis(np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1))
    return basis.T @ basis / directions


def face_forms(model: MorphableModel) -> dict[str, DoubleArray]:
    """The forms used in training.

    Returns:
        `identity` (80, 80) mm², overall size mostly ignored; `expression` (64, 64) mm², lids
        and lips emphasized; `shape_normal` (144, 144) mm² for identity and expression together,
        within `FACE_RADIUS`; `albedo` (80, 80) sRGB², per channel; `light` (9, 9).
    """
    mean = model.mean_vertices.astype(np.float64)
    skin = vertex_areas(mean, model.triangles) * (model.parts == PART_SKIN)
    visible = vertex_areas(mean, model.triangles) * np.isin(model.parts, (PART_SKIN, PART_EYEBALL))
    normals = vertex_normals(mean[None], model.triangles)[0]
    identity = model.refine(model.identity_basis)
    expression = model.refine(model.expression_basis)

    features = mean[np.concatenate([model.landmarks[36:48], model.landmarks[48:68]])]
    distance = np.full(len(mean), np.inf)
    for point in features:
        distance = np.minimum(distance, np.linalg.norm(mean - point, axis=1))
    emphasized = skin * (1 + FEATURE_EMPHASIS * np.exp(-((distance / FEATURE_RADIUS) ** 2)))

    near = np.flatnonzero(
        (skin > 0) & (np.linalg.norm(mean - mean[model.landmarks[30]], axis=1) < FACE_RADIUS)
    )
    both = np.concatenate([identity[:, near], expression[:, near]])
    return {
        "identity": without_size(displacement_form(identity, skin), identity, mean, skin),
        "expression": displacement_form(expression, emphasized),
        "shape_normal": normal_form(both, mean[near], normals[near], skin[near]),
        "albedo": displacement_form(model.albedo_basis, visible) / 3,
        "light": light_form(),
    }


def root_mean_form(difference: Tensor, form: Tensor, rounding: float = ROUNDING) -> Tensor:
    """Mean over N of √(dᵀ G d + rounding); difference (N, k), form (k, k)."""
    squares = ((difference @ form) * difference).sum(1)
    return (squares.clamp(min=0) + rounding).sqrt().mean()
