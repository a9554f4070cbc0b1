from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

from facewright.training.face_model.heads import HeadModel


def test_a_head_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        field.name: rng.normal(size=(2, 3)).astype(np.float32)
        for field in fields(HeadModel)
        if field.name != "masks"
    }
    head = HeadModel(masks={"lips": np.ones(2, np.float32), "ears": np.zeros(2)}, **arrays)
    head.save(tmp_path / "head.npz")
    again = HeadModel.load(tmp_path / "head.npz")
    assert set(again.masks) == {"lips", "ears"}
    np.testing.assert_array_equal(again.masks["lips"], head.masks["lips"])
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(again, name), array)
