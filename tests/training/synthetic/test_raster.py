from __future__ import annotations

import numpy as np
import pytest

from facewright.models.rasterizer import rasterize
from facewright.training.synthetic.raster import EMPTY, FrameBuffer


@pytest.fixture(scope="module")
def drawn(toy_head):
    data = toy_head.data
    depth = 900 - data.mean_shape[:, 2]
    x, y = 60 + 300 * data.mean_shape[:, 0] / depth, 60 - 300 * data.mean_shape[:, 1] / depth
    frame = FrameBuffer(120)
    frame.draw(np.stack([x, y, 1000 / depth], 1).astype(np.float32), data.triangles)
    exact = rasterize(np.stack([x, y, depth], 1)[None].astype(np.float32), data.triangles, 120, 120)
    return frame, exact


def test_agrees_with_the_exact_rasterizer(drawn):
    frame, exact = drawn
    covered = exact.triangle_ids[0] >= 0
    assert ((frame.triangle_ids >= 0) == covered).mean() > 0.998
    same = (frame.triangle_ids == exact.triangle_ids[0])[covered]
    assert same.mean() > 0.98
    both = covered & (frame.triangle_ids >= 0)
    depth = 1000 / frame.nearness[both]
    assert np.median(np.abs(depth - exact.depth[0][both])) < 0.05


def test_weights_are_barycentric(drawn):
    frame, exact = drawn
    same = (frame.triangle_ids == exact.triangle_ids[0]) & (frame.triangle_ids >= 0)
    error = np.abs(frame.weights[same] - exact.barycentric[0][same][:, 1:])
    assert np.median(error) < 0.02


def test_back_faces_and_outside_are_not_drawn():
    frame = FrameBuffer(8)
    triangle = np.float32([[1, 7, 1], [7, 7, 1], [4, 1, 1]])
    frame.draw(triangle, np.int32([[0, 1, 2]]))
    assert (frame.triangle_ids == 0).sum() > 10
    frame.draw(triangle, np.int32([[0, 2, 1]]))
    assert (frame.triangle_ids == EMPTY).all()
    frame.draw(triangle + np.float32([100, 0, 0]), np.int32([[0, 1, 2]]))
    assert (frame.nearness == 0).all()
