"""The whole head that file writers take: parts, joints and morph targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import ByteArray, FloatArray, IndexArray, IntArray
from facewright.service.formats.mesh import MeshTexture


class HeadGroup(NamedTuple):
    """What becomes one mesh of a file."""

    name: str
    material: str
    """One of "skin", "eye", "teeth", "tongue" and "lashes"."""
    vertices: IndexArray
    """(n,) the head's vertices that it uses."""
    triangles: IntArray
    """(T, 3) indices into `vertices`."""


class SparseTarget(NamedTuple):
    """A morph target of one group; empty where it moves nothing."""

    indices: NDArray[np.uint32]
    """(k,) ascending indices into the group's vertices."""
    offsets: FloatArray
    """(k, 3) mm."""


@dataclass(frozen=True, eq=False)
class MorphTargets:
    """Morph targets of a head's groups: for each group the names that move it, in order."""

    groups: Mapping[str, Mapping[str, SparseTarget]]


class HeadPose(NamedTuple):
    """p = R v + t of a model point v."""

    rotation: FloatArray
    """(3, 3)."""
    translation: FloatArray
    """(3,) mm."""


@dataclass(frozen=True, eq=False)
class HeadMesh:
    """A head: +x to the subject's left, +y up, +z out of the face.

    Raises ValueError for numbers that are not finite.
    """

    vertices: FloatArray
    """(V, 3) mm."""
    normals: FloatArray
    """(V, 3) unit vectors."""
    colors_u8: ByteArray
    """(V, 3) display-referred sRGB: the albedo, or the texture at the vertices."""
    texture: MeshTexture | None
    triangles: IntArray
    """(T, 3) of all groups, counter-clockwise seen from outside."""
    groups: tuple[HeadGroup, ...]
    joint_names: tuple[str, ...]
    """The first is the root, the second its child, and the others that one's children."""
    joints: FloatArray
    """(J, 3) mm."""
    joint_indices: ByteArray
    """(V, 4); 0 where the weight is."""
    joint_weights: ByteArray
    """(V, 4), 255 together."""
    targets: MorphTargets | None
    weights: Mapping[str, float]
    """Of the targets by their names; 0 where there is none."""
    pose: HeadPose | None
    """Where the head is; None for the model's own frame."""

    def __post_init__(self) -> None:
        for name in ("vertices", "normals", "joints"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} must be finite")
