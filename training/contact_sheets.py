"""Contact sheets: many pictures in one, to be judged by eye."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def contact_sheet(
    images: list[NDArray[np.uint8]], columns: int = 8, shade: int = 128
) -> NDArray[np.uint8]:
    """Arrange equally sized (H, W, 3) images in rows; the last row is filled with a gray.

    Raises:
        ValueError: there is no image.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one picture")
    columns = min(columns, len(images))
    blank = np.full_like(images[0], shade)
    padded = images + [blank] * (-len(images) % columns)
    rows = [np.concatenate(padded[k : k + columns], 1) for k in range(0, len(padded), columns)]
    return np.concatenate(rows, 0)
