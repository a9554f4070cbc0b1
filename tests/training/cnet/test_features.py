from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from facewright.training.cnet.features import Features
from facewright.training.data.degradation import degrade_badly
from facewright.training.data.kept_rows import BATCH, META
from facewright.training.data.shards import ShardSet
from facewright.training.experiment_files import ExperimentError


def make(directory, rnet, shards, **changes):
    settings = {"copies": 1, "seed": 5, "of": "rnet", "limit_gb": 1.0} | changes
    return Features(directory, rnet, shards, **settings)


def test_rows_are_what_rnet_makes_of_the_copies(tmp_path, rnet, portraits):
    shards = ShardSet(portraits)
    features = make(tmp_path, rnet, shards, copies=2)
    rows, copies = np.array([[0, 3], [3, 7]]), np.array([[0, 0], [2, 1]])
    stage1, pooled, coefficients = features.take(rows, copies)
    assert stage1.shape == (4, 256, 4, 4)
    assert stage1.dtype == torch.float32
    assert coefficients.shape == (2, 2, 239)
    for k, (row, copy) in enumerate(zip(rows.ravel(), copies.ravel(), strict=True)):
        crop = shards.images([row])[0, 8:-8, 8:-8]
        if copy:
            crop = degrade_badly(crop, np.random.default_rng([5, row, copy]))
        # OpenCV's resampling by area is what R-Net was trained with.
        small = cv2.resize(crop, (32, 32), interpolation=cv2.INTER_AREA)
        picture = torch.from_numpy(small[None]).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            fb1, fg = rnet.features(picture)
            expected = rnet.fc(fg)[0]
        torch.testing.assert_close(stage1[k], fb1[0], rtol=1e-2, atol=5e-3)
        torch.testing.assert_close(pooled[k], fg[0], rtol=1e-2, atol=5e-3)
        torch.testing.assert_close(coefficients.view(4, -1)[k], expected, rtol=1e-2, atol=2e-2)
    clean = features.take(rows, 0 * copies)[2]
    torch.testing.assert_close(features.take_coefficients(rows), clean)


def test_an_interrupted_computation_goes_on_and_others_are_thrown_away(
    tmp_path, rnet, portraits, monkeypatch
):
    shards = ShardSet(portraits)
    monkeypatch.setattr("facewright.training.data.kept_rows.ROWS_BETWEEN_SAVES", BATCH)
    seen = []

    def track(starts, stop_after=None):
        for start in starts:
            if stop_after is not None and start >= stop_after:
                raise KeyboardInterrupt
            seen.append(start)
            yield start

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, rnet, shards, track=lambda starts: track(starts, 2 * BATCH))
    make(tmp_path, rnet, shards, track=track)
    assert seen == [0, BATCH, 2 * BATCH]
    seen.clear()
    again = make(tmp_path, rnet, shards, track=track)
    assert seen == []
    make(tmp_path, rnet, shards, of="another", track=track)
    assert seen == [0, BATCH, 2 * BATCH]
    assert (tmp_path / META).exists()
    assert again.copies == 1


def test_the_limit_is_kept(tmp_path, rnet, portraits):
    with pytest.raises(ExperimentError, match="feature_gb: 1e-05"):
        make(tmp_path, rnet, ShardSet(portraits), limit_gb=1e-5)
    assert not list(tmp_path.iterdir())
