import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.training.evaluation.errors import ScanError
from facewright.training.evaluation.nearest import Surface


def brute_force(vertices, triangles, points):
    """By another way: the foot on the plane if inside, else the nearest of three edges."""
    best = np.full(len(points), np.inf)
    for corners in vertices[triangles]:
        candidates = []
        for k in range(3):
            a, b = corners[k], corners[(k + 1) % 3]
            along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
            candidates.append(np.linalg.norm(points - a - along[:, None] * (b - a), axis=1))
        edges = np.stack([corners[1] - corners[0], corners[2] - corners[0]], 1)
        inner = np.linalg.lstsq(edges, (points - corners[0]).T, rcond=None)[0]
        inside = (inner >= 0).all(0) & (inner.sum(0) <= 1)
        foot = corners[0] + (edges @ inner).T
        candidates.append(np.where(inside, np.linalg.norm(points - foot, axis=1), np.inf))
        best = np.minimum(best, np.min(candidates, 0))
    return best


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 60),
    squash=st.sampled_from([1.0, 1e-2, 1e-5, 0.0]),
)
def test_distances_of_random_triangles(seed, count, squash):
    """Whatever the triangles look like: needles and flat sets included."""
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(max(4, count), 3)) * [1, 1, squash]
    vertices[:, 1] *= rng.choice([1.0, 1e-3])
    triangles = np.stack([rng.permutation(len(vertices))[:3] for _ in range(count)])
    points = np.concatenate([rng.normal(size=(30, 3)) * 2, vertices])
    surface = Surface(vertices, triangles)
    found = surface.nearest(points)
    expected = brute_force(vertices, triangles, points)
    np.testing.assert_allclose(found.distances, expected, atol=1e-7)
    np.testing.assert_allclose(
        np.linalg.norm(points - found.points, axis=1), found.distances, atol=1e-12
    )
    guessed = surface.nearest(points, rng.integers(0, len(surface.triangles), len(points)))
    np.testing.assert_allclose(guessed.distances, found.distances, atol=1e-12)


def sphere(rows=24, columns=40):
    """A closed sphere of radius 1, its poles made of triangles without area."""
    v, u = np.meshgrid(
        np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij"
    )
    points = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], -1)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return points.reshape(-1, 3), triangles


def test_a_point_lies_on_its_triangle():
    vertices, triangles = sphere()
    surface = Surface(vertices, triangles)
    assert len(surface.triangles) < len(triangles)
    points = np.random.default_rng(0).normal(size=(500, 3)) * 1.5
    found = surface.nearest(points)
    plane = ((found.points - vertices[surface.triangles[found.triangles, 0]])
             * surface.normals[found.triangles]).sum(1)  # fmt: skip
    np.testing.assert_allclose(plane, 0, atol=1e-12)
    np.testing.assert_allclose(found.distances, abs(np.linalg.norm(points, axis=1) - 1), atol=0.02)


@pytest.mark.parametrize("offset", [0.0, 0.25, -3.0])
def test_a_plane_displaced(offset):
    x, y = np.meshgrid(np.linspace(-5, 5, 11), np.linspace(-5, 5, 11))
    vertices = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    a = (np.arange(10)[:, None] * 11 + np.arange(10)).reshape(-1, 1)
    triangles = np.concatenate([a + [0, 1, 12], a + [0, 12, 11]])
    points = np.random.default_rng(1).uniform(-4.9, 4.9, (200, 3))
    points[:, 2] = offset
    surface = Surface(vertices, triangles)
    found = surface.nearest(points)
    np.testing.assert_allclose(found.distances, abs(offset), atol=1e-12)
    assert not surface.on_border(found).any()
    beyond = surface.nearest(np.array([[9.0, 0, 0], [0, -6, 1], [7, 7, 0], [4.9, 0, 0]]))
    np.testing.assert_array_equal(surface.on_border(beyond), [True, True, True, False])
    np.testing.assert_allclose(beyond.distances[:3], [4, np.sqrt(2), np.sqrt(8)])


def test_a_corner_of_the_border_whose_edges_are_inner():
    """A fan around a point of the border: the middle triangle touches the border in one vertex."""
    vertices = np.array([[0.0, 0, 0], [2, 0, 0], [1.5, 1.5, 0], [0, 2, 0], [-1.5, 1.5, 0]])
    triangles = np.array([[0, 2, 3], [0, 1, 2], [0, 3, 4]])
    surface = Surface(vertices, triangles)
    found = surface.nearest(np.array([[0.0, -1e-3, 5]]), guess=np.array([0]))
    np.testing.assert_allclose(found.points, 0, atol=1e-12)
    assert surface.on_border(found).all()


def test_meshes_that_cannot_be_measured():
    vertices, triangles = sphere()
    broken = vertices.copy()
    broken[[3, 7]] = np.nan
    with pytest.raises(ScanError, match="2 of the 960 points of the mesh are not finite"):
        Surface(broken, triangles)
    with pytest.raises(ScanError, match="does not exist"):
        Surface(vertices, triangles + 1)
    with pytest.raises(ScanError, match="none of the mesh's 2 triangles"):
        Surface(vertices, np.array([[0, 0, 1], [5, 5, 5]]))
    with pytest.raises(ScanError, match="none of the mesh's 0 triangles"):
        Surface(vertices, np.zeros((0, 3), int))
    with pytest.raises(ScanError, match=r"\(N, 3\)"):
        Surface(vertices[:, :2], triangles)
    with pytest.raises(ScanError, match=r"\(T, 3\)"):
        Surface(vertices, triangles[:, :2])
