from __future__ import annotations

import numpy as np
import pytest

from facewright.training.face_model.cage import MM_PER_UNIT
from facewright.training.face_model.warps import WARPS, Warp


def test_a_warp_moves_its_centers_by_its_displacement() -> None:
    warp = Warp((20.0, -10.0, 5.0), (8.0, 8.0, 8.0), (3.0, 1.0, -2.0))
    origin = np.array([1.0, 700.0, 120.0])
    places = np.array([[20.0, -10, 5], [-20, -10, 5], [20, -10, 5 + 8], [20, 200, 5]])
    field = warp.field((places + origin) / MM_PER_UNIT, origin * [1, 1, 1]) * MM_PER_UNIT
    np.testing.assert_allclose(field[0], [3, 1, -2], atol=1e-4)
    np.testing.assert_allclose(field[1], [-3, 1, -2], atol=1e-4)
    np.testing.assert_allclose(field[2], np.exp(-0.5) * np.array([3, 1, -2]), atol=1e-4)
    np.testing.assert_allclose(field[3], 0, atol=1e-6)


@pytest.mark.parametrize("name", sorted(WARPS))
def test_warps_do_not_move_the_midline_sideways(name: str) -> None:
    midline = np.stack([np.zeros(20), np.linspace(-1, 1, 20), np.full(20, 0.2)], axis=1)
    assert not WARPS[name].field(midline, np.zeros(3))[:, 0].any()
