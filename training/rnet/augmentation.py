"""How pictures are varied, and how poses follow."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facewright.models.camera import (
    CAMERA_DISTANCE,
    FOCAL_LENGTH,
    TRANSLATION_UNIT,
    rotation_matrix,
)
from facewright.training.data.crops import Images
from facewright.training.rnet.experiment import Augmentation


def shift_pose(
    rotation: npt.NDArray[Any], translation: npt.NDArray[Any], shift_px: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Pose under which the same photo would have been taken had the crop been cut elsewhere.

    Moving the picture by a few px is turning the camera a little about its own center. Unlike a
    sideways step this moves near and far points alike; what is left is 0.1 px at the rim.

    Args:
        rotation: (N, 3, 3).
        translation: (N, 3), 100 mm.
        shift_px: (N, 2) how far the content moves right and down, px of the crop.
    """
    angles = np.zeros((len(shift_px), 3))
    angles[:, 0] = -np.arctan(shift_px[:, 1] / FOCAL_LENGTH)
    angles[:, 1] = -np.arctan(shift_px[:, 0] / FOCAL_LENGTH)
    turn = rotation_matrix(angles)
    camera = np.array([0.0, 0.0, CAMERA_DISTANCE / TRANSLATION_UNIT])
    moved = np.einsum("nij,nj->ni", turn, translation - camera) + camera
    return turn @ rotation, moved


def mirror_pictures(pictures: Images, flips: npt.NDArray[np.bool_]) -> None:
    """Replace the pictures (N, S, S, ...) that `flips` (N,) names by their mirror images."""
    pictures[flips] = pictures[flips][:, :, ::-1]


def tone_tables(
    rng: np.random.Generator, count: int, settings: Augmentation
) -> tuple[Images, npt.NDArray[np.float64]]:
    """Random tone curves: tables (count, 256, 3), and the common gain (count,) within them."""
    gamma = np.exp(rng.normal(0, settings.gamma, (count, 1, 1)))
    gain = np.exp(rng.normal(0, settings.gain, count))
    tint = np.exp(rng.normal(0, settings.tint, (count, 1, 3)))
    contrast = np.exp(rng.normal(0, settings.contrast, (count, 1, 1)))
    levels = (np.arange(256) / 255.0)[None, :, None] ** gamma
    levels = ((levels - 0.5) * contrast + 0.5) * gain[:, None, None] * tint
    return (levels.clip(0, 1) * 255 + 0.5).astype(np.uint8), gain


def degrade(image: Images, rng: np.random.Generator, settings: Augmentation) -> None:
    """Lose color, resolution, certainty and parts of an image (S, S, 3), in place."""
    size = len(image)
    if rng.random() < settings.gray:
        image[:] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    if rng.random() < settings.coarse:
        small = max(8, round(size * rng.uniform(settings.coarsest, 0.9)))
        coarse = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        cv2.resize(coarse, (size, size), dst=image, interpolation=cv2.INTER_LINEAR)
    if rng.random() < settings.noise:
        noise = rng.standard_normal(image.shape, np.float32)
        noise *= rng.uniform(1, settings.noise_sigma)
        np.clip(noise + image, 0, 255, out=noise)
        image[:] = noise
    if rng.random() < settings.cutout:
        height, width = (size * rng.uniform(0.08, settings.cutout_side, 2)).astype(int)
        y, x = rng.integers(size - height), rng.integers(size - width)
        image[y : y + height, x : x + width] = rng.integers(0, 256, 3)
