"""The sheet of an album: where tiles go and how they are marked."""

from __future__ import annotations

import numpy as np
import pytest

from facewright.service.results.contact_sheet import TILE_SIDE, Tile, draw_sheet


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(2, 2, 1), (3, 2, 2), (5, 3, 2), (64, 8, 8)]
)
def test_tiles_lie_in_rows(count: int, columns: int, rows: int) -> None:
    pictures = [np.full((TILE_SIDE, TILE_SIDE, 3), 2 * k + 60, np.uint8) for k in range(count)]
    sheet = draw_sheet([Tile(picture) for picture in pictures])
    pitch = TILE_SIDE + 8
    assert sheet.shape == (rows * pitch + 8, columns * pitch + 8, 3)
    for k in range(count):
        top, left = 8 + pitch * (k // columns), 8 + pitch * (k % columns)
        np.testing.assert_array_equal(
            sheet[top : top + TILE_SIDE, left : left + TILE_SIDE], pictures[k]
        )


def test_marks() -> None:
    picture = np.full((100, 200, 3), 200, np.uint8)
    sheet = draw_sheet([Tile(picture), Tile(picture, stranger=True), Tile(picture, failed=True)])
    centers = [sheet[168, 168], sheet[168, 496], sheet[496, 168]]
    assert [int(center[0]) for center in centers] == [200, 200, 70]
    plain_corner, marked_corner = sheet[119, 69], sheet[119, 397]
    assert (plain_corner == 200).all()
    assert marked_corner[0] > 200 > marked_corner[2]
    assert len(np.unique(draw_sheet([Tile(None)])[8:328, 8:328].reshape(-1, 3), axis=0)) == 1
