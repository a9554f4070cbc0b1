"""From stored pictures to the network's crops: another place, things in front, another camera."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CROP_SIZE
from facewright.models.landmarks import MIRROR_ORDER
from facewright.models.segmentation import CLASSES, SEGMENTATION_SIDE
from facewright.training.data.shards import IMAGE_SIZE
from facewright.training.segmentation.occluders import Picture, draw_occluders

_DRAWN_SIDE = 2 * SEGMENTATION_SIDE
"""Pictures are drawn on at twice the network's size."""
_OCCLUDED = 0.6
"""Share of pictures with something drawn over them."""
# A number whose quarters are whole, so that shares of four pixels are exact.
_WHOLE = 200
_ONE_HOT = np.zeros((256, len(CLASSES)), np.uint8)
_ONE_HOT[range(len(CLASSES)), range(len(CLASSES))] = _WHOLE

Rng = np.random.Generator


def place(
    rng: Rng | None,
    image: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    marks: NDArray[np.float32],
) -> Picture:
    """The middle of a stored picture at 256 px, with `rng` turned, scaled, shifted, mirrored."""
    zoom, turn, shift, mirrored = 1.0, 0.0, np.zeros(2), False
    if rng is not None:
        zoom = float(np.exp(rng.normal(0, 0.08)))
        turn = float(rng.normal(0, 4 if rng.random() < 0.8 else 15))
        shift = rng.normal(0, 0.02 * _DRAWN_SIDE, 2)
        mirrored = bool(rng.random() < 0.5)
    scale = zoom * _DRAWN_SIDE / CROP_SIZE
    move: NDArray[Any] = cv2.getRotationMatrix2D((IMAGE_SIZE / 2, IMAGE_SIZE / 2), turn, scale)
    move[:, 2] += _DRAWN_SIDE / 2 - IMAGE_SIZE / 2 + shift
    if mirrored:
        move = np.array([[-1.0, 0, _DRAWN_SIDE], [0, 1, 0]]) @ np.vstack([move, [0, 0, 1]])
        marks = marks[MIRROR_ORDER]
    placed = (marks @ move[:, :2].T + move[:, 2]).astype(np.float32)
    # OpenCV counts from pixel centers.
    move[:, 2] += move[:, :2] @ [0.5, 0.5] - 0.5
    side = (_DRAWN_SIDE, _DRAWN_SIDE)
    return Picture(
        cv2.warpAffine(image, move, side, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8),
        cv2.warpAffine(
            classes, move, side, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        ).astype(np.uint8),
        placed,
    )


def augmented(
    rng: Rng,
    image: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    marks: NDArray[np.float32],
    another: Callable[[], Picture],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A crop to train on, (128, 128, 3) uint8, and the classes' shares (4, 128, 128).

    The shares of a pixel whose class is not known sum to less than 1.
    """
    picture = place(rng, image, classes, marks)
    if rng.random() < _OCCLUDED:
        draw_occluders(rng, picture, another)
    crop, shares = shrunk(picture)
    return photographed(rng, crop), shares


def shrunk(picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A picture at the network's size, and the shares of its classes in the pixels."""
    half = SEGMENTATION_SIDE
    crop = cv2.resize(picture.image, (half, half), interpolation=cv2.INTER_AREA)
    one_hot = _ONE_HOT[picture.classes]
    shares = cv2.resize(one_hot, (half, half), interpolation=cv2.INTER_AREA)
    planes = np.stack(cv2.split(shares)).astype(np.float32) / np.float32(_WHOLE)
    return crop.astype(np.uint8), planes


def photographed(rng: Rng, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop (S, S, 3) as another camera, light and file would give it."""
    side = len(crop)
    x = crop.astype(np.float32) / np.float32(255)
    gamma = np.exp(rng.normal(0, 0.3))
    gains = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.07, 3))
    x = x ** np.float32(gamma) * gains.astype(np.float32)
    x = (x - 0.5) * np.float32(np.exp(rng.normal(0, 0.2))) + np.float32(0.5 + rng.normal(0, 0.07))
    gray = x.mean(axis=2, keepdims=True)
    saturation = 0.0 if rng.random() < 0.1 else np.exp(rng.normal(0, 0.3))
    x = gray + np.float32(saturation) * (x - gray)
    if rng.random() < 0.35:
        low = int(side * rng.uniform(0.3, 0.9))
        small = cv2.resize(x, (low, low), interpolation=cv2.INTER_AREA)
        x = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.3, 1.3)))
    elif rng.random() < 0.4:
        soft = cv2.GaussianBlur(x, (0, 0), 1.0)
        x = x + np.float32(rng.uniform(0.2, 1.5)) * (x - soft)
    if rng.random() < 0.6:
        x = x + rng.standard_normal(x.shape, np.float32) * np.float32(rng.gamma(1.2, 0.015))
    out = (np.clip(x, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))]
        encoded = cv2.imencode(".jpg", out, quality)[1]
        out = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return out
