from __future__ import annotations

import cv2
import numpy as np
import pytest

from facewright.training.evaluation.bootstrap import Interval
from facewright.training.evaluation.charts import (
    BOTTOM,
    COLORS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Panel,
    write_charts,
)


def where(picture, color):
    """Rows and columns of the pixels of about this color."""
    return np.nonzero(np.abs(picture.astype(int) - color).max(2) < 40)


def test_lines_are_where_their_values_are(tmp_path):
    rising = {x: Interval(float(x), x - 0.5, x + 0.5) for x in (1, 2, 3)}
    flat = {x: Interval(1.0, float("nan"), float("nan")) for x in (1, 2, 3)}
    panels = [Panel("one", "x", "mm", {"rising": rising, "flat": flat})] * 3
    write_charts(panels, tmp_path / "chart.png")
    picture = cv2.imread(str(tmp_path / "chart.png"))
    assert picture.shape[1] == 2 * WIDTH
    assert picture.shape[0] > 2 * HEIGHT
    panel = picture[TOP : HEIGHT - BOTTOM, LEFT : WIDTH - RIGHT]
    rows, columns = where(panel, COLORS[0])
    assert np.corrcoef(rows, columns)[0, 1] < -0.9
    assert columns.max() - columns.min() > 0.85 * panel.shape[1]
    rows, _ = where(panel, COLORS[1])
    assert np.ptp(rows) < 10
    # The axis runs from 0 to 4, the line lies at 1.
    assert np.mean(rows) / len(panel) == pytest.approx(0.75, abs=0.04)
    assert len(where(picture[:HEIGHT, WIDTH:], COLORS[0])[0])
    assert not len(where(picture[HEIGHT : 2 * HEIGHT, WIDTH:], COLORS[0])[0])


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="no lines"):
        write_charts([Panel("empty", "x", "y", {})], tmp_path / "chart.png")
