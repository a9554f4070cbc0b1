from __future__ import annotations

import numpy as np
import pytest

from facewright.training.synthetic.mouth import (
    keep_behind_lips,
    rows_of_teeth,
    shade_of_the_mouth,
)


@pytest.fixture
def lips(toy_head) -> np.ndarray:
    return toy_head.data.landmark_mean.copy()


def arch(y: float, front: float) -> np.ndarray:
    x, depth = np.meshgrid(np.linspace(-25, 25, 9), [0.0, -15.0, -30.0])
    return np.stack([x, y + 0 * x, front + depth], -1).reshape(-1, 3).astype(np.float32)


def test_rows_are_found_by_their_links(lips):
    points = np.concatenate([arch(10, 0), arch(-10, 0)])
    one = np.stack([np.arange(25), np.arange(1, 26), np.arange(2, 27)], 1)
    rows = rows_of_teeth(points, np.concatenate([one, one + 27]).astype(np.int32))
    assert [points[row, 1].mean() for row in rows] == [-10, 10]
    assert rows_of_teeth(points, np.zeros((0, 3), np.int32)) == []


def test_teeth_do_not_stick_out_of_the_lips(lips):
    middle = lips[66]
    points = np.concatenate([arch(middle[1] + 9, middle[2] + 6), arch(middle[1] + 20, middle[2])])
    rows = [np.arange(27), np.arange(27, 54)]
    keep_behind_lips(points, rows, lips)
    assert points[:27, 2].max() < lips[60:68, 2].max() - 4
    assert points[:27, 1].max() <= lips[60:68, 1].min() + 2.001
    assert points[27:, 2].max() < lips[60:68, 2].max() - 2
    before = points.copy()
    keep_behind_lips(points, rows, lips)
    assert np.array_equal(points, before)


def test_molars_are_darker_than_incisors(lips):
    points = arch(lips[66, 1], lips[66, 2] - 5)
    teeth, dark = shade_of_the_mouth(points, [np.arange(27)], lips)
    assert teeth.tolist() == list(range(27))
    assert dark[:9].min() == pytest.approx(1)
    assert dark[18:].max() < 0.3
    assert len(shade_of_the_mouth(points, [], lips)[0]) == 0
