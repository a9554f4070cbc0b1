from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from facewright.models.landmarks import MIRROR_ORDER
from facewright.models.morphable_model import MorphableModel
from facewright.models.morphable_model_torch import TorchMorphableModel
from facewright.models.subdivision import Subdivision


def coefficients(model: MorphableModel, n: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    counts = (model.n_identity, model.n_expression, model.n_albedo)
    return tuple(rng.standard_normal((n, count)).astype(np.float32) for count in counts)


def cage_matrix(model: MorphableModel) -> np.ndarray:
    """(V, C): the subdivision with its zeros."""
    rows = model.subdivision
    assert rows is not None
    return sparse.csr_matrix((rows.data, rows.indices, rows.indptr), rows.shape).toarray()


def dense(model: MorphableModel) -> MorphableModel:
    """The same model without a cage, refined in float64 one mode at a time."""
    matrix = cage_matrix(model).astype(np.float64)

    def refine(cages: np.ndarray) -> np.ndarray:
        return np.stack([matrix @ cage for cage in cages.astype(np.float64)]).astype(np.float32)

    return dataclasses.replace(
        model,
        mean_shape=refine(model.mean_shape[None])[0],
        identity_basis=refine(model.identity_basis),
        expression_basis=refine(model.expression_basis),
        subdivision=None,
    )


def test_shape_is_equation_1(model: MorphableModel) -> None:
    identity, expression, _ = coefficients(model, 3)
    cages = np.zeros((3, *model.mean_shape.shape))
    for n in range(3):
        cages[n] = model.mean_shape
        for k in range(model.n_identity):
            cages[n] += float(identity[n, k]) * model.identity_basis[k].astype(np.float64)
        for k in range(model.n_expression):
            cages[n] += float(expression[n, k]) * model.expression_basis[k].astype(np.float64)
    expected = np.stack([cage_matrix(model) @ cage for cage in cages])
    shapes = model.shape(identity, expression)
    assert shapes.dtype == np.float32
    assert shapes.flags.c_contiguous
    assert shapes.shape == (3, model.n_vertices, 3)
    np.testing.assert_allclose(shapes, expected, atol=1e-4)


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("modes", [79, 80])
def test_albedo_is_equation_1_clipped(
    model: MorphableModel, loaded: bool, modes: int, tmp_path: Path
) -> None:
    model = dataclasses.replace(model, albedo_basis=model.albedo_basis[:modes])
    if loaded:  # with a basis that 8 bits hold
        model.save(tmp_path / "model.npz")
        model = MorphableModel.load(tmp_path / "model.npz")
    albedo = 20 * np.random.default_rng(0).standard_normal((2, modes), np.float32)
    expected = model.mean_albedo + np.einsum("nk,kvc->nvc", albedo, model.albedo_basis)
    assert expected.min() < 0
    assert expected.max() > 1
    np.testing.assert_allclose(model.albedo(albedo), expected.clip(0, 1), atol=1e-5)


def test_a_cage_and_its_dense_equivalent_are_the_same_model(model: MorphableModel) -> None:
    flat = dense(model)
    assert flat.n_cage_vertices == flat.n_vertices == model.n_vertices
    identity, expression, _ = coefficients(model, 2)
    np.testing.assert_allclose(
        flat.shape(identity, expression), model.shape(identity, expression), atol=1e-4
    )
    np.testing.assert_allclose(flat.five_points, model.five_points, atol=1e-5)


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(0, 1000))
def test_a_batch_is_each_face_alone(model: MorphableModel, n: int, seed: int) -> None:
    identity, expression, albedo = coefficients(model, n, seed)
    shapes, albedos = model.shape(identity, expression), model.albedo(albedo)
    for i in range(n):
        one = slice(i, i + 1)
        np.testing.assert_allclose(
            model.shape(identity[one], expression[one])[0], shapes[i], atol=1e-4
        )
        np.testing.assert_allclose(model.albedo(albedo[one])[0], albedos[i], atol=1e-5)


def test_no_coefficients_give_the_mean_and_no_faces_give_none(model: MorphableModel) -> None:
    zeros = np.zeros((1, model.n_identity)), np.zeros((1, model.n_expression))
    np.testing.assert_array_equal(model.shape(*zeros)[0], model.mean_vertices)
    empty = model.shape(np.zeros((0, model.n_identity)), np.zeros((0, model.n_expression)))
    assert empty.shape == (0, model.n_vertices, 3)
    assert model.albedo(np.zeros((0, model.n_albedo))).shape == (0, model.n_vertices, 3)


def test_five_points_come_from_the_landmarks_in_the_images_order(model: MorphableModel) -> None:
    points = model.mean_vertices[model.landmarks]
    expected = [
        sum(points[36:42]) / 6, sum(points[42:48]) / 6, points[30], points[48], points[54],
    ]  # fmt: skip
    np.testing.assert_allclose(model.five_points, expected, atol=1e-5)
    left_eye, right_eye, nose, left_corner, right_corner = model.five_points
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_corner[0] < right_corner[0]
    assert left_eye[1] > nose[1] > left_corner[1]


def test_fixture_is_mirrored(model: MorphableModel) -> None:
    np.testing.assert_array_equal(model.mirror[model.landmarks], model.landmarks[MIRROR_ORDER])


