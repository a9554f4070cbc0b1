"""How a reconstructed face becomes a whole head: its mesh, skeleton and morph targets."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from facewright.models.arrays import ByteArray, FloatArray, IntArray
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES, VISEMES
from facewright.models.color import srgb_u8
from facewright.models.head_rig import JOINTS, PARTS, Detail, HeadLevel, HeadRig
from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals
from facewright.service.formats.head import (
    HeadGroup,
    HeadMesh,
    HeadPose,
    MorphTargets,
    SparseTarget,
)
from facewright.service.formats.mesh import Mesh, MeshTexture
from facewright.service.options import Targets
from facewright.service.pipeline.hairline import Scalp
from facewright.service.pipeline.head_colors import HeadColors
from facewright.service.pipeline.meshing import FaceLevel

GROUPS = (
    ("Skin", "skin", ("skin", "mouth")),
    ("EyeballLeft", "eye", ("left_eye",)),
    ("EyeballRight", "eye", ("right_eye",)),
    ("Teeth", "teeth", ("upper_teeth", "lower_teeth")),
    ("Tongue", "tongue", ("tongue",)),
    ("Lashes", "lashes", ("lashes",)),
)
"""Meshes of a head's file: name, material, and which of the rig's parts they are."""

# A vertex that a target moves by less is left alone, mm.
_LEAST_MOVED = 0.05


@dataclass(frozen=True, eq=False)
class HeadShape:
    """A head's cage and where its coefficients come from."""

    cage: FloatArray
    """(C, 3) mm."""
    weights: Mapping[str, float]
    """Of morph targets, by their names."""
    pose: HeadPose | None


class Heads(HeadColors):
    """Makes whole heads of one face model; thread safe.

    What only depends on the rig is made when it is first needed, and kept.
    """

    def __init__(self, model: MorphableModel, rig: HeadRig) -> None:
        super().__init__(model, rig)
        self.face_levels = {
            detail: FaceLevel.of(triangles) for detail, triangles in rig.face_triangles.items()
        }
        self._lock = threading.Lock()
        self._groups: dict[Detail, tuple[HeadGroup, ...]] = {}
        self._targets: dict[tuple[Detail, Targets], MorphTargets] = {}

    def size(self, detail: Detail) -> tuple[int, int]:
        """Numbers of vertices and triangles."""
        level = self.rig.level(detail)
        return level.n_vertices, len(level.triangles)

    def mesh(
        self,
        shape: HeadShape,
        albedo: FloatArray,
        detail: Detail,
        targets: Targets,
        texture_u8: ByteArray | None = None,
        scalp: Scalp | None = None,
    ) -> HeadMesh:
        """A head with its parts.

        albedo: (V_face, 3) sRGB in [0, 1] of the face model's vertices.
        texture_u8: (N, N, 3) in the head's texture coordinates; instead of the albedo.
        scalp: what the albedo's hair is like; see `colors`.
        """
        level = self.rig.level(detail)
        vertices = level.subdivision.refine(shape.cage[None])[0]
        used = level.n_vertices
        weld = self._weld[:used]
        normals = vertex_normals(vertices[None], weld[level.triangles])[0][weld]
        texture = None
        if texture_u8 is None:
            colors = srgb_u8(self.colors(albedo, scalp)[:used])
        else:
            texture = MeshTexture(self.rig.uv[:used], texture_u8)
            colors = texture.at_vertices()
        indices, weights = self._skinning
        return HeadMesh(
            vertices=vertices,
            normals=normals,
            colors_u8=colors,
            texture=texture,
            triangles=level.triangles,
            groups=self._grouped(detail),
            joint_names=JOINTS,
            joints=self.rig.joints(shape.cage),
            joint_indices=indices[:used],
            joint_weights=weights[:used],
            targets=None if targets == "none" else self._morphs(detail, targets),
            weights=shape.weights,
            pose=shape.pose,
        )

    @cached_property
    def _weld(self) -> IntArray:
        """(V,) one vertex for all that lie at the same place, where the texture is cut."""
        _, first, inverse = np.unique(
            self.mean_points, axis=0, return_index=True, return_inverse=True
        )
        return first[inverse.ravel()].astype(np.int32)

    @cached_property
    def _skinning(self) -> tuple[ByteArray, ByteArray]:
        """Joints and weights (V, 4) of the finest level."""
        head = np.rint(255 * self.rig.head_share).astype(np.uint8)
        indices = np.zeros((len(head), 4), np.uint8)
        weights = np.zeros((len(head), 4), np.uint8)
        indices[:, 0] = np.where(head > 0, JOINTS.index("Head"), JOINTS.index("Neck"))
        weights[:, 0] = np.where(head > 0, head, 255)
        weights[:, 1] = 255 - weights[:, 0]
        for part, joint in (("left_eye", "LeftEye"), ("right_eye", "RightEye")):
            rows = self._rows(part)
            indices[rows], weights[rows] = 0, 0
            indices[rows, 0], weights[rows, 0] = JOINTS.index(joint), 255
        return indices, weights

    def _grouped(self, detail: Detail) -> tuple[HeadGroup, ...]:
        with self._lock:
            if detail not in self._groups:
                level = self.rig.level(detail)
                self._groups[detail] = tuple(
                    _group(level, name, material, parts) for name, material, parts in GROUPS
                )
            return self._groups[detail]

    def _morphs(self, detail: Detail, targets: Targets) -> MorphTargets:
        groups = self._grouped(detail)
        with self._lock:
            key = detail, targets
            if key not in self._targets:
                self._targets[key] = self._make_morphs(detail, targets, groups)
            return self._targets[key]

    def _make_morphs(
        self, detail: Detail, targets: Targets, groups: Sequence[HeadGroup]
    ) -> MorphTargets:
        fields = dict(zip(ARKIT_BLENDSHAPES, self.rig.targets, strict=True))
        if targets == "all":
            still = np.zeros_like(self.rig.targets[0])
            for name, mixture in VISEMES.items():
                parts = [np.float32(weight) * fields[unit] for unit, weight in mixture.items()]
                fields[name] = sum(parts, start=still)
        refine = self.rig.level(detail).subdivision.refine
        found: dict[str, dict[str, SparseTarget]] = {group.name: {} for group in groups}
        for name, field in fields.items():
            moved = refine(field[None])[0]
            for group in groups:
                own = moved[group.vertices]
                rows = np.flatnonzero((own**2).sum(axis=1) >= _LEAST_MOVED**2)
                # The skin has all names, the other parts those that move them.
                if len(rows) or group.name == GROUPS[0][0]:
                    target = SparseTarget(rows.astype(np.uint32), own[rows])
                    found[group.name][name] = target
        return MorphTargets(found)


def plain_mesh(head: HeadMesh) -> Mesh:
    """The head as one mesh without joints and targets, for formats that know none."""
    vertices = head.vertices
    normals = head.normals
    if head.pose is not None:
        vertices = vertices @ head.pose.rotation.T + head.pose.translation
        normals = normals @ head.pose.rotation.T
    return Mesh(
        np.ascontiguousarray(vertices, np.float32),
        head.triangles,
        np.ascontiguousarray(normals, np.float32),
        head.colors_u8 if head.texture is None else None,
        head.texture,
    )


def _group(level: HeadLevel, name: str, material: str, parts: Sequence[str]) -> HeadGroup:
    triangles = np.concatenate([level.part(part) for part in PARTS if part in parts])
    vertices, local = np.unique(triangles, return_inverse=True)
    return HeadGroup(
        name, material, vertices.astype(np.intp), local.reshape(triangles.shape).astype(np.int32)
    )
