"""The rendered portrait of the benchmark."""

from __future__ import annotations

from typing import Any

import numpy as np

from facewright.service.bench.portrait import render_portrait


def test_the_portrait_shows_the_face_before_a_backdrop(assets: Any) -> None:
    picture = render_portrait(assets.model)
    assert picture.shape == (800, 640, 3)
    assert picture.dtype == np.uint8
    middle = picture[380:420, 300:340].reshape(-1, 3).astype(int)
    assert (middle[:, 0] > middle[:, 2]).all()  # skin is redder than blue
    border = picture[:, 0].astype(int)
    assert (border[:, 2] > border[:, 0]).all()  # the backdrop is not
    assert np.array_equal(picture[0], np.broadcast_to(picture[0, 0], picture[0].shape))


def test_a_seed_is_a_person(assets: Any) -> None:
    assert np.array_equal(render_portrait(assets.model, 3), render_portrait(assets.model, 3))
    assert not np.array_equal(render_portrait(assets.model, 3), render_portrait(assets.model, 4))
