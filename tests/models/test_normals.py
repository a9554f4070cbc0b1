"""Vertex normals against surfaces whose normals are known, and against a slow loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals
from facewright.models.normals_torch import vertex_normals as vertex_normals_torch


def height_field(
    height: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]], n: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(1, -1, n))
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate(
        [np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))]
    )
    vertices = np.stack([x, y, height(x, y)], axis=-1).reshape(1, -1, 3)
    return vertices, triangles.astype(np.int32)


def wave(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.3 * np.sin(2 * x) * np.cos(3 * y) + 0.2 * x * x


def slow_normals(
    vertices: NDArray[np.float64], triangles: NDArray[np.int32]
) -> NDArray[np.float64]:
    out = np.zeros_like(vertices)
    for v in range(vertices.shape[1]):
        total = np.zeros(3)
        for a, b, c in triangles:
            if v in (a, b, c):
                p, q, r = vertices[0, a], vertices[0, b], vertices[0, c]
                edges = [np.linalg.norm(e) for e in (q - p, r - q, p - r)]
                half = sum(edges) / 2  # Heron, as the area's own derivation
                area = np.sqrt(max(half * np.prod([half - e for e in edges]), 0.0))
                cross = np.cross(q - p, r - p)
                length = np.linalg.norm(cross)
                if length > 0:
                    total += area * cross / length
        length = np.linalg.norm(total)
        out[0, v] = total / length if length > 0 else [0, 0, 1]
    return out


def test_normals_of_a_smooth_surface_by_finite_differences() -> None:
    n, step = 161, 1e-6
    vertices, triangles = height_field(wave, n)
    x, y = vertices[0, :, 0], vertices[0, :, 1]
    slope_x = (wave(x + step, y) - wave(x - step, y)) / (2 * step)
    slope_y = (wave(x, y + step) - wave(x, y - step)) / (2 * step)
    expected = np.stack([-slope_x, -slope_y, np.ones_like(x)], axis=-1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    inner = np.zeros((n, n), bool)
    inner[1:-1, 1:-1] = True
    found = vertex_normals(vertices, triangles)[0]
    cosine = np.sum(found * expected, axis=1)[inner.ravel()]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.3


def test_weights_are_areas() -> None:
    vertices, triangles = height_field(wave, 6)
    vertices += np.random.default_rng(0).uniform(-0.1, 0.1, vertices.shape)
    expected = slow_normals(vertices, triangles)
    np.testing.assert_allclose(vertex_normals(vertices, triangles), expected, atol=1e-5)
    twin = vertex_normals_torch(torch.from_numpy(vertices), torch.from_numpy(triangles))
    np.testing.assert_allclose(twin, expected, atol=1e-6)


# Whole numbers keep every sum of cross products exact, so rounding decides no direction.
@given(hnp.arrays(np.int64, (2, 6, 3), elements=st.integers(-50, 50)))
def test_normals_are_unit_and_the_twin_agrees(vertices: np.ndarray) -> None:
    triangles = np.array([[0, 1, 2], [0, 2, 3], [2, 4, 3]], np.int32)
    normals = vertex_normals(vertices, triangles)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(normals[:, 5], [[0, 0, 1]] * 2)  # in no triangle
    twin = vertex_normals_torch(torch.from_numpy(vertices).float(), torch.from_numpy(triangles))
    np.testing.assert_allclose(normals, twin, atol=1e-6)


def test_a_batch_is_each_face_alone(model: MorphableModel) -> None:
    rng = np.random.default_rng(1)
    shapes = model.shape(
        rng.standard_normal((3, model.n_identity)), rng.standard_normal((3, model.n_expression))
    )
    together = vertex_normals(shapes, model.triangles)
    for face, normals in zip(shapes, together, strict=True):
        np.testing.assert_array_equal(vertex_normals(face[None], model.triangles)[0], normals)


def test_frozen_and_other_arrays_are_accepted(model: MorphableModel) -> None:
    frozen = vertex_normals(model.mean_vertices[None], model.triangles)
    loose = vertex_normals(model.mean_vertices[None].astype(np.float64), model.triangles.tolist())
    np.testing.assert_array_equal(frozen, loose)
    assert frozen[0].mean(axis=0)[2] > 0.5  # out of the face


def test_degenerate_triangles_give_forward_normals_and_no_gradient() -> None:
    vertices = torch.zeros((1, 4, 3), requires_grad=True)
    triangles = torch.tensor([[0, 1, 2]])
    normals = vertex_normals_torch(vertices, triangles)
    normals.sum().backward()
    assert torch.equal(normals, torch.tensor([[[0.0, 0.0, 1.0]] * 4]))
    assert vertices.grad is not None
    assert torch.isfinite(vertices.grad).all()


def test_gradients_by_finite_differences() -> None:
    vertices, triangles = height_field(wave, 4)
    argument = torch.tensor(np.concatenate([vertices, vertices[..., [1, 0, 2]]]))
    argument.requires_grad_()
    indices = torch.from_numpy(triangles)
    assert torch.autograd.gradcheck(lambda v: vertex_normals_torch(v, indices), (argument,))


@pytest.mark.parametrize(
    ("vertices", "triangles"),
    [
        (np.zeros((4, 3)), [[0, 1, 2]]),
        (np.zeros((1, 4, 2)), [[0, 1, 2]]),
        (np.zeros((1, 4, 3)), [[0, 1]]),
        (np.zeros((1, 4, 3)), [[0, 1, 4]]),
        (np.zeros((1, 4, 3)), [[0, -1, 2]]),
    ],
)
def test_wrong_shapes_and_indices_are_refused(vertices: np.ndarray, triangles: list) -> None:
    with pytest.raises(ValueError, match=r"expected|does not exist"):
        vertex_normals(vertices, np.array(triangles))


def test_frozen_and_other_arrays_share_one_compilation(model: MorphableModel) -> None:
    from facewright.models import normals

    vertex_normals(model.mean_vertices[None], model.triangles)
    vertex_normals(model.mean_vertices[None].copy(), model.triangles.copy())
    assert len(normals._accumulate.signatures) == 1
