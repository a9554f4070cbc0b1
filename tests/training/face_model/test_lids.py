from __future__ import annotations

import numpy as np
import pytest

from facewright.training.face_model.expression import unit_on_cage
from facewright.training.face_model.lids import BLINKS, close_lids, find_eye, pushed
from facewright.training.face_model.sources import FaceSources, SourcesUnavailable
from facewright.training.face_model.topology import MM_PER_UNIT, build_topology


def test_what_is_too_near_a_center_is_pushed_out() -> None:
    offsets = np.array([[0, 0, 1.0], [3.0, 4.0, 0]])
    np.testing.assert_allclose(pushed(offsets, 2.0), [[0, 0, 2.0], [3.0, 4.0, 0]])


def test_shut_lids_overlap_and_the_eyes_mirror_each_other() -> None:
    try:
        sources = FaceSources()
    except SourcesUnavailable as error:
        pytest.skip(str(error))
    topology = build_topology(sources)
    matrix, mirror = topology.dense.matrix, topology.cage.mirror
    mean = topology.cage.source @ topology.reference * MM_PER_UNIT - topology.origin
    mean = (mean + mean[mirror] * [-1, 1, 1]) / 2
    names = tuple(BLINKS.values())
    units = np.stack([unit_on_cage(sources, topology, mean, name, 1.0) for name in names])
    closed = close_lids(units, names, mean, topology)
    np.testing.assert_allclose(closed[0], closed[1][mirror] * [-1, 1, 1], atol=1e-9)
    # Nothing but the surroundings of the eyes changes.
    eyes = [find_eye(topology, matrix @ mean, side) for side in (-1, 1)]
    distance = np.min([np.linalg.norm(mean - eye.center, axis=1) for eye in eyes], axis=0)
    assert np.abs(closed.sum(axis=0) - units.sum(axis=0))[distance > 40].max() < 0.01
    for eye, unit in zip(eyes, closed, strict=True):
        shut = matrix @ (mean + unit)
        x = shut[eye.lower, 0]
        lower = np.interp(shut[eye.upper, 0], x, shut[eye.lower, 1])
        inside = np.abs(shut[eye.upper, 0] - eye.center[0]) < 6
        assert (shut[eye.upper, 1] < lower + 0.1)[inside].all()
        opened = (matrix @ mean)[eye.upper, 1] - np.interp(
            (matrix @ mean)[eye.upper, 0], *(matrix @ mean)[eye.lower, :2].T
        )
        assert (opened[inside] > 3).any()