@pytest.mark.parametrize(
    ("identity", "expression"), [((2, 79), (2, 64)), ((2, 80), (2, 63)), ((2, 80), (1, 64))]
)
def test_wrong_coefficients_are_refused(
    model: MorphableModel, identity: tuple[int, int], expression: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match=r"expected|but"):
        model.shape(np.zeros(identity), np.zeros(expression))
    with pytest.raises(ValueError, match="expected"):
        model.albedo(np.zeros(80))


def test_arrays_are_frozen_and_the_callers_are_not(model: MorphableModel) -> None:
    mine = np.array(model.uv)
    other = dataclasses.replace(model, uv=mine)
    mine[0] = 0.5
    assert mine.flags.writeable
    for name in ("mean_shape", "triangles", "albedo_basis", "mean_vertices", "five_points"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(other, name)[...] = 0
    assert other.subdivision is not None
    with pytest.raises(ValueError, match="read-only"):
        other.subdivision.data[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.uv = mine  # type: ignore[misc]


def test_a_model_can_be_pickled_to_worker_processes(model: MorphableModel) -> None:
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.mean_vertices, model.mean_vertices)


def changed(model: MorphableModel, name: str, change: Any) -> dict[str, Any]:
    array = np.array(getattr(model, name))
    change(array)
    return {name: array}


def put(index: Any, value: float) -> Any:
    def change(array: np.ndarray) -> None:
        array[index] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("mean_shape", put((0, 0), np.nan), "finite"),
        ("identity_basis", put((0, 0, 0), np.inf), "finite"),
        ("albedo_basis", put((0, 0, 0), np.nan), "finite"),
        ("triangles", put((0, 0), -1), "does not exist"),
        ("triangles", put((0, 0), 10**6), "does not exist"),
        ("landmarks", put(5, 10**6), "does not exist"),
        ("mirror", put(5, -1), "does not exist"),
        ("parts", put(0, 5), "parts"),
        ("uv", put((0, 1), 1.5), r"\[0, 1\]"),
        ("mean_albedo", put((0, 1), -0.1), r"\[0, 1\]"),
    ],
)
def test_unsound_values_are_refused(
    model: MorphableModel, name: str, change: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(model, **changed(model, name, change))


@pytest.mark.parametrize(
    ("name", "convert", "reason"),
    [
        ("mean_shape", lambda a: a.astype(np.float64), "float32"),
        ("mean_shape", lambda a: a[:-1], "shape"),
        ("mean_shape", lambda a: a.tolist(), "float32"),
        ("identity_basis", lambda a: a.reshape(len(a), -1), "shape"),
        ("triangles", lambda a: a.astype(np.int64), "int32"),
        ("triangles", lambda a: a[:0], "needs vertices"),
        ("landmarks", lambda a: a[:67], "shape"),
        ("skin_region", lambda a: a.astype(np.uint8), "bool"),
        ("mirror", lambda a: a[:-1], "shape"),
        ("expression_units", lambda _: ("jawOpen",), "expression_units"),
        ("expression_units", lambda _: ("jawOpen", "jawOpen"), "expression_units"),
        ("metadata", lambda m: {k: v for k, v in m.items() if k != "licence"}, "licence"),
        ("subdivision", lambda _: None, "every vertex"),
        ("subdivision", lambda s: Subdivision(s.data, s.indices, s.indptr, (525, 144)), "shape"),
    ],
)
def test_unsound_arrays_are_refused(
    model: MorphableModel, name: str, convert: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(model, **{name: convert(getattr(model, name))})


def test_torch_twin_agrees_to_a_ten_thousandth_of_a_millimeter(model: MorphableModel) -> None:
    identity, expression, albedo = coefficients(model, 5)
    twin = TorchMorphableModel(model)
    shapes = twin.shape(torch.from_numpy(identity), torch.from_numpy(expression))
    assert np.abs(shapes.numpy() - model.shape(identity, expression)).max() < 1e-4
    albedos = twin.albedo(torch.from_numpy(3 * albedo))
    assert np.abs(albedos.numpy() - model.albedo(3 * albedo)).max() < 1e-5


def test_torch_gradients_by_finite_differences(model: MorphableModel) -> None:
    few = dataclasses.replace(
        model,
        identity_basis=model.identity_basis[:3],
        expression_basis=model.expression_basis[:2],
        expression_unit_coefficients=model.expression_unit_coefficients[:, :2],
        albedo_basis=model.albedo_basis[:3],
    )
    twin = TorchMorphableModel(few).double()
    rng = np.random.default_rng(3)

    def leaf(k: int) -> torch.Tensor:
        return torch.tensor(rng.standard_normal((2, k)), requires_grad=True)

    assert torch.autograd.gradcheck(
        lambda i, e: twin.shape(i, e)[:, ::50], (leaf(3), leaf(2)), atol=1e-4
    )
    assert torch.autograd.gradcheck(lambda a: twin.albedo(a)[:, ::50], (leaf(3),), atol=1e-4)


def test_torch_twin_adds_nothing_to_a_checkpoint(model: MorphableModel) -> None:
    twin = TorchMorphableModel(model)
    assert not twin.state_dict()
    assert not list(twin.parameters())
