from __future__ import annotations

import numpy as np
import pytest

from facewright.training.appearance.surface import EYEBALL, REFERENCE_INTEROCULAR_MM


def test_eye_centers_are_the_spheres_centers(surface):
    for center, sign in zip(surface.eye_centers, (-1, 1), strict=True):
        own = (surface.parts == EYEBALL) & (np.sign(surface.points[:, 0]) == sign)
        radius = np.linalg.norm(surface.points[own] - center, axis=1)
        assert radius == pytest.approx(12.0, abs=0.05)


def test_relative_frame_starts_between_the_eyes(surface):
    eyes = surface.to_relative(surface.eye_centers)
    assert eyes.mean(0) == pytest.approx([0, 0, 0], abs=1e-4)
    assert eyes[1, 0] - eyes[0, 0] == pytest.approx(REFERENCE_INTEROCULAR_MM, abs=1e-3)


def test_normals_point_outwards(surface):
    skull = slice(0, 46 * 60)
    outward = surface.points[skull] - surface.points[skull].mean(0)
    assert ((surface.normals[skull] * outward).sum(1) > 0).all()
    assert np.linalg.norm(surface.normals, axis=1) == pytest.approx(1, abs=1e-5)


def test_iris_radius_is_only_on_eyeballs(surface):
    eyeball = surface.parts == EYEBALL
    assert (surface.iris_radius[~eyeball] == 99).all()
    assert surface.iris_radius[eyeball].max() < 13


def test_unknown_mask_is_empty(surface):
    assert surface.mask("no such region").sum() == 0
