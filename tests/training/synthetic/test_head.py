from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facewright.training.synthetic.head import Head, seat_teeth


def test_teeth_sit_behind_the_lips_with_their_edges_at_the_mouth_line():
    def row(y: float):
        x, z = np.meshgrid(np.linspace(-30, 30, 7), [-40.0, -20.0, 0.0])
        top = np.stack([x.ravel(), np.full(x.size, y + 12), z.ravel()], 1)
        return np.concatenate([top, top - [0, 12, 0]])

    points = np.concatenate([row(-30.0), row(-60.0)]).astype(np.float32)
    n = len(points) // 2
    one = np.stack([np.arange(n - 2), np.arange(1, n - 1), np.arange(2, n)], 1)
    teeth = np.concatenate([one, one + n]).astype(np.int32)
    landmarks = np.zeros((68, 3), np.float32)
    landmarks[62] = [0, -40, 15]
    seat_teeth(points, teeth, landmarks)
    upper, lower = points[:n], points[n:]
    assert upper[upper[:, 2] > upper[:, 2].max() - 3][:, 1].min() == pytest.approx(-41.5)
    assert lower[:, 1].max() == pytest.approx(-44.0)
    assert upper[:, 2].max() == pytest.approx(10.5)
    assert lower[:, 2].max() < upper[:, 2].max()
    assert np.abs(points[:, 0]).max() == pytest.approx(24.0)
    # Molars of the lower row lie below its front.
    assert lower[lower[:, 2] < -20][:, 1].max() < -45


def test_no_teeth_no_change():
    points = np.ones((4, 3), np.float32)
    seat_teeth(points, np.zeros((0, 3), np.int32), np.zeros((68, 3), np.float32))
    assert (points == 1).all()


def test_head_of_another_model_is_refused(toy_head):
    data = replace(toy_head.data, identity_basis=toy_head.data.identity_basis[:10])
    with pytest.raises(ValueError, match="modes"):
        Head.build(data, toy_head.model)
