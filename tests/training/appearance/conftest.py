from __future__ import annotations

import numpy as np
import pytest

from facewright.training.appearance.skin import SkinSampler
from facewright.training.appearance.surface import Surface


@pytest.fixture(scope="session")
def surface(toy_head) -> Surface:
    data = toy_head.data
    return Surface(
        data.mean_shape, data.triangles, data.masks, np.asarray(data.parts), data.landmark_mean
    )


@pytest.fixture(scope="session")
def sampler(surface: Surface) -> SkinSampler:
    return SkinSampler(surface)
