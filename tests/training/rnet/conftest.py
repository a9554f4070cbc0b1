"""A small face model, portraits of noise with consistent labels, and a small network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from facewright.models.landmarks import LANDMARK_COUNT, MIRROR_ORDER
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import initial_coefficients
from facewright.models.subdivision import Subdivision
from facewright.training.data.shards import COEFFICIENTS, IMAGE_SIZE, ShardMeta, ShardWriter
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.run import RunPaths
from tests.face_models import face_model as make_face_model
from tests.face_models import grid_triangles, random_labels

SIDE = 15


def build_model(seed: int = 0) -> MorphableModel:
    """A bump of SIDE x SIDE vertices, symmetric with bases that span their mirror images."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(1, -1, SIDE))
    z = 60 * np.sqrt(1.6 - 0.7 * x**2 - 0.6 * y**2) + 20 * np.exp(-((x / 0.3) ** 2) - y**2 * 9)
    mean = np.stack([70 * x, 85 * y, z], -1).reshape(-1, 3)
    mean -= mean.mean(0)
    index = np.arange(SIDE**2).reshape(SIDE, SIDE)
    mirror = index[:, ::-1].reshape(-1)

    def modes(count: int, sigma: float, flip: np.ndarray) -> np.ndarray:
        half = rng.standard_normal((count // 2, len(mean), 3))
        both = np.concatenate([half + half[:, mirror] * flip, half - half[:, mirror] * flip])
        return (both * sigma / np.arange(1, count + 1)[:, None, None]).astype(np.float32)

    left = index[:, : SIDE // 2].reshape(-1)
    landmarks = np.zeros(LANDMARK_COUNT, np.int64)
    for i, partner in enumerate(MIRROR_ORDER):
        if i == partner:
            landmarks[i] = index[rng.integers(SIDE), SIDE // 2]
        elif i < partner:
            landmarks[i] = rng.choice(left)
            landmarks[partner] = mirror[landmarks[i]]
    landmarks[30] = index[SIDE // 2, SIDE // 2]
    flip = np.array([-1.0, 1, 1])
    return make_face_model(
        mean,
        grid_triangles(SIDE, SIDE),
        landmarks,
        identity=modes(80, 2.0, flip),
        expression=modes(64, 1.5, flip),
        albedo=modes(80, 0.03, np.ones(3)),
        subdivision=Subdivision.from_rows(
            sparse.eye_array(len(mean), dtype=np.float32, format="csr")
        ),
        mirror=mirror,
        uv=np.stack([x, y], -1).reshape(-1, 2) / 2 + 0.5,
    )


def write_shard(
    directory: Path, index: int, count: int, model: MorphableModel, kind: str = "portraits"
) -> None:
    """Pictures in which a few coefficients show as the brightness of stripes, plus noise."""
    rng = np.random.default_rng([7, index])
    labels = random_labels(model, count, np.random.default_rng(index))
    shown = np.concatenate([labels["identity"][:, :4], labels["rotation"] * 4], 1)
    if kind == "photos":
        labels |= {name: np.full_like(labels[name], np.nan) for name in COEFFICIENTS}
    meta = ShardMeta(kind, index, "test", model.sha256)
    attention = np.full((IMAGE_SIZE, IMAGE_SIZE), 255, np.uint8)
    attention[:, : IMAGE_SIZE // 3] = 100
    with ShardWriter(directory, index, capacity=count, meta=meta) as writer:
        for k in range(count):
            stripes = np.repeat(shown[k], IMAGE_SIZE // shown.shape[1] + 1)[:IMAGE_SIZE, None]
            picture = np.tile(128 + 40 * stripes, (1, IMAGE_SIZE))[..., None]
            picture = picture + rng.normal(0, 8, (IMAGE_SIZE, IMAGE_SIZE, 3))
            image = picture.clip(0, 255).astype(np.uint8)
            writer.add(image, attention, **{name: rows[k] for name, rows in labels.items()})


class SmallNet(nn.Module):
    """Something with the interface of R-Net that trains in milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 8, 5, 4, 2, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((7, 1)),
            nn.Flatten(),
        )
        self.fc = nn.Linear(112, 239)
        nn.init.normal_(self.fc.weight, std=1e-3)
        with torch.no_grad():
            self.fc.bias.copy_(initial_coefficients(LAYOUT_239))

    def features(self, crops_nchw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.convolutions(crops_nchw)
        return features, features


def make_small_net(experiment: Experiment) -> nn.Module:
    return SmallNet()


SMALL = {
    "images": 160,
    "stages": [
        {"size": 32, "portraits": 4, "share": 0.5},
        {"size": 64, "portraits": 2, "share": 0.5},
    ],
    "optimizer": {"name": "adamw", "rate": 3e-3, "schedule": "cosine", "warm_up": 0.02},
    "average_images": 40,
    "calibration_images": 8,
    "validation_portraits": 16,
    "validation_photos": 6,
    "portrait_augmentation": {"shift": 8, "mirror": 0.5, "gain": 0.1, "noise": 0.2},
}
MIXED = SMALL | {
    "stages": [
        {"size": 32, "portraits": 2, "photos": 2, "share": 0.5},
        {"size": 64, "portraits": 1, "photos": 1, "share": 0.5, "photo_weight": 0.5},
    ],
    "photo_loss": {"perceptual": 0.0},
    "photo_augmentation": {"shift": 8, "mirror": 0.5, "gain": 0.1},
    "render_size": 64,
}


@pytest.fixture(scope="session")
def face_model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "face_model.npz"
    build_model().save(path)
    return path


@pytest.fixture(scope="session")
def face_model(face_model_file: Path) -> MorphableModel:
    return MorphableModel.load(face_model_file)


@pytest.fixture(scope="session")
def shard_directory(tmp_path_factory: pytest.TempPathFactory, face_model: MorphableModel) -> Path:
    directory = tmp_path_factory.mktemp("shards")
    write_shard(directory, 0, 20, face_model)
    write_shard(directory, 1, 30, face_model)
    return directory


@pytest.fixture(scope="session")
def photo_directory(tmp_path_factory: pytest.TempPathFactory, face_model: MorphableModel) -> Path:
    directory = tmp_path_factory.mktemp("photos")
    write_shard(directory, 0, 24, face_model, "photos")
    return directory


@pytest.fixture
def run_paths(
    tmp_path: Path, shard_directory: Path, photo_directory: Path, face_model_file: Path
) -> RunPaths:
    return RunPaths(
        (shard_directory,),
        (photo_directory,),
        (shard_directory, photo_directory),
        tmp_path / "run",
        face_model_file,
    )


@pytest.fixture
def small_net() -> Callable[[Experiment], nn.Module]:
    return make_small_net


@pytest.fixture
def small() -> Experiment:
    return Experiment.model_validate(SMALL)


@pytest.fixture
def mixed() -> Experiment:
    return Experiment.model_validate(MIXED)
