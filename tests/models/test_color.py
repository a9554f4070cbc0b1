from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewright.models.color import linear_from_srgb, srgb_from_linear


@given(st.floats(0, 1))
def test_decoding_undoes_encoding(value: float):
    x = np.float32([value])
    assert linear_from_srgb(srgb_from_linear(x))[0] == pytest.approx(value, abs=1e-5)


def test_values_of_the_standard():
    # IEC 61966-2-1: code 188 of 255 is half the light, the toe ends at 0.04045.
    assert srgb_from_linear(np.float32([0.5]))[0] * 255 == pytest.approx(187.5, abs=0.2)
    assert linear_from_srgb(np.float32([0.04045]))[0] == pytest.approx(0.0031308, abs=1e-6)
