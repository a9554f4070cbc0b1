from __future__ import annotations

import numpy as np
import pytest

from facewright.training.contact_sheets import contact_sheet


def test_tiles_keep_their_places() -> None:
    pictures = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(pictures, 2, shade=56)
    assert sheet.shape == (4, 6, 3)
    assert sheet[0, 0, 0] == 10
    assert sheet[0, 3, 0] == 20
    assert sheet[2, 0, 0] == 30
    assert sheet[2, 3, 0] == 56


def test_contact_sheet_fills_the_last_row():
    pictures = [np.full((4, 4, 3), k, np.uint8) for k in range(3)]
    sheet = contact_sheet(pictures, columns=2)
    assert sheet.shape == (8, 8, 3)
    assert (sheet[4:, 4:] == 128).all()
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
