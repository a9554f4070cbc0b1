"""Meshes before the camera."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from facewright.models.camera_torch import pose_points


def bumpy_face(rows: int = 13) -> tuple[Tensor, Tensor]:
    """A curved sheet of the size of a face, with a ridge that can hide what is behind it."""
    x, y = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(1, -1, rows))
    z = 70 * np.sqrt(2.2 - x**2 - y**2) + 45 * np.exp(-((x / 0.25) ** 2) - (y / 0.5) ** 2) - 80
    z += np.random.default_rng(0).normal(0, 2, z.shape)
    index = np.arange(rows**2).reshape(rows, rows)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
    vertices = np.stack([75 * x, 85 * y, z], -1).reshape(-1, 3)
    return torch.from_numpy(vertices), torch.from_numpy(triangles)


@pytest.fixture(scope="session")
def vertices() -> Tensor:
    """(V, 3) float64 mm."""
    return bumpy_face()[0]


@pytest.fixture(scope="session")
def triangles() -> Tensor:
    """(T, 3) int64."""
    return bumpy_face()[1]


@pytest.fixture(scope="session")
def posed(vertices: Tensor) -> Tensor:
    """(3, V, 3): ahead, to a side with the ridge hiding a cheek, and rolled and near."""
    angles = torch.tensor([[0.05, 0.1, 0.0], [0.1, 0.8, 0.1], [-0.3, -0.4, 0.6]])
    shifts = torch.tensor([[0.0, 0.0, 0.0], [0.1, -0.2, -1.0], [-0.1, 0.1, 2.0]])
    return pose_points(vertices.expand(3, -1, -1), angles.double(), shifts.double())
