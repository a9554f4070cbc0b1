from __future__ import annotations

import json

import numpy as np
import pytest

from facewright.models.assets import SEGMENTATION, WEIGHTS, asset_path, sha256
from facewright.models.segmentation import CLASSES
from facewright.service.errors import ModelError
from facewright.service.networks.segmentation import Segmenter


def test_crops_get_probabilities_whatever_their_company() -> None:
    segmenter = Segmenter(asset_path(SEGMENTATION))
    segmenter.warm_up()
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 255, (128, 128, 3)).astype(np.uint8) for _ in range(3)]
    together = segmenter.segment(crops)
    assert [shares.shape for shares in together] == [(len(CLASSES), 128, 128)] * 3
    for crop, shares in zip(crops, together, strict=True):
        assert shares.sum(axis=0) == pytest.approx(1, abs=1e-5)
        assert segmenter.segment([crop])[0] == pytest.approx(shares, abs=1e-4)


def test_another_network_is_refused() -> None:
    with pytest.raises(ModelError, match="no segmentation network"):
        Segmenter(asset_path(WEIGHTS))


def test_the_record_describes_the_shipped_file() -> None:
    network = asset_path(SEGMENTATION)
    record = json.loads(network.with_suffix(".json").read_text())
    assert record["sha256"] == sha256(network)
    assert record["size_bytes"] == network.stat().st_size < 1_000_000
    assert record["classes"] == list(CLASSES)
    assert record["sha256"] in network.with_suffix(".md").read_text()
