"""The rasterizer against exact integer geometry, and its promises on edges, planes and ties."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import facewright.models.jit as jit
from facewright.models.rasterizer import Fragments, interpolate, rasterize, warm_up

HEIGHT, WIDTH = 9, 12
_FINE = 1 << 60

# Multiples of 1/4 px make vertices and edges fall on pixel centers often.
_quarter = st.integers(-12, 60).map(lambda n: n / 4)
_any_place = st.floats(-4, 16, width=32)
_place = st.one_of(_quarter, _any_place)
_depth = st.floats(2, 50, width=32)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    count = draw(st.integers(3, 8))
    points = [[draw(_place), draw(_place), draw(_depth)] for _ in range(count)]
    triangles = draw(
        hnp.arrays(np.int32, (draw(st.integers(1, 6)), 3), elements=st.integers(0, count - 1))
    )
    return np.array(points, np.float32), triangles


def snap(points: NDArray[Any]) -> NDArray[np.int64]:
    return np.floor(points[:, :2].astype(np.float64) * 256 + 0.5).astype(np.int64)


def covers(corners: NDArray[np.int64], row: int, column: int) -> bool:
    """Exact: the center, moved right by an infinitesimal and down by a smaller one, is inside."""
    # Integers of 2**-60 of 1/256 px stand for the infinitesimals: 2**30 and 1 of them move no
    # center of this size of scene across an edge that it does not lie on.
    x = (256 * column + 128) * _FINE + (1 << 30)
    y = (256 * row + 128) * _FINE + 1
    sides = []
    for here, there in zip(corners, np.roll(corners, -1, 0), strict=True):
        (ax, ay), (bx, by) = ([int(n) * _FINE for n in corner] for corner in (here, there))
        side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        if side == 0:
            return False  # only of a degenerate triangle
        sides.append(side > 0)
    return len(set(sides)) == 1


def seen(corners: NDArray[Any], row: int, column: int) -> NDArray[np.float64]:
    """Barycentric / depth of the point on the ray through a pixel's center, by linear algebra."""
    x, y, depth = np.asarray(corners, np.float64).T
    return np.linalg.solve(
        np.stack([x * depth, y * depth, depth]), np.array([column + 0.5, row + 0.5, 1.0])
    )


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_matches_exact_geometry(scene: tuple[NDArray[np.float32], NDArray[np.int32]]) -> None:
    points, triangles = scene
    ids, barycentric, depth = rasterize(points[None], triangles, HEIGHT, WIDTH)
    fixed = snap(points)
    snapped = np.concatenate([fixed / 256, points[:, 2:]], 1)
    for row, column in np.ndindex(HEIGHT, WIDTH):
        candidates = {
            number: 1 / seen(snapped[corners], row, column).sum()
            for number, corners in enumerate(triangles)
            if len(set(map(tuple, fixed[corners]))) == 3 and covers(fixed[corners], row, column)
        }
        winner = ids[0, row, column]
        if not candidates:
            assert winner == -1
            assert depth[0, row, column] == np.inf
            assert not barycentric[0, row, column].any()
            continue
        nearest = min(candidates.values())
        assert winner in candidates
        assert candidates[winner] == pytest.approx(nearest, rel=2e-6)
        assert depth[0, row, column] == pytest.approx(nearest, rel=2e-6)
        scaled = seen(snapped[triangles[winner]], row, column)
        np.testing.assert_allclose(
            barycentric[0, row, column], scaled / scaled.sum(), rtol=0, atol=1e-5
        )


