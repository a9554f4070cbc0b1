"""Lashes: hairs between their stations, and how lids carry them."""

from __future__ import annotations

import numpy as np
import pytest

from facewright.training.face_model.lashes import LIDS, Lid, carried, hair_rows, turned


@pytest.mark.parametrize("lid", LIDS)
def test_hairs_lie_between_their_stations(lid: Lid) -> None:
    rows, triangles = hair_rows(lid, np.random.default_rng(1))
    assert rows.shape == (5 * lid.hairs, 3 * lid.stations)
    assert np.asarray(rows.sum(axis=1)).ravel() == pytest.approx(np.ones(5 * lid.hairs))
    assert np.array_equal(np.unique(triangles), np.arange(5 * lid.hairs))
    places = np.zeros((3, lid.stations, 3))
    places[..., 0] = np.linspace(0, 27, lid.stations)
    places[1, :, 2], places[2, :, 2] = 3, 6
    hairs = (rows @ places.reshape(-1, 3)).reshape(lid.hairs, 5, 3)
    assert hairs[:, :2, 2] == pytest.approx(0)
    assert hairs[:, 4, 2].min() > 3
    assert 0.1 < (hairs[:, 1, 0] - hairs[:, 0, 0]).mean() < 0.25


def test_hairs_turn_about_the_eye_as_their_place_does() -> None:
    before, after = np.array([[0.0, 0.0, 12.0]]), np.array([[0.0, -12.0, 0.0]])
    offsets = np.array([[[1.0, 2.0, 5.0]], [[0.0, 0.0, 7.0]]])
    assert turned(offsets, before, after)[:, 0] == pytest.approx(np.array([[1, -5, 2], [0, -7, 0]]))
    path = after - before
    full = carried(path, offsets, before, "full")
    assert (offsets + full)[1, 0] == pytest.approx(path[0] + [0, -7, 0])
    # Small displacements add up; what changes the person does not turn them.
    small = carried(path / 1000, offsets, before, "small")
    assert small == pytest.approx(carried(2 * path / 1000, offsets, before, "small") / 2)
    assert carried(path, offsets, before, "none")[0, 0] == pytest.approx(path[0])
