"""The head's texture coordinates: rows of teeth, rolled out."""

from __future__ import annotations

import numpy as np
import pytest

from facewright.training.face_model.rig_topology import unrolled


def test_a_curved_strip_is_rolled_out_by_its_lengths() -> None:
    angles, heights = np.linspace(0, np.pi, 17), np.array([0.0, 1.0, 4.0])
    points = np.array([[-np.cos(a), h, np.sin(a)] for a in angles for h in heights])
    corner = np.array([[3 * i + j for j in range(2)] for i in range(16)]).ravel()
    quads = np.stack([corner, corner + 3, corner + 4, corner + 1], axis=1)
    order = np.random.default_rng(0).permutation(len(points))
    place = np.argsort(order)
    flat = unrolled(points[order], place[quads])[place].reshape(17, 3, 2)
    along = np.repeat(np.linspace(-1, 1, 17)[:, None], 3, axis=1)
    assert flat[..., 0] == pytest.approx(along)
    assert np.abs(flat[..., 1]) == pytest.approx(np.tile([1, 0.5, 1], (17, 1)))
