"""Contact sheets: all pictures of an album as one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facewright.models.arrays import ByteArray

TILE_SIDE = 320
"""Longer side of a picture on the sheet, px."""

_GAP = 8
_FRAME = 4
_BACKGROUND = (32, 34, 38)
_EMPTY = (52, 55, 60)
_STRANGER = (255, 150, 40)
_FAILED_SHADE = 0.35


@dataclass(frozen=True, eq=False)
class Tile:
    """One photo on the sheet."""

    picture: ByteArray | None
    """(H, W, 3), no side longer than `TILE_SIDE`; None for one that cannot be shown."""
    stranger: bool = False
    """Gets an orange frame."""
    failed: bool = False
    """Is shown dark."""


def draw_sheet(tiles: Sequence[Tile]) -> ByteArray:
    """Lay the tiles out in rows, in their order, about as wide as high: (H, W, 3)."""
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    pitch = TILE_SIDE + _GAP
    sheet = np.full((rows * pitch + _GAP, columns * pitch + _GAP, 3), _BACKGROUND, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = (_GAP + pitch * place for place in divmod(index, columns))
        cell = sheet[top : top + TILE_SIDE, left : left + TILE_SIDE]
        if tile.picture is None:
            cell[:] = _EMPTY
            continue
        height, width = tile.picture.shape[:2]
        top, left = (TILE_SIDE - height) // 2, (TILE_SIDE - width) // 2
        place = cell[top : top + height, left : left + width]
        place[:] = tile.picture * _FAILED_SHADE if tile.failed else tile.picture
        if tile.stranger:
            cv2.rectangle(
                cell,
                (left, top),
                (left + width - 1, top + height - 1),
                _STRANGER,
                2 * _FRAME,  # the outer half falls beyond the picture
            )
    return sheet
