"""The mesh that colors are sampled on, with the anatomical coordinates derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from facewright.models.arrays import FloatArray, IntArray
from facewright.training.appearance.visibility import ambient_occlusion

SKIN, INSIDE, EYEBALL, TEETH, TONGUE = 0, 1, 2, 3, 4
REFERENCE_INTEROCULAR_MM = 63.0


@dataclass(frozen=True, eq=False)
class Surface:
    """A face or head mesh in its mean shape.

    Attributes:
        points: (V, 3) float32, mm, +x to the subject's left, +y up, +z out of the face.
        triangles: (T, 3) int32, counter-clockwise seen from outside.
        masks: named (V,) float weights in [0, 1]: "lips", "eyelids", "ears", "inside_mouth"; a
            missing name means zero everywhere.
        parts: (V,) uint8: 0 skin, 1 inside of lids and mouth, 2 eyeball, 3 teeth,
            4 tongue.
        landmarks: (68, 3) float32 mm, iBUG order.
    """

    points: FloatArray
    triangles: IntArray
    masks: Mapping[str, FloatArray]
    parts: NDArray[np.uint8]
    landmarks: FloatArray

    def mask(self, name: str) -> FloatArray:
        """(V,) float32 weights of a named region."""
        if name in self.masks:
            return np.asarray(self.masks[name], np.float32)
        return np.zeros(len(self.points), np.float32)

    @cached_property
    def normals(self) -> FloatArray:
        """(V, 3) float32 unit vertex normals, area-weighted."""
        a, b, c = (self.points[self.triangles[:, k]] for k in range(3))
        face = np.cross(b - a, c - a)
        normals = np.zeros((len(self.points), 3), np.float64)
        for k in range(3):
            np.add.at(normals, self.triangles[:, k], face)
        length = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return (normals / length).astype(np.float32)

    @cached_property
    def eye_centers(self) -> FloatArray:
        """(2, 3) mm: centers of the eyeballs' spheres, image-left (negative x) first."""
        centers = []
        for sign in (-1, 1):
            own = (self.parts == EYEBALL) & (np.sign(self.points[:, 0]) == sign)
            p = self.points[own].astype(np.float64)
            system = np.c_[2 * p, np.ones(len(p))]
            centers.append(np.linalg.lstsq(system, (p**2).sum(1), rcond=None)[0][:3])
        return np.asarray(centers, np.float32)

    @cached_property
    def scale(self) -> float:
        """Millimeters of this mesh per millimeter of a head with a 63 mm eye distance."""
        distance = self.eye_centers[1, 0] - self.eye_centers[0, 0]
        return float(distance / REFERENCE_INTEROCULAR_MM)

    @cached_property
    def relative(self) -> FloatArray:
        """(V, 3) mm of the reference head, measured from the middle between the eyes."""
        return self.to_relative(self.points)

    @cached_property
    def relative_landmarks(self) -> FloatArray:
        """(68, 3), as `relative`."""
        return self.to_relative(self.landmarks)

    def to_relative(self, points: FloatArray) -> FloatArray:
        """Express (N, 3) mm points in the frame of `relative`."""
        origin = self.eye_centers.mean(axis=0)
        return ((points - origin) / np.float32(self.scale)).astype(np.float32)

    @cached_property
    def iris_radius(self) -> FloatArray:
        """(V,) reference mm from the axis of the own eye; 99 off the eyeballs."""
        radius = np.full(len(self.points), 99.0, np.float32)
        for sign, center in zip((-1, 1), self.eye_centers, strict=True):
            own = (self.parts == EYEBALL) & (np.sign(self.points[:, 0]) == sign)
            radius[own] = np.linalg.norm(self.points[own, :2] - center[:2], axis=1) / self.scale
        return radius

    @cached_property
    def lid_margin(self) -> FloatArray:
        """(V,) in [0, 1]: 1 on skin that touches an eyeball, falling off over 1.6 mm."""
        eyeball = self.parts == EYEBALL
        distance, _ = cKDTree(self.points[eyeball]).query(self.points)
        weight = np.exp(-((distance / 1.6 / self.scale) ** 2))
        return np.where(eyeball, 0, weight).astype(np.float32)

    @cached_property
    def occlusion(self) -> FloatArray:
        """(V,) in [0, 1]: visible part of the sky, 1 on eyeballs."""
        visible = ambient_occlusion(
            np.ascontiguousarray(self.points, np.float32), self.normals, self.triangles
        )
        visible = np.clip(visible * 1.12, 0, 1)
        visible[self.parts == EYEBALL] = 1.0
        return visible.astype(np.float32)