def hits(points: NDArray[Any], triangles: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """How many triangles cover each pixel, each drawn alone."""
    return sum(
        (rasterize(points[None], triangle[None], height, width).triangle_ids[0] >= 0).astype(int)
        for triangle in triangles
    )


def grid_triangles(rows: int, columns: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Two triangles per cell, cut along a random diagonal, in random winding and rotation."""
    triangles = []
    for row in range(rows - 1):
        for column in range(columns - 1):
            a = row * columns + column
            b, c, d = a + 1, a + columns, a + columns + 1
            pair = [[a, b, c], [b, d, c]] if rng.random() < 0.5 else [[a, b, d], [a, d, c]]
            for triangle in pair:
                triangles.append(rng.permutation(triangle))
    return np.array(triangles, np.int32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_grid_covers_each_pixel_exactly_once(seed: int, on_centers: bool) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(3, 8, 2)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
    inner = (x > 0) & (x < columns - 1) & (y > 0) & (y < rows - 1)
    x += inner * rng.uniform(-0.24, 0.24, x.shape)
    y += inner * rng.uniform(-0.24, 0.24, x.shape)
    x, y = x * WIDTH / (columns - 1), y * HEIGHT / (rows - 1)
    if on_centers:
        x, y = (np.where(inner, np.round(2 * n) / 2, n) for n in (x, y))
    points = np.stack([x, y, rng.uniform(2, 50, x.shape)], -1).reshape(-1, 3)
    triangles = grid_triangles(rows, columns, rng)
    corners = points[triangles]
    sides = corners[:, 1:, :2] - corners[:, :1, :2]
    area = np.abs(np.linalg.det(sides)).sum() / 2
    if on_centers and not np.isclose(area, HEIGHT * WIDTH):
        return  # rounding folded the grid over
    assert (hits(points, triangles, HEIGHT, WIDTH) == 1).all()
    assert (rasterize(points[None], triangles, HEIGHT, WIDTH).triangle_ids >= 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_fan_covers_each_pixel_at_most_once_and_its_inside_exactly_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blades = int(rng.integers(5, 30))
    angles = 2 * np.pi * (np.arange(blades) + rng.uniform(0, 0.5, blades)) / blades
    radii = rng.uniform(8, 18, blades)
    hub = np.floor(rng.uniform(12, 20, 2)) + 0.5
    rim = hub + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    points = np.concatenate([[hub], rim])
    points = np.concatenate([points, rng.uniform(2, 50, (blades + 1, 1))], 1)
    around = np.arange(blades)
    triangles = np.stack([0 * around, 1 + around, 1 + (around + 1) % blades], -1)
    counts = hits(points, triangles, 32, 32)
    assert counts.max() == 1
    corners = rim, np.roll(rim, -1, 0)
    edge = corners[1] - corners[0]
    inner_radius = (
        np.abs(edge[:, 0] * (hub - rim)[:, 1] - edge[:, 1] * (hub - rim)[:, 0])
        / np.linalg.norm(edge, axis=1)
    ).min()
    row, column = np.mgrid[0:32, 0:32] + 0.5
    inside = np.hypot(column - hub[0], row - hub[1]) < inner_radius - 0.01
    assert inside.any()
    assert (counts[inside] == 1).all()


def camera_points(space: NDArray[Any], focal: float, center: tuple[float, float]) -> NDArray[Any]:
    """Points (x, y, depth) in camera space to (x px, y px, depth)."""
    x, y, depth = space.T
    return np.stack([center[0] + focal * x / depth, center[1] + focal * y / depth, depth], -1)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float64, (3, 3), elements=st.floats(-30, 30).filter(lambda n: abs(n) > 1e-2)),
    st.floats(0.5, 3),
)
def test_near_plane_cuts_what_is_behind(space: NDArray[np.float64], near: float) -> None:
    points = camera_points(space, 10.0, (6.0, 4.5)).astype(np.float32)
    ids, barycentric, depth = rasterize(points[None], [[0, 1, 2]], HEIGHT, WIDTH, near=near)
    seen_depths = depth[ids >= 0]
    assert (seen_depths >= near * (1 - 1e-5)).all()
    for row, column in np.ndindex(HEIGHT, WIDTH):
        # Clear hits and clear misses: a shift of the ray by the snapping changes neither.
        answers = set()
        for shift_x, shift_y in [
            (0, 0),
            (0.02, 0.02),
            (0.02, -0.02),
            (-0.02, 0.02),
            (-0.02, -0.02),
        ]:
            try:
                scaled = seen(points, row + shift_y, column + shift_x)
            except np.linalg.LinAlgError:
                answers.add("degenerate")
                break
            total = scaled.sum()
            inside = total > 0 and (scaled >= 0).all()
            answers.update(inside and 1 / total >= near * slack for slack in (0.999, 1.001))
        if answers == {True}:
            assert ids[0, row, column] == 0
            np.testing.assert_allclose(barycentric[0, row, column].sum(), 1, atol=1e-5)
            seen_inverse_depth = 1 / depth[0, row, column]
            span = [
                seen(points, row + y, column + x).sum()
                for x in (-0.02, 0.02)
                for y in (-0.02, 0.02)
            ]
            assert min(span) * 0.999 <= seen_inverse_depth <= max(span) * 1.001
        elif answers == {False}:
            assert ids[0, row, column] == -1


def test_ground_behind_and_below_the_camera_has_no_cracks() -> None:
    rng = np.random.default_rng(4)
    count = 13
    z, x = np.meshgrid(np.linspace(-37, 401, count), np.linspace(-707, 711, count))
    space = np.stack([x, np.full_like(x, 5.0), z], -1).reshape(-1, 3)
    points = camera_points(space, 20.0, (32.0, 8.0))
    triangles = grid_triangles(count, count, rng)
    counts = hits(points, triangles, 64, 64)
    horizon = 8  # the farthest ground is seen at 8 + 20 * 5 / 401, above the center of row 8
    assert (counts[:horizon] == 0).all()
    assert (counts[horizon:] == 1).all()
    together = rasterize(points[None], triangles, 64, 64)
    rows = np.arange(horizon, 64) + 0.5
    np.testing.assert_allclose(together.depth[0, horizon:, 30], 100 / (rows - 8), rtol=3e-3)


def test_points_on_the_camera_plane_and_not_finite_points_are_skipped() -> None:
    whole = [[-50, -50, 5], [80, -50, 5], [0, 200, 5]]
    for bad in (np.nan, np.inf, -np.inf):
        for axis in range(3):
            points = np.array([[*whole, *whole]], np.float32)
            points[0, 1, axis] = bad
            triangles = [[0, 1, 2], [3, 4, 5]]
            ids = rasterize(points, triangles, HEIGHT, WIDTH).triangle_ids
            assert (ids == 1).all()


# An edge from the camera to the stars: its cut at the near plane is lost to rounding.
LONG_EDGE = np.array(
    [[0, 1, 1], [1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 9.0072e15]], dtype=np.float32
)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float32, (5, 3), elements=st.floats(width=32)),
    hnp.arrays(np.int32, (4, 3), elements=st.integers(0, 4)),
)
@example(LONG_EDGE, np.array([[1, 1, 1], [1, 1, 1], [1, 1, 1], [4, 0, 1]], np.int32))
def test_any_floats_are_safe(points: NDArray[np.float32], triangles: NDArray[np.int32]) -> None:
    ids, barycentric, depth = rasterize(points[None], triangles, HEIGHT, WIDTH)
    assert ids.min() >= -1
    assert ids.max() < 4
    drawn = ids >= 0
    assert (barycentric >= 0).all()
    np.testing.assert_allclose(barycentric[drawn].sum(-1), 1, atol=1e-5)
    assert (depth[drawn] >= 0.999).all()
    assert (depth[~drawn] == np.inf).all()


@pytest.mark.parametrize("reach", [1e2, 1e5, 1.4e5, 1e9, 1e20, 1e30])
def test_huge_triangles_cover_the_whole_image_without_a_seam(reach: float) -> None:
    a, b = [-reach, -reach * 0.7, 10], [reach, reach * 0.9, 20]
    points = np.array([a, b, [reach, -reach, 30], [-reach, reach, 40]], np.float32)
    triangles = np.array([[0, 1, 2], [1, 0, 3]])
    assert (hits(points, triangles, HEIGHT, WIDTH) == 1).all()


def test_lower_id_wins_equal_depth() -> None:
    points = np.array([[[0, 0, 5], [20, 0, 7], [0, 20, 9], [0, 0, 5], [20, 0, 7], [0, 20, 9]]])
    for triangles in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        fragments = rasterize(points, triangles, 8, 8)
        assert (fragments.triangle_ids == 0).all()


def test_nearer_triangle_hides_farther_in_either_order() -> None:
    corner = np.array([[-9.0, -9], [40, -9], [-9, 40]])
    points = np.array([[*np.c_[corner, [9, 9, 9]], *np.c_[corner, [3, 3, 3]]]])
    for triangles, nearest in (([[0, 1, 2], [3, 4, 5]], 1), ([[3, 4, 5], [2, 1, 0]], 0)):
        fragments = rasterize(points, triangles, 8, 8)
        assert (fragments.triangle_ids == nearest).all()
        np.testing.assert_allclose(fragments.depth, 3, rtol=1e-6)


def test_batch_is_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform([-4, -4, 2], [20, 20, 40], (3, 12, 3)).astype(np.float32)
    triangles = rng.integers(0, 12, (9, 3))
    together = rasterize(points, triangles, 16, 16)
    for image in range(3):
        alone = rasterize(points[image : image + 1], triangles, 16, 16)
        for whole, part in zip(together, alone, strict=True):
            np.testing.assert_array_equal(whole[image], part[0])


def test_interpolation_recovers_what_the_camera_sees() -> None:
    rng = np.random.default_rng(2)
    space = rng.uniform([-20, -20, 20], [20, 20, 60], (2, 30, 3))
    points = np.stack([camera_points(s, 16, (16, 16)) for s in space])
    triangles = rng.integers(0, 30, (25, 3))
    fragments = rasterize(points, triangles, 32, 32)
    seen_space = interpolate(fragments, triangles, space)
    drawn = fragments.triangle_ids >= 0
    assert drawn.any()
    assert not seen_space[~drawn].any()
    np.testing.assert_allclose(seen_space[..., 2][drawn], fragments.depth[drawn], rtol=1e-5)
    _, rows, columns = np.nonzero(drawn)
    image_x = 16 + 16 * seen_space[..., 0][drawn] / fragments.depth[drawn]
    # The mesh is snapped to 1/256 px, of which slivers seen edge-on make more.
    assert np.quantile(np.abs(image_x - columns - 0.5), 0.95) < 4 / 256


@pytest.mark.parametrize(
    ("count", "n_points", "n_triangles", "height", "width"),
    [(0, 3, 1, 4, 5), (2, 3, 0, 4, 5), (1, 0, 0, 4, 5), (1, 3, 1, 0, 5), (1, 3, 1, 4, 0)],
)
def test_empty_input(count: int, n_points: int, n_triangles: int, height: int, width: int) -> None:
    triangles = np.zeros((n_triangles, 3), np.int32)
    fragments = rasterize(np.ones((count, n_points, 3)), triangles, height, width)
    assert fragments.triangle_ids.shape == (count, height, width)
    assert fragments.barycentric.shape == (count, height, width, 3)
    assert (fragments.triangle_ids == -1).all()
    values = interpolate(fragments, triangles, np.ones((count, n_points, 2)))
    assert values.shape == (count, height, width, 2)
    assert not values.any()


def test_refuses_what_it_cannot_draw() -> None:
    points = np.ones((1, 3, 3))
    triangle = np.array([[0, 1, 2]])
    for bad in (
        lambda: rasterize(points[0], triangle, 4, 4),
        lambda: rasterize(points, triangle[0], 4, 4),
        lambda: rasterize(points, triangle + 1, 4, 4),
        lambda: rasterize(points, triangle - 1, 4, 4),
        lambda: rasterize(points, triangle, -1, 4),
        lambda: rasterize(points, triangle, 4, 1 << 17),
        lambda: rasterize(points, triangle, 4, 4, near=0),
        lambda: rasterize(points, triangle, 4, 4, near=np.nan),
        lambda: interpolate(rasterize(points, triangle, 4, 4), triangle, np.ones((2, 3, 1))),
        lambda: interpolate(rasterize(points, triangle, 4, 4), triangle, np.ones((1, 2, 1))),
        lambda: interpolate(
            Fragments(np.ones((1, 2, 2)), np.ones((1, 2, 2, 3)), np.ones((1, 2, 2))),
            triangle,
            points,
        ),
    ):
        with pytest.raises(ValueError):
            bad()


def test_warm_up_compiles_the_types_used_in_earnest() -> None:
    warm_up()
    import facewright.models.rasterizer as module

    kernels = [
        value
        for value in vars(module).values()
        if isinstance(value, numba.core.dispatcher.Dispatcher)
    ]
    before = {kernel: len(kernel.signatures) for kernel in kernels}
    assert sum(before.values()) >= 3
    points = np.random.default_rng(0).uniform(-2, 9, (2, 40, 3)).astype(np.float32)
    triangles = np.arange(39, dtype=np.int32).reshape(13, 3)
    for array in (points, triangles):
        array.flags.writeable = False
    interpolate(rasterize(points, triangles, 8, 8, near=2), triangles, np.ones((2, 40, 5)))
    assert {kernel: len(kernel.signatures) for kernel in kernels} == before


def test_kernels_compile_where_no_cache_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def without_cache(*args: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **options)

    monkeypatch.setattr(numba, "njit", without_cache)

    def double(x: float) -> float:
        return 2 * x

    assert jit.kernel(double)(2.0) == 4.0
