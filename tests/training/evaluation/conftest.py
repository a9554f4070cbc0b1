"""The toy face model, and portraits of noise with consistent labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facewright.models.camera import pose_points, project
from facewright.models.morphable_model import MorphableModel
from facewright.training.data.shards import IMAGE_SIZE, ShardMeta, ShardWriter


@pytest.fixture(scope="session")
def face_model_file(toy_head) -> Path:
    return toy_head.model_path


@pytest.fixture(scope="session")
def face_model(toy_head) -> MorphableModel:
    return toy_head.model


@pytest.fixture(scope="session")
def shard_directory(tmp_path_factory: pytest.TempPathFactory, face_model: MorphableModel) -> Path:
    directory = tmp_path_factory.mktemp("shards")
    meta = ShardMeta("portraits", 0, "test", face_model.sha256)
    rng = np.random.default_rng(0)
    for index, count in enumerate((12, 18)):
        labels = {
            "identity": rng.normal(size=(count, 80)),
            "expression": rng.normal(size=(count, 64)),
            "albedo": rng.normal(size=(count, 80)),
            "light": rng.normal(size=(count, 9)) * 0.2 + np.eye(9)[0],
            "rotation": rng.normal(size=(count, 3)) * 0.2,
            "translation": rng.normal(size=(count, 3)) * [0.05, 0.05, 0.3],
        }
        shape = face_model.shape(labels["identity"], labels["expression"])[:, face_model.landmarks]
        posed = pose_points(shape.astype(np.float64), labels["rotation"], labels["translation"])
        labels["landmarks"] = project(posed)
        labels["landmark_visible"] = rng.random((count, 68)) > 0.2
        labels["person"] = np.arange(count)
        with ShardWriter(directory, index, capacity=count, meta=meta) as writer:
            for k in range(count):
                image = rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
                attention = np.full(image.shape[:2], 255, np.uint8)
                writer.add(image, attention, **{name: rows[k] for name, rows in labels.items()})
    return directory
