"""Pose and the fixed perspective camera (NumPy; `camera_torch` is its twin).

The paper's pose is a rotation and a translation before a perspective camera of empirically
chosen focal length (section 3).  Model points v in mm are posed as p = R v + 100 t, and seen
by a camera at (0, 0, 1000) that looks along -z:

    depth d = 1000 - p_z,   u = 112 + 1015 p_x / d,   v = 112 - 1015 p_y / d

with (u, v) in pixels of the 224-pixel crop.  Image coordinates are continuous: pixel (row i,
column j) covers [j, j+1) x [i, i+1), so 112 is the exact center of the crop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CROP_SIZE = 224
"""Side of the face crop in pixels."""
FOCAL_LENGTH = 1015.0
"""In pixels of the crop."""
CAMERA_DISTANCE = 1000.0
"""From the model's origin to the camera, mm."""
TRANSLATION_UNIT = 100.0
"""Length of one unit of the translation coefficients, mm."""


def rotation_matrix(angles: NDArray[Any]) -> NDArray[Any]:
    """Rotation matrices R = Rz(roll) Ry(yaw) Rx(pitch), acting on column vectors.

    angles: (N, 3) pitch, yaw, roll in radians.  Returns (N, 3, 3) of the same dtype.
    """
    cx, cy, cz = np.cos(angles).T
    sx, sy, sz = np.sin(angles).T
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def angles_from_matrix(rotation: NDArray[Any]) -> NDArray[Any]:
    """Angles whose `rotation_matrix` is `rotation`; yaw lies in [-pi/2, pi/2].

    rotation: (N, 3, 3) proper rotations.  Returns (N, 3) pitch, yaw, roll in radians.
    At yaw = +-pi/2 pitch and roll are not unique; the pair returned is one of those that
    give back the matrix.
    """
    pitch = np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    yaw = np.arctan2(-rotation[:, 2, 0], np.hypot(rotation[:, 2, 1], rotation[:, 2, 2]))
    # With the pitch undone the middle column is (-sin roll, cos roll, 0) whatever the yaw, so
    # roll always completes the pitch that was chosen, also where that one is ill-conditioned.
    cos, sin = np.cos(pitch)[:, None], np.sin(pitch)[:, None]
    middle = cos * rotation[:, :2, 1] - sin * rotation[:, :2, 2]
    roll = np.arctan2(-middle[:, 0], middle[:, 1])
    return np.stack([pitch, yaw, roll], axis=-1)


def pose_points(
    points: NDArray[Any], angles: NDArray[Any], translation: NDArray[Any]
) -> NDArray[Any]:
    """Move model points to camera-aligned space: p = R v + 100 t.

    points: (N, V, 3) mm.  angles: (N, 3) radians.  translation: (N, 3) in 100 mm.
    Returns (N, V, 3) mm.
    """
    posed = points @ rotation_matrix(angles).swapaxes(-1, -2)
    posed += (TRANSLATION_UNIT * translation)[:, None, :]
    return posed


def depth(posed: NDArray[Any]) -> NDArray[Any]:
    """Distance of posed points (N, V, 3) along the viewing direction: (N, V) mm.

    Positive before the camera.
    """
    return CAMERA_DISTANCE - posed[..., 2]


def project(posed: NDArray[Any]) -> NDArray[Any]:
    """Project posed points (N, V, 3) mm to the crop: (N, V, 2) pixels, y down.

    Defined for points before the camera, i.e. of positive `depth`.
    """
    scale = FOCAL_LENGTH / depth(posed)
    pixels = np.empty((*posed.shape[:-1], 2), posed.dtype)
    pixels[..., 0] = CROP_SIZE / 2 + scale * posed[..., 0]
    pixels[..., 1] = CROP_SIZE / 2 - scale * posed[..., 1]
    return pixels


def photo_camera(
    crop_transform: NDArray[Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The camera of the photo that a crop was cut from: the crop's, turned about its axis.

    crop_transform: (2, 3) similarity, photo px to crop px, that does not mirror.  Returns the
    intrinsics K (3, 3) float64, without skew, and the rotation Q (3, 3) float64 about the line
    of sight that turns the crop back into the photo, such that photo_px ~ K (x, -y, depth) for
    a point p = Q (R v + 100 t).  Depths are the crop's: Q leaves the camera where it is.
    Raises ValueError when the transform cannot be inverted.
    """
    transform = np.asarray(crop_transform, np.float64)
    linear = transform[:, :2]
    if not np.all(np.isfinite(transform)) or np.linalg.det(linear) == 0.0:
        raise ValueError("the crop transform cannot be inverted")
    zoom = np.sqrt(abs(np.linalg.det(linear)))
    center = np.linalg.solve(linear, CROP_SIZE / 2 - transform[:, 2])
    intrinsics = np.diag([FOCAL_LENGTH / zoom, FOCAL_LENGTH / zoom, 1.0])
    intrinsics[:2, 2] = center
    turn = np.eye(3)
    # From y down to y up, the inverse turns the other way: its transpose, twice over.
    turn[:2, :2] = linear / zoom
    return intrinsics, turn
