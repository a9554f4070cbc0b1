from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facewright.training.appearance.skin import SkinSampler
from facewright.training.synthetic.hair import HairGrower, draw_style, scatter_roots
from facewright.training.synthetic.strands import draw, grow, light_nodes

DOWN = np.float32([0, -1, 0])


@pytest.fixture(scope="module")
def grower(head) -> HairGrower:
    return HairGrower(head.surface)


@pytest.fixture(scope="module")
def people(head):
    sampler = SkinSampler(head.surface)
    return [sampler.sample(np.random.default_rng(s)) for s in range(40)]


def test_roots_lie_on_the_surface_where_they_may(head):
    surface = head.surface
    chance = (surface.points[:, 1] > 0).astype(np.float32)
    roots = scatter_roots(np.random.default_rng(0), surface, chance, 500)
    assert roots.weights.min() >= 0
    assert roots.weights.sum(1) == pytest.approx(1, abs=1e-5)
    assert (chance[roots.corners].max(1) > 0).all()


def test_every_style_grows_finite_hair_on_the_scalp(grower, head, people):
    seen = set()
    uncovered = np.zeros(len(head.mean), np.float32)
    for seed, person in enumerate(people):
        rng = np.random.default_rng(seed)
        style = draw_style(rng, person)
        seen.add(style.name)
        cover = grower.scalp_cover(rng, style)
        assert 0 <= cover.min() <= cover.max() <= 1
        strands = grower.hair(
            rng, style, person.hair, head.mean, head.surface.normals, DOWN, uncovered
        )
        if style.name == "bald":
            assert strands is None
            continue
        assert np.isfinite(strands.nodes).all()
        assert strands.colors.min() >= 0
        assert strands.colors.max() <= 1
        roots = head.surface.to_relative(strands.nodes[:, 0])
        # Nothing grows out of the face below the brows.
        face = (np.abs(roots[:, 0]) < 35) & (roots[:, 2] > 0) & (roots[:, 1] < 20)
        assert not face.any()
    assert len(seen) >= 4


def test_facial_hair_sits_where_the_colors_put_it(grower, head, people):
    for seed, person in enumerate(people[:15]):
        rng = np.random.default_rng(seed)
        sets = grower.facial(rng, person, head.mean, head.surface.normals, DOWN)
        assert len(sets) <= (3 if person.beard_length_mm > 0 else 2)
        for strands in sets:
            height = head.surface.to_relative(strands.nodes[:, 0])[:, 1]
            assert height.max() < 45


def grow_one(
    direction, weight, lift_off=2.0, length=60.0, face=(0.0, 0.0), root=(0, 100, 0), cling=0.0
):
    nodes = np.empty((1, 10, 3), np.float32)
    grow(
        np.float32([root]),
        np.float32([direction]),
        np.float32([length]),
        np.float32([lift_off]),
        np.float32([0]),
        DOWN,
        np.float32(weight),
        np.float32(0),
        np.float32(30),
        np.zeros(3, np.float32),
        np.full(3, 100, np.float32),
        np.float32(face[0]),
        np.float32(face[1]),
        np.float32(cling),
        nodes,
    )
    return nodes[0]


def test_strands_stay_off_the_skull():
    nodes = grow_one([1.0, 0.0, 0.0], weight=0.1, length=120)
    distance = np.linalg.norm(nodes[4:], axis=1)
    assert distance.min() > 101.5
    assert nodes[-1, 1] < 75


def test_gravity_bends_strands_down():
    stiff = grow_one([0.5, 1.0, 0.0], weight=0.0)
    heavy = grow_one([0.5, 1.0, 0.0], weight=0.05)
    assert heavy[-1, 1] < stiff[-1, 1] - 5


def test_clinging_strands_follow_the_skull():
    loose = grow_one([1.0, 0.3, 0.0], weight=0.0)
    combed = grow_one([1.0, 0.3, 0.0], weight=0.0, cling=1.0)
    assert np.linalg.norm(loose[-1]) > 120
    assert np.linalg.norm(combed[4:], axis=1) == pytest.approx(102, abs=0.5)


def test_no_hair_grows_under_headwear(grower, head, people):
    normals = head.surface.normals
    covered = (head.surface.relative[:, 1] > 20).astype(np.float32)
    for seed, person in enumerate(people[:10]):
        rng = np.random.default_rng(seed)
        style = replace(draw_style(rng, person), name="short", crown=0.0)
        strands = grower.hair(rng, style, person.hair, head.mean, normals, DOWN, covered)
        if strands is not None:
            assert head.surface.to_relative(strands.nodes[:, 0])[:, 1].max() < 35


def test_tied_hair_has_a_tail_behind_the_head(grower, head, people):
    style = draw_style(np.random.default_rng(0), people[0])
    loose = replace(style, name="short")
    assert grower.tail(np.random.default_rng(0), loose, people[0].hair, head.mean) == []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        (tail,) = grower.tail(rng, replace(style, name="tied"), people[0].hair, head.mean)
        assert np.isfinite(tail.vertices).all()
        assert tail.vertices[:, 2].mean() < head.mean[:, 2].mean()


def test_hair_is_kept_out_of_the_face():
    falling = {"direction": [0.1, -0.2, 1.0], "weight": 0.05, "length": 200, "root": (20, 80, 60)}
    free, parted = grow_one(**falling), grow_one(**falling, face=(50.0, 10.0))
    below = slice(6, None)
    assert free[below, 2].min() > 20
    assert parted[-1, 0] > free[-1, 0] + 10
    assert parted[-1, 2] < free[-1, 2] - 10


def canvas():
    return np.zeros((20, 20, 3), np.float32), np.zeros((20, 20), np.float32)


def clear():
    return np.ones((20, 20), np.float32)


def draw_line(image, nearness, z, width=2.0, bare=None):
    nodes = np.float32([[[2, 10, z], [18, 10, z]]])
    draw(nodes, np.ones((1, 2, 3), np.float32), np.float32([width]), np.ones(1, np.float32),
         np.float32(1.0), np.float32(0.001), image, nearness,
         clear() if bare is None else bare)  # fmt: skip


def test_strand_covers_its_width_and_hides_what_is_behind():
    image, nearness = canvas()
    draw_line(image, nearness, z=1.0)
    rows = np.flatnonzero(image[:, 10, 0] > 0.5)
    assert 1 <= len(rows) <= 3
    assert nearness[rows, 10] == pytest.approx(1.0)
    image, nearness = canvas()
    nearness[:] = 1.5
    draw_line(image, nearness, z=1.0)
    assert image.max() == 0


def test_thin_strand_is_faint_rather_than_missing():
    (image, nearness), bare = canvas(), clear()
    draw_line(image, nearness, z=1.0, width=0.3, bare=bare)
    assert 0.2 < image[:, 10, 0].max() < 0.4
    assert bare == pytest.approx(1 - image[..., 0])


def test_light_along_the_fibre_gives_none_and_across_gives_most():
    def lit(direction):
        nodes = np.float32([[[0, 0, 0], [0, 10, 0], [0, 20, 0]]])
        out = np.empty((1, 3, 3), np.float32)
        light_nodes(nodes, np.ones((1, 3), np.float32), np.float32([direction]),
                    np.ones((1, 3), np.float32), np.zeros(3, np.float32), np.float32([0, 0, 1]),
                    np.float32(0), np.full((1, 3), 0.5, np.float32), out)  # fmt: skip
        return out[0, 2, 0]

    assert lit([0, 1, 0]) == pytest.approx(0, abs=1e-6)
    assert lit([1, 0, 0]) == pytest.approx(0.5 * 0.65, rel=1e-3)
