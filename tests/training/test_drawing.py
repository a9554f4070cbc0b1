"""Drawings of posed faces: where they lie, how they are lit, what is behind them."""

from __future__ import annotations

import numpy as np
import pytest

from facewright.models.camera import CROP_SIZE, pose_points, project
from facewright.training.drawing import GRAY, draw


@pytest.fixture(scope="module")
def posed(toy_head):
    shape = toy_head.model.mean_vertices[None].astype(np.float64)
    return pose_points(shape, np.array([[0.0, 0.3, 0.1]]), np.array([[0.1, -0.05, 0.2]]))[0]


def test_a_face_covers_where_it_projects_to(toy_head, posed):
    cover = draw(toy_head.model, posed, size=112).cover[..., 0]
    rows, columns = np.nonzero(cover > 0.5)
    at = project(posed[None])[0] * (112 / CROP_SIZE)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    # The chin lies below the picture.
    seen = np.clip([*at.min(0), *at.max(0)], 0, 112)
    np.testing.assert_allclose(edges, seen, atol=1.5)
    assert set(np.unique(cover)) <= {0, 0.25, 0.5, 0.75, 1}


def test_faces_stand_before_their_background(toy_head, posed):
    drawing = draw(toy_head.model, posed, size=64)
    free, full = drawing.cover[..., 0] == 0, drawing.cover[..., 0] == 1
    photo = np.random.default_rng(0).random((64, 64, 3))
    whole, half = drawing.over(photo), drawing.over(photo, 0.5)
    np.testing.assert_array_equal(whole[free], np.rint(photo[free] * 255))
    np.testing.assert_allclose(half[full], 127.5 * (photo[full] + drawing.color[full]), atol=0.51)
    assert whole.dtype == np.uint8


def test_albedo_colors_and_lamps_shade(toy_head, posed):
    red = np.tile(np.float32([0.8, 0.1, 0.1]), (len(posed), 1))
    drawing = draw(toy_head.model, posed, red, 64)
    color = drawing.color[drawing.cover[..., 0] == 1]
    np.testing.assert_allclose(color[:, 0], 8 * color[:, 1], rtol=1e-5)
    assert color[:, 0].std() > 0.02
    clay = draw(toy_head.model, posed, size=64)
    inside = clay.color[clay.cover[..., 0] == 1]
    np.testing.assert_allclose(inside[:, 0] / GRAY, color[:, 0] / 0.8, rtol=1e-5)
