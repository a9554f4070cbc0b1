"""A small face model with color on it, faces made of it, and a small recognizer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from facewright.models.landmarks import LANDMARK_COUNT
from facewright.models.morphable_model import MorphableModel
from facewright.models.subdivision import Subdivision
from tests.face_models import face_model as make_face_model
from tests.face_models import grid_triangles

SIDE = 25


def smooth_modes(rng: np.random.Generator, count: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(count, V, 3) waves over the face, of amplitude 1 falling off slowly."""
    waves, phases = rng.normal(0, 2.5, (count, 3, 2)), rng.uniform(0, 6.3, (count, 3))
    at = np.stack([x, y], -1).reshape(-1, 2)
    modes = np.sin(np.einsum("kcd,vd->kvc", waves, at) + phases[:, None])
    return modes / np.arange(1, count + 1)[:, None, None] ** 0.3


@pytest.fixture(scope="session")
def face_model() -> MorphableModel:
    rng = np.random.default_rng(5)
    x, y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(1, -1, SIDE))
    z = 60 * np.sqrt(1.6 - 0.7 * x**2 - 0.6 * y**2) + 20 * np.exp(-((x / 0.3) ** 2) - y**2 * 9)
    mean = np.stack([70 * x, 85 * y, z], -1).reshape(-1, 3)
    mean -= mean.mean(0)
    index = np.arange(SIDE**2).reshape(SIDE, SIDE)
    patches = 0.5 + 0.15 * np.sin(5 * x + 3 * np.cos(4 * y))[..., None] * [1, 0.7, 0.5]
    return make_face_model(
        mean,
        grid_triangles(SIDE, SIDE),
        identity=1.2 * smooth_modes(rng, 80, x, y),
        expression=0.8 * smooth_modes(rng, 64, x, y),
        albedo=0.02 * smooth_modes(rng, 80, x, y),
        landmarks=rng.choice(SIDE**2, LANDMARK_COUNT, replace=False),
        subdivision=Subdivision.from_rows(
            sparse.eye_array(SIDE**2, dtype=np.float32, format="csr")
        ),
        mean_albedo=patches.reshape(-1, 3),
        skin_region=(np.abs(x) + np.abs(y) < 1).reshape(-1),
        mirror=index[:, ::-1].reshape(-1),
        uv=np.stack([x, y], -1).reshape(-1, 2) / 2 + 0.5,
    )


@pytest.fixture(scope="session")
def unskinned_model(face_model: MorphableModel) -> MorphableModel:
    return dataclasses.replace(face_model, skin_region=np.zeros(SIDE**2, np.bool_))


class SmallRecognizer(nn.Module):
    """A random convolutional network with the interface of a recognizer, and records of calls."""

    dimension = 16

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2), nn.Tanh(), nn.Conv2d(8, 16, 5, 2), nn.Tanh(), nn.Flatten(),
            nn.Linear(16 * 5 * 5, 16),
        )  # fmt: skip
        generator = torch.Generator().manual_seed(3)
        for parameter in self.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter.data = torch.randn(parameter.shape, generator=generator) / fan_in**0.5
        self.requires_grad_(False)
        self.calls: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        assert landmarks.isfinite().all()
        self.calls.append((images.detach(), landmarks))
        small = interpolate(images, size=(32, 32), mode="area")
        return normalize(self.network(4 * (small - 0.5)), dim=1)


@pytest.fixture
def recognizer() -> SmallRecognizer:
    return SmallRecognizer()
