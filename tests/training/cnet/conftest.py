"""Sets of pictures of a few people, an R-Net that knows nothing, and a small experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facewright.models.checkpoints_torch import CheckpointInfo, save_checkpoint
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import RNet
from facewright.training.cnet.run import CNetPaths
from facewright.training.data.shards import COEFFICIENTS, IMAGE_SIZE, ShardMeta, ShardWriter
from tests.face_models import random_labels

PEOPLE, PHOTOS_OF_EACH = 8, 3
STEPS = {
    "steps": 4,
    "photos_per_set": 3,
    "degraded_copies": 1,
    "held_out": 0.25,
    "measure_sets": 2,
    "render_size": 32,
    "recognizer": None,
    "optimizer": {"name": "adam", "rate": 1e-3},
}
SHAPE = STEPS | {"portrait_sets": 4, "shape": {"normal": 1, "sigma": 1, "likelihood": 0.1}}
WEAK = STEPS | {
    "photo_sets": 2,
    "weak": 1.0,
    "hybrid": {"perceptual": 0.0, "coefficients": 0.0, "albedo_flattening": 0.0},
}


def write_people(directory: Path, model: MorphableModel, kind: str) -> None:
    """Pictures of blocks of color with labels that fit each other, three of every person."""
    rng = np.random.default_rng(3)
    count = PEOPLE * PHOTOS_OF_EACH
    person = np.repeat(np.arange(PEOPLE), PHOTOS_OF_EACH)
    labels = random_labels(model, count, rng, person, hidden=0.0)
    if kind == "photos":
        labels |= {name: np.full_like(labels[name], np.nan) for name in COEFFICIENTS}
    meta = ShardMeta(kind, 0, "test", model.sha256)
    attention = np.full((IMAGE_SIZE, IMAGE_SIZE), 255, np.uint8)
    with ShardWriter(directory, 0, capacity=count, meta=meta) as writer:
        for k in range(count):
            image = np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((30, 30, 1)))
            writer.add(
                image.astype(np.uint8), attention, **{name: v[k] for name, v in labels.items()}
            )


@pytest.fixture(scope="session")
def portraits(tmp_path_factory: pytest.TempPathFactory, face_model: MorphableModel) -> Path:
    directory = tmp_path_factory.mktemp("portraits")
    write_people(directory, face_model, "portraits")
    return directory


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory, face_model: MorphableModel) -> Path:
    directory = tmp_path_factory.mktemp("photographs")
    write_people(directory, face_model, "photos")
    return directory


@pytest.fixture(scope="session")
def rnet() -> RNet:
    """Random weights; identities scatter by about a standard deviation."""
    torch.manual_seed(0)
    net = RNet(input_size=32)
    torch.nn.init.normal_(net.fc.weight[net.layout.identity], std=0.03)
    return net.eval()


@pytest.fixture(scope="session")
def rnet_file(
    tmp_path_factory: pytest.TempPathFactory, rnet: RNet, face_model: MorphableModel
) -> Path:
    path = tmp_path_factory.mktemp("rnet") / "rnet.pt"
    info = CheckpointInfo("239", "paper", face_model.sha256, 7, 70, {"seed": 1}, 32)
    save_checkpoint(path, rnet, None, info)
    return path


@pytest.fixture
def paths(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    rnet_file: Path,
    portraits: Path,
    photographs: Path,
    toy_head,
) -> CNetPaths:
    features = tmp_path_factory.getbasetemp() / "features"
    return CNetPaths(
        rnet_file, (portraits,), (photographs,), tmp_path / "run", toy_head.model_path, features
    )
