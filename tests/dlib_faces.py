"""Faces as dlib's chips have them, for tests of alignment."""

from __future__ import annotations

import numpy as np

from facewright.models import chips_torch


def similarity(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ transform[:, :2].T + transform[:, 2]


def dlib_face(size: float = 1.0) -> np.ndarray:
    """(68, 2): landmarks that lie on dlib's reference where it has one."""
    points = np.full((68, 2), np.nan)
    points[list(chips_torch.DLIB_LANDMARKS)] = chips_torch.DLIB_REFERENCE
    # The lower lip, which dlib leaves out, and the jaw and brows matter to nobody here.
    return np.nan_to_num(points, nan=0.5) * size
