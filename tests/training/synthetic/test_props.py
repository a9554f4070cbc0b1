from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.training.synthetic.objects import (
    OFTEN,
    SELDOM,
    Held,
    draw_objects,
    hand,
    held_object,
    microphones,
    posed_hands,
    telephone,
    touching_hand,
)
from facewright.training.synthetic.props import Prop, box, capsule, ellipsoid, join, prop, sheet

seeds = st.integers(0, 2**32 - 1)
SKIN, SLEEVE = np.float32([0.5, 0.35, 0.25]), np.float32([0.1, 0.1, 0.2])


def volume(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Signed volume by the divergence theorem: positive when triangles face outwards."""
    a, b, c = (vertices[triangles[:, k]].astype(float) for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def is_closed(triangles: np.ndarray) -> bool:
    edges = {tuple(e) for t in triangles.tolist() for e in zip(t, t[1:] + t[:1], strict=True)}
    return len(edges) == 3 * len(triangles) and all((b, a) in edges for a, b in edges)


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [
        (ellipsoid([1, 2, 3], [10, 20, 30], 40, 30), 4 / 3 * np.pi * 6000),
        (capsule([0, 0, 0], [0, 50, 0], 10, 10, 40, flat=True), np.pi * 5000),
        (capsule([3, 0, 0], [50, 20, 7], 10, 10, 40), np.pi * 100 * (51.55 + 40 / 3)),
        (box([10, 20, 30]), 8 * 6000),
    ],
)
def test_solids_are_closed_and_face_outwards(mesh, expected: float):
    assert is_closed(mesh[1])
    assert volume(*mesh) == pytest.approx(expected, rel=0.08)


def test_a_sheet_has_two_sides():
    y, x = np.mgrid[0:30:5, 0:40:5].astype(float)
    vertices, triangles = sheet(np.stack([x, y, 0 * x], -1), 2.0)
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    up = np.cross(b - a, c - a)[:, 2]
    half = len(triangles) // 2
    assert (up[:half] > 0).all()
    assert (up[half:] < 0).all()
    assert vertices[:48, 2] == pytest.approx(1.0)


def test_joined_and_moved():
    one = prop(join([box([1, 1, 1]), box([2, 2, 2])]), [0.1, 0.2, 0.3])
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    moved = one.moved(turn, [5, 0, 0])
    assert moved.vertices == pytest.approx(one.vertices @ turn.T + [5, 0, 0])
    assert volume(moved.vertices, moved.triangles) == pytest.approx(
        volume(one.vertices, one.triangles), rel=1e-4
    )
    assert one.colors[0] == pytest.approx([0.1, 0.2, 0.3])


def check(parts: list[Prop]) -> None:
    for part in parts:
        assert np.isfinite(part.vertices).all()
        assert part.triangles.min() >= 0
        assert part.triangles.max() < len(part.vertices)
        assert part.colors.shape == part.vertices.shape
        assert part.colors.min() >= 0
        assert part.colors.max() <= 1
        assert volume(part.vertices - part.vertices.mean(0), part.triangles) > 0


@settings(max_examples=15, deadline=None)
@given(seed=seeds, stretch=st.floats(0.3, 3.0), shift=st.floats(-500, 500))
def test_held_things_are_sound_on_any_face(toy_head, seed: int, stretch: float, shift: float):
    landmarks = toy_head.data.landmark_mean * np.float32(stretch)
    landmarks = landmarks + np.float32([shift, 0, -900])
    for make in (microphones, touching_hand, posed_hands, telephone, held_object, draw_objects):
        check(make(np.random.default_rng(seed), landmarks, SKIN, SLEEVE))


def test_a_fist_is_shorter_than_a_stretched_hand():
    def reach(curl: float) -> float:
        return float(hand(np.random.default_rng(0), SKIN, curl, SLEEVE)[0].vertices[:, 1].max())

    assert 130 < reach(0.0) < 190
    assert reach(1.0) < 125


@pytest.mark.parametrize(("bounds", "least", "most"), [(SELDOM, 0.08, 0.32), (OFTEN, 0.45, 0.75)])
def test_few_faces_have_something_before_them_unless_it_is_asked_for(
    toy_head, bounds: Held, least: float, most: float
):
    landmarks = toy_head.data.landmark_mean - np.float32([0, 0, 900])
    held = [
        bool(draw_objects(np.random.default_rng(s), landmarks, SKIN, SLEEVE, bounds))
        for s in range(200)
    ]
    assert least < np.mean(held) < most


def test_each_finger_bends_on_its_own():
    pointing = hand(np.random.default_rng(0), SKIN, np.array([0.0, 1, 1, 1]), SLEEVE)[0].vertices
    fingertips = pointing[pointing[:, 1] > 130]
    assert len(fingertips)
    assert fingertips[:, 0].max() < 0  # the index finger's side
