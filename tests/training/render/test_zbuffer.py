from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from facewright.models import rasterizer
from facewright.models.camera import CAMERA_DISTANCE, CROP_SIZE, FOCAL_LENGTH
from facewright.models.camera_torch import depth, pose_points, project
from facewright.training.render import make_renderer
from facewright.training.render.interpolation import NEAR

render = make_renderer(torch.device("cpu"))


def by_ray_casting(points: np.ndarray, triangles: np.ndarray, size: int) -> tuple:
    """Ids (S, S) of the nearest triangles by solving for every ray and triangle; margins too."""
    half = CROP_SIZE / 2
    centers = (np.arange(size) + 0.5) * CROP_SIZE / size
    column, row = np.meshgrid(centers, centers)
    rays = np.stack(
        [(column - half) / FOCAL_LENGTH, -(row - half) / FOCAL_LENGTH, -np.ones_like(row)], -1
    ).reshape(-1, 3)
    camera = np.array([0, 0, CAMERA_DISTANCE])
    nearest = np.full(len(rays), np.inf)
    ids = np.full(len(rays), -1)
    margins = np.full(len(rays), np.inf)
    for t, corners in enumerate(points[triangles]):
        a, b, c = corners
        # camera + s ray = a + v (b - a) + w (c - a)
        system = np.stack(
            [rays, *np.broadcast_to([a - b, a - c], (len(rays), 2, 3)).swapaxes(0, 1)]
        )
        s, v, w = np.linalg.solve(system.transpose(1, 2, 0), (a - camera)[None, :, None])[..., 0].T
        inside = np.minimum(np.minimum(v, w), 1 - v - w)
        margins = np.minimum(margins, np.abs(inside))
        seen = (inside > 0) & (s > 0) & (s < nearest)
        nearest[seen], ids[seen] = s[seen], t
    return ids.reshape(size, size), margins.reshape(size, size)


def test_sees_what_ray_casting_sees(triangles: Tensor, posed: Tensor) -> None:
    size = 48
    n_triangles = len(triangles)
    # With three vertices of its own, every triangle can show its number and its front.
    loose = posed[:, triangles].flatten(1, 2)
    own = torch.arange(3 * n_triangles).view(-1, 3)
    numbers = (
        torch.arange(n_triangles).repeat_interleave(3).double()[None, :, None].expand(3, -1, 1)
    )
    rendering = render(loose, own, numbers, size)
    assert rendering.image.shape == (3, 1, size, size)
    assert rendering.mask.shape == (3, size, size)
    for n in range(3):
        points = posed[n].numpy()
        ids, margins = by_ray_casting(points, triangles.numpy(), size)
        a, b, c = points[triangles.numpy()].transpose(1, 0, 2)
        facing = (np.cross(b - a, c - a) * (np.array([0, 0, CAMERA_DISTANCE]) - a)).sum(1) > 0
        front = (ids >= 0) & facing[ids]
        sure = margins > 0.02
        assert sure.mean() > 0.5
        np.testing.assert_array_equal(rendering.mask[n].numpy()[sure], front[sure])
        found = rendering.image[n, 0].numpy()
        np.testing.assert_allclose(found[sure & front], ids[sure & front], atol=1e-9)
        assert (found[~rendering.mask[n].numpy()] == 0).all()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([33, 64, 112, 224, 300]),
    st.floats(-2, 8.5),
)
def test_positions_interpolate_to_the_pixels_center(
    vertices: Tensor, triangles: Tensor, seed: int, size: int, nearer: float
) -> None:
    """What a pixel sees lies on its ray: perspective-correct at any size, also near the camera."""
    rng = np.random.default_rng(seed)
    angles = torch.from_numpy(rng.normal(0, 0.4, (2, 3)))
    shift = torch.tensor([[0.1, -0.1, nearer]]).double().expand(2, -1)
    posed = pose_points(vertices.expand(2, -1, -1), angles, shift)
    rendering = render(posed, triangles, posed, size)
    assert rendering.mask.any()
    where = rendering.mask.nonzero()
    seen = rendering.image.permute(0, 2, 3, 1)[rendering.mask]
    centers = (where[:, [2, 1]].double() + 0.5) * CROP_SIZE / size
    away = (project(seen) - centers).norm(dim=1) * size / CROP_SIZE
    # Exact but for pixels on an edge, which a rasterizer takes from 1/256 px away; of a sliver
    # the nearest point may be farther.
    assert away.quantile(0.9) < 1e-9
    assert (away > 0.02).sum() <= 2
    assert away.max() < 1


