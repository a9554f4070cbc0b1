from __future__ import annotations

import numpy as np
import pytest

from facewright.training.face_model.cage import (
    EYEBALL_FORWARD,
    EYEBALL_SHRINK,
    eyeball_operator,
    front_half,
    rings,
    shallow_pocket,
)
from facewright.training.face_model.sources import BaseMesh

AROUND, LOOPS = 8, 5


def pocket_mesh() -> tuple[BaseMesh, np.ndarray]:
    """A tube of rings below a flat rim, closed by a strip; returns the mesh and pocket quads."""
    angle = 2 * np.pi * np.arange(AROUND) / AROUND
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    levels = [np.c_[2 * circle, np.zeros(AROUND)]]
    levels += [np.c_[circle, np.full(AROUND, -k)] for k in range(LOOPS)]
    quads = []
    for level in range(LOOPS):
        for i in range(AROUND):
            j = (i + 1) % AROUND
            a, b = level * AROUND, (level + 1) * AROUND
            quads.append([a + i, a + j, b + j, b + i])
    last = LOOPS * AROUND
    # Pair the loop's halves: 0 with 7, 1 with 6, ...
    quads += [[last + i, last + i + 1, last + 6 - i, last + 7 - i] for i in range(3)]
    quads = np.array(quads)
    vertices = np.concatenate(levels)
    mesh = BaseMesh(
        vertices=vertices,
        quads=quads,
        uv=vertices[:, :2],
        quad_uv=quads,
        groups=np.full(len(quads), "body"),
        mirror=np.arange(len(vertices)),
    )
    pocket = np.arange(len(quads)) >= AROUND
    return mesh, pocket


def directed_edges(quads: np.ndarray) -> np.ndarray:
    return np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)


def test_rings_peel_from_the_rim_inwards() -> None:
    mesh, pocket = pocket_mesh()
    peeled = rings(mesh, pocket, ~pocket)
    assert [len(ring) for ring in peeled] == [AROUND] * (LOOPS - 1) + [3]
    assert peeled[0].tolist() == list(range(AROUND, 2 * AROUND))


@pytest.mark.parametrize("loops", [(0, 1, 2), (0, 3), (0, 1, 3), (0, 1, 2, 3)])
def test_a_shallow_pocket_is_closed_and_uses_only_its_loops(loops: tuple[int, ...]) -> None:
    mesh, pocket = pocket_mesh()
    quads = shallow_pocket(mesh, pocket, ~pocket, loops)
    assert len(quads) == AROUND * (len(loops) - 1) + 3
    levels = np.unique(mesh.vertices[quads, 2])
    np.testing.assert_array_equal(np.sort(-levels), sorted(loops))
    surface = np.concatenate([mesh.quads[~pocket], quads])
    edges = directed_edges(surface)
    assert len(np.unique(edges, axis=0)) == len(edges)
    back = {(b, a) for a, b in edges.tolist()}
    loose = [edge for edge in edges.tolist() if tuple(edge) not in back]
    # Only the outer rim stays open.
    assert len(loose) == AROUND
    assert max(max(edge) for edge in loose) < AROUND


def ball_mesh() -> BaseMesh:
    """A cube standing for a helper eyeball, away from the origin."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = np.array(
        [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    )
    vertices = corners + [3, 7, 1]
    return BaseMesh(
        vertices, quads, vertices[:, :2], quads, np.full(6, "eye"), np.arange(len(vertices))
    )


def test_the_eyeball_shrinks_towards_a_point_near_its_front() -> None:
    mesh = ball_mesh()
    operator, vertices = eyeball_operator(mesh, np.ones(6, bool))
    np.testing.assert_array_equal(vertices, np.arange(8))
    moved = operator @ mesh.vertices
    fixed = np.array([3, 7, 1 + EYEBALL_FORWARD])
    np.testing.assert_allclose(moved - fixed, EYEBALL_SHRINK * (mesh.vertices - fixed))
    # It is linear in positions: moving the ball moves the shrunk ball.
    np.testing.assert_allclose(operator @ (mesh.vertices + [1, 2, 3]), moved + [1, 2, 3])


def test_the_front_half_looks_forward() -> None:
    mesh = ball_mesh()
    front = front_half(mesh, np.ones(6, bool))
    assert front.tolist() == [False, False, False, False, False, True]
