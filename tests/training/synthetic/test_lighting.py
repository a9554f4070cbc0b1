from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facewright.training.appearance.surface import EYEBALL, SKIN
from facewright.training.synthetic.lighting import Lights, ShadowCaster, draw_lights, illuminate


@pytest.fixture
def lamp() -> Lights:
    """One hard white light from the camera's right, no ambient light, no scattering."""
    return Lights(
        directions=np.float32([[1, 0, 0]]),
        colors=np.ones((1, 3), np.float32),
        hardness=np.ones(1, np.float32),
        shadowed=1,
        ambient=np.zeros(3, np.float32),
        up=np.float32([0, 1, 0]),
        slant=0.0,
        scatter=0.0,
        occlusion=1.0,
        shininess=20.0,
    )


@pytest.fixture
def sphere_normals() -> np.ndarray:
    normals = np.random.default_rng(0).normal(size=(500, 3))
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)


def lit(lights: Lights, normals: np.ndarray, reach: float = 1.0, gloss: float = 0.0, part=SKIN):
    n = len(normals)
    return illuminate(
        lights,
        np.full((len(lights.directions), n), reach, np.float32),
        normals,
        np.ones(n, np.float32),
        np.full(n, gloss, np.float32),
        np.full(n, part, np.uint8),
    )


def test_matt_skin_follows_the_cosine_law(lamp, sphere_normals):
    light, highlight = lit(lamp, sphere_normals)
    expected = np.maximum(sphere_normals[:, :1], 0)
    assert light == pytest.approx(np.repeat(expected, 3, 1), abs=1e-5)
    assert highlight.max() == 0


def test_scattering_reddens_the_terminator(lamp, sphere_normals):
    light, _ = lit(replace(lamp, scatter=1.0), sphere_normals)
    edge = np.abs(sphere_normals[:, 0]) < 0.1
    assert (light[edge, 0] > light[edge, 2]).all()


def test_highlight_is_where_the_mirror_is(lamp, sphere_normals):
    _, highlight = lit(lamp, sphere_normals, gloss=0.5)
    brightest = sphere_normals[highlight[:, 0].argmax()]
    assert brightest @ (np.array([1, 0, 1]) / np.sqrt(2)) > 0.95
    assert (highlight[sphere_normals[:, 0] < 0] == 0).all()


def test_shadow_takes_the_light_away(lamp, sphere_normals):
    assert lit(lamp, sphere_normals, reach=0.0)[0].max() == 0
    soft = replace(lamp, hardness=np.zeros(1, np.float32))
    assert lit(soft, sphere_normals, reach=0.0)[0].max() > 0


def test_ambient_light_comes_from_above(lamp, sphere_normals):
    sky = replace(lamp, ambient=np.ones(3, np.float32), slant=0.5, colors=0 * lamp.colors)
    light, _ = lit(sky, sphere_normals, part=EYEBALL)
    assert np.corrcoef(light[:, 0], sphere_normals[:, 1])[0, 1] > 0.999


def test_drawn_lights_are_usable():
    for seed in range(50):
        lights = draw_lights(np.random.default_rng(seed))
        assert np.linalg.norm(lights.directions, axis=1) == pytest.approx(1, abs=1e-5)
        assert (lights.colors > 0).all()
        assert 0 < lights.shadowed <= len(lights.directions) <= 4
        assert ((lights.hardness >= 0) & (lights.hardness <= 1)).all()


def test_a_slope_away_from_the_lamp_loses_light(lamp):
    from_the_right = lamp.slope_light(np.eye(3))
    assert from_the_right[0] > 1
    assert from_the_right[1] == pytest.approx(0)
    quarter = np.float32([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    # A head that lies on its side has the lamp above its -y.
    assert lamp.slope_light(quarter)[1] == pytest.approx(-from_the_right[0])


def test_head_shades_its_far_side(head):
    reach, _ = ShadowCaster().reach(
        head.mean, head.surface.triangles, [], np.float32([[0, 0, 1], [1, 0, 0]])
    )
    normals = head.surface.normals
    skull = slice(0, 46 * 60)
    assert reach[0, skull][normals[skull, 2] > 0.5].mean() > 0.9
    assert reach[0, skull][normals[skull, 2] < -0.5].mean() < 0.05
    assert reach[1, skull][normals[skull, 0] < -0.5].mean() < 0.05
