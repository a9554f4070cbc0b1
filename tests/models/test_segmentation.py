from __future__ import annotations

import numpy as np
import pytest

from facewright.models.alignment import CROP_SCALE
from facewright.models.segmentation import (
    CLASSES,
    HAIR,
    SEGMENTATION_SIDE,
    SKIN,
    Segmentation,
    segmentation_transform,
)


def quarters() -> np.ndarray:
    """Skin above and hair below."""
    shares = np.zeros((len(CLASSES), SEGMENTATION_SIDE, SEGMENTATION_SIDE), np.float32)
    shares[SKIN, :64], shares[HAIR, 64:] = 1, 1
    return shares


def test_a_face_of_any_size_and_angle_fills_the_input_the_same() -> None:
    template = np.random.default_rng(0).normal(0, 40, (68, 3))
    for scale, angle in ((0.5, 0.0), (4.0, 0.6)):
        c, s = np.cos(angle), np.sin(angle)
        points = scale * (template[:, :2] * [1, -1]) @ np.array([[c, s], [-s, c]]) + [300, 200]
        transform = segmentation_transform(points, template)
        seen = points @ transform[:, :2].T + transform[:, 2]
        per_mm = CROP_SCALE * SEGMENTATION_SIDE / 224
        expected = SEGMENTATION_SIDE / 2 + per_mm * template[:, :2] * [1, -1]
        assert seen == pytest.approx(expected, abs=0.01)


def test_points_that_are_no_face_raise() -> None:
    with pytest.raises(ValueError, match="line"):
        segmentation_transform(np.ones((68, 2)), np.random.default_rng(0).normal(size=(68, 3)))


def test_classes_are_looked_up_in_the_photo() -> None:
    segmentation = Segmentation(quarters(), np.array([[0.5, 0, 10], [0, 0.5, 20]]))
    points = np.array([[50, 80], [50, 120], [50, 1000], [-30, 80]])
    assert segmentation.at(SKIN, points) == pytest.approx([1, 0, 0, 1])
    assert segmentation.at(SKIN, points, beyond=0.5) == pytest.approx([1, 0, 0.5, 0.5])
    moved = segmentation.moved(np.array([20, 40]))
    assert moved.at(HAIR, points - [20, 40])[:2] == pytest.approx([0, 1])
