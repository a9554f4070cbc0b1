from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.resampling import area_weights


@given(st.integers(1, 60), st.integers(0, 60))
def test_area_weights_shrink_as_opencv_does(target: int, more: int) -> None:
    source = target + more
    image = np.random.default_rng(source).random((source, source), np.float32)
    weights = area_weights(source, target)
    expected = cv2.resize(image, (target, target), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(
        weights @ image @ weights.T, expected.reshape(target, target), atol=2e-6
    )
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("target", [0, -1, 11])
def test_area_weights_refuse_to_enlarge(target: int) -> None:
    with pytest.raises(ValueError, match="cannot shrink"):
        area_weights(10, target)