def test_agrees_with_the_rasterizer_in_float32(triangles: Tensor, posed: Tensor) -> None:
    points = torch.cat([project(posed), depth(posed)[..., None]], -1).numpy()
    colors = np.random.default_rng(0).random((*posed.shape[:2], 4)).astype(np.float32)
    fragments = rasterizer.rasterize(points, triangles.numpy(), CROP_SIZE, CROP_SIZE)
    expected = rasterizer.interpolate(fragments, triangles.numpy(), colors)
    rendering = render(posed.float(), triangles, torch.from_numpy(colors))
    assert rendering.image.dtype == torch.float32
    difference = rendering.image.permute(0, 2, 3, 1).numpy() - expected
    assert np.abs(difference[rendering.mask.numpy()]).max() < 0.01
    # What the rasterizer sees and the picture lacks are backs.
    only_there = (fragments.triangle_ids >= 0) & ~rendering.mask.numpy()
    assert not only_there[0].any()


def interior(posed: Tensor, triangles: Tensor, size: int) -> Tensor:
    """(N, S, S) bool: pixels well inside the triangle that they see."""
    points = torch.cat([project(posed) * size / CROP_SIZE, depth(posed)[..., None]], -1)
    fragments = rasterizer.rasterize(points.numpy(), triangles.numpy(), size, size)
    return torch.from_numpy((fragments.barycentric > 0.05).all(-1))


