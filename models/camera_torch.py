"""Torch twin of `camera`: same names, shapes and units, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from facewright.models.camera import CAMERA_DISTANCE, CROP_SIZE, FOCAL_LENGTH, TRANSLATION_UNIT

__all__ = [
    "CAMERA_DISTANCE",
    "CROP_SIZE",
    "FOCAL_LENGTH",
    "TRANSLATION_UNIT",
    "angles_from_matrix",
    "depth",
    "pose_points",
    "project",
    "rotation_matrix",
]


def rotation_matrix(angles: Tensor) -> Tensor:
    """Rotation matrices (N, 3, 3) of (N, 3) pitch, yaw, roll in radians: Rz Ry Rx."""
    cx, cy, cz = angles.cos().unbind(-1)
    sx, sy, sz = angles.sin().unbind(-1)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def angles_from_matrix(rotation: Tensor) -> Tensor:
    """Angles (N, 3) whose `rotation_matrix` is `rotation` (N, 3, 3).

    Gradients are not defined at yaw = +-pi/2, where pitch and roll are not unique.
    """
    pitch = torch.atan2(rotation[:, 2, 1], rotation[:, 2, 2])
    yaw = torch.atan2(-rotation[:, 2, 0], torch.hypot(rotation[:, 2, 1], rotation[:, 2, 2]))
    cos, sin = pitch.cos()[:, None], pitch.sin()[:, None]
    middle = cos * rotation[:, :2, 1] - sin * rotation[:, :2, 2]
    roll = torch.atan2(-middle[:, 0], middle[:, 1])
    return torch.stack([pitch, yaw, roll], dim=-1)


def pose_points(points: Tensor, angles: Tensor, translation: Tensor) -> Tensor:
    """Posed points (N, V, 3) mm: p = R v + 100 t, for (N, V, 3) mm, (N, 3) and (N, 3)."""
    posed = points @ rotation_matrix(angles).transpose(-1, -2)
    return posed + TRANSLATION_UNIT * translation[:, None, :]


def depth(posed: Tensor) -> Tensor:
    """Distance (N, V) mm of posed points (N, V, 3) along the viewing direction."""
    return CAMERA_DISTANCE - posed[..., 2]


def project(posed: Tensor) -> Tensor:
    """Crop pixels (N, V, 2), y down, of posed points (N, V, 3) mm before the camera."""
    scale = FOCAL_LENGTH / depth(posed)
    center = CROP_SIZE / 2
    return torch.stack([center + scale * posed[..., 0], center - scale * posed[..., 1]], dim=-1)
