"""Portraits of noise with consistent labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facewright.models.morphable_model import MorphableModel
from facewright.training.data.shards import IMAGE_SIZE, ShardMeta, ShardWriter
from tests.face_models import random_labels


@pytest.fixture(scope="session")
def shard_directory(tmp_path_factory: pytest.TempPathFactory, face_model: MorphableModel) -> Path:
    directory = tmp_path_factory.mktemp("shards")
    meta = ShardMeta("portraits", 0, "test", face_model.sha256)
    rng = np.random.default_rng(0)
    for index, count in enumerate((12, 18)):
        labels = random_labels(face_model, count, rng)
        with ShardWriter(directory, index, capacity=count, meta=meta) as writer:
            for k in range(count):
                image = rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
                attention = np.full(image.shape[:2], 255, np.uint8)
                writer.add(image, attention, **{name: rows[k] for name, rows in labels.items()})
    return directory