def test_gradients_by_finite_differences(triangles: Tensor, posed: Tensor) -> None:
    size = 20
    inside = interior(posed, triangles, size)
    assert inside.sum() > 200
    colors = torch.rand(
        *posed.shape[:2], 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )

    def pixels(posed: Tensor, colors: Tensor) -> Tensor:
        image, mask = render(posed, triangles, colors, size)
        return image.permute(0, 2, 3, 1)[mask & inside]

    arguments = (posed.clone().requires_grad_(), colors.requires_grad_())
    assert torch.autograd.gradcheck(pixels, arguments, eps=1e-5, atol=1e-6, fast_mode=True)
    # A second way: every single number of one vertex in the middle of the first picture.
    weights = torch.randn(
        pixels(*arguments).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    gradient = torch.autograd.grad((pixels(*arguments) * weights).sum(), arguments)
    vertex = posed.shape[1] // 2
    for argument, found in zip(arguments, gradient, strict=True):
        for k in range(argument.shape[2]):
            values = []
            for step in (-1e-4, 1e-4):
                moved = [a.detach().clone() for a in arguments]
                moved[0 if argument is arguments[0] else 1][0, vertex, k] += step
                values.append((pixels(*moved) * weights).sum())
            expected = (values[1] - values[0]) / 2e-4
            assert found[0, vertex, k] != 0
            torch.testing.assert_close(found[0, vertex, k], expected, rtol=1e-5, atol=1e-7)


def test_gradients_reach_the_pose(vertices: Tensor, triangles: Tensor) -> None:
    size = 20
    angles = torch.tensor([[0.05, 0.3, 0.1]], dtype=torch.float64, requires_grad=True)
    shift = torch.tensor([[0.1, 0.0, -0.3]], dtype=torch.float64, requires_grad=True)
    vertices = vertices[None]
    inside = interior(pose_points(vertices, angles, shift).detach(), triangles, size)

    def pixels(angles: Tensor, shift: Tensor) -> Tensor:
        rendering = render(pose_points(vertices, angles, shift), triangles, vertices, size)
        return rendering.image.permute(0, 2, 3, 1)[rendering.mask & inside]

    assert torch.autograd.gradcheck(pixels, (angles, shift), eps=1e-6, atol=1e-4)


def square(z: float, *, back: bool = False) -> tuple[Tensor, Tensor]:
    points = torch.tensor([[-30, -30, z], [30, -30, z], [30, 30, z], [-30, 30, z]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return points, triangles.flip(1) if back else triangles


def test_backs_hide_but_are_not_drawn() -> None:
    behind, front = square(-50.0)
    before, back = square(50.0, back=True)
    before[:, 0] += 30  # hides the right half
    points = torch.cat([behind, before])[None]
    rendering = render(points, torch.cat([front, back + 4]), torch.ones(1, 8, 1))
    assert rendering.mask[0, 112, 90]
    assert not rendering.mask[0, 112, 130]
    torch.testing.assert_close(rendering.image[0, 0], rendering.mask[0].float())
    alone = render(before[None], back, torch.ones(1, 4, 1))
    assert not alone.mask.any()


def test_triangles_seen_edge_on_give_finite_values_and_gradients() -> None:
    # Along the ray of the pixel (112, 112), and slivers around it.
    half_pixel = 0.5 / FOCAL_LENGTH
    for width in (0.0, 1e-6, 1e-4, 1e-3, 1e-2):
        points = torch.zeros(1, 3, 3)
        for k, z in enumerate((0.0, 50.0, 100.0)):
            points[0, k] = torch.tensor([half_pixel, -half_pixel, 0.0]) * (CAMERA_DISTANCE - z)
            points[0, k, 2] = z
        points[0, 1, 0] += width
        points[0, 2, 1] -= width
        points.requires_grad_()
        colors = torch.eye(3)[None].requires_grad_()
        for order in ([0, 1, 2], [0, 2, 1]):
            image, _ = render(points, torch.tensor([order]), colors)
            image.square().sum().backward()
        assert image.isfinite().all()
        assert image.max() <= 1
        assert points.grad is not None
        assert points.grad.isfinite().all()
        assert colors.grad is not None
        assert colors.grad.isfinite().all()


def test_meshes_around_the_camera_are_cut() -> None:
    points, triangles = square(0.0)
    points[2:, 1:] = torch.tensor([90.0, 2 * CAMERA_DISTANCE])  # behind the camera, above it
    points = points[None].clone().requires_grad_()
    rendering = render(points, triangles, points)
    assert rendering.mask.any()
    seen = rendering.image.permute(0, 2, 3, 1)[rendering.mask]
    assert depth(seen).min() > 0.99 * NEAR
    rendering.image.square().mean().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()


@pytest.mark.parametrize("position", [(0.0, 0.0, 5000.0), (1e6, 0.0, 0.0), (float("nan"),) * 3])
def test_nothing_to_see_is_an_empty_picture(position: tuple[float, ...]) -> None:
    points, triangles = square(0.0)
    points = (points + torch.tensor(position))[None].requires_grad_()
    colors = torch.ones(1, 4, 3, requires_grad=True)
    rendering = render(points, triangles, colors)
    assert not rendering.mask.any()
    assert torch.equal(rendering.image, torch.zeros(1, 3, 224, 224))
    rendering.image.sum().backward()
    assert colors.grad is not None
    assert not colors.grad.any()


def test_a_batch_is_each_mesh_alone(triangles: Tensor, posed: Tensor) -> None:
    colors = posed.cos()
    together = render(posed, triangles, colors, 64)
    for n in range(3):
        alone = render(posed[n : n + 1], triangles, colors[n : n + 1], 64)
        assert torch.equal(alone.image[0], together.image[n])
        assert torch.equal(alone.mask[0], together.mask[n])
