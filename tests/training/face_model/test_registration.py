from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.training.face_model import registration
from facewright.training.face_model.registration import (
    Registration,
    Target,
    Template,
    barycentric,
    bending_energy,
    seen_vertices,
)
from facewright.training.face_model.subdivision import subdivide

SIDE = 15
SPACING = 10.0


def quads_of(side: int) -> np.ndarray:
    index = np.arange(side * side).reshape(side, side)
    corners = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.stack([c.ravel() for c in corners], axis=1)


def sheet(side: int, spacing: float, height) -> np.ndarray:
    at = (np.arange(side) - (side - 1) / 2) * spacing
    y, x = np.meshgrid(at, at, indexing="ij")
    return np.stack([x, y, height(x, y)], axis=-1).reshape(-1, 3)


def triangles_of(quads: np.ndarray) -> np.ndarray:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def hill(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 6 * np.exp(-(x**2 + y**2) / 900) - 0.001 * (x**2 + y**2)


@pytest.fixture(scope="module")
def pair() -> tuple[Template, Target]:
    """A flat sheet, to be brought onto a finer one with a hill in the middle."""
    quads = quads_of(SIDE)
    cage = sheet(SIDE, SPACING, lambda x, y: 0 * x)
    index = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    mirror = index[:, ::-1].ravel()
    dense = subdivide(quads, len(cage), mirror, levels=2)
    fine = triangles_of(dense.faces)
    points = dense.matrix @ cage
    # Landmarks go around the middle; chains of them become curves.
    angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    wanted = np.stack([55 * np.cos(angles), 50 * np.sin(angles), 0 * angles], axis=1)
    marks = np.array([np.linalg.norm(points - p, axis=1).argmin() for p in wanted])
    target_side = 45
    target = sheet(target_side, SPACING * (SIDE - 1) / (target_side - 1), hill)
    target_marks = np.array(
        [np.linalg.norm(target[:, :2] - points[m, :2], axis=1).argmin() for m in marks]
    )
    template = Template(
        cage, dense.matrix, fine, np.ones(len(fine), bool), dense.matrix[marks], marks, mirror
    )
    left_out = np.zeros(len(target), bool)
    return template, Target(target, triangles_of(quads_of(target_side)), target_marks, left_out)


def test_registration_lands_on_the_target(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    template, target = pair
    # A sheet has no pocket whose rim would be left out.
    monkeypatch.setattr(registration, "STIFFNESS", (300.0, 30.0, 3.0, 1.0))
    skin = template.skin.copy()
    border = np.abs((template.matrix @ template.cage)[template.triangles]).max((1, 2)) > 68
    skin[border] = False
    template = Template(**{**vars(template), "skin": skin})
    machinery = Registration(template, target)
    told: list[str] = []
    cage = machinery.run(told.append)
    assert len(told) == 4
    match = machinery.match(cage, 1.0)
    counted = match.area > 0
    assert counted.mean() > 0.8
    assert np.abs(match.distance[counted]).mean() < 0.05
    np.testing.assert_allclose(cage[template.mirror] * [-1, 1, 1], cage, atol=1e-9)

    # A field on the target is carried along: here a lift of its right half.
    lift = np.zeros((2, len(target.vertices), 3), np.float32)
    lift[0, :, 2] = 1
    lift[1, :, 2] = target.vertices[:, 0] / 50
    carried = machinery.carry(cage, lift)
    on_surface = template.matrix[match.rows[counted]] @ carried[1]
    np.testing.assert_allclose(on_surface, match.values(lift[1])[counted], atol=0.05)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_bending_energy_is_zero_for_affine_maps_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    quads = quads_of(6)
    points = sheet(6, 3.0, lambda x, y: 0 * x)
    form = bending_energy(points, triangles_of(quads), sp.identity(len(points), format="csr"))
    assert abs(form - form.T).max() < 1e-9
    inside = np.zeros((6, 6), bool)
    inside[1:-1, 1:-1] = True
    bump = np.zeros(len(points))
    bump[inside.ravel()] = rng.normal(size=16)
    assert bump @ (form @ bump) > 0
    constant = np.full(len(points), rng.normal())
    assert constant @ (form @ constant) == pytest.approx(0, abs=1e-9)


def test_what_lies_behind_is_not_seen() -> None:
    quads = quads_of(9)
    front = sheet(9, 10.0, lambda x, y: 0 * x)
    hidden = front * [0.3, 0.3, 1] - [0, 0, 6]
    triangles = triangles_of(quads)
    both = np.concatenate([triangles, triangles + len(front)])
    seen = seen_vertices(np.concatenate([front, hidden]), both, np.zeros(3))
    assert seen[: len(front)].mean() > 0.9
    assert not seen[len(front) :].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_barycentric_coordinates_give_the_point_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.normal(size=(5, 3, 3))
    shares = rng.dirichlet(np.ones(3), 5)
    points = np.einsum("nk,nkj->nj", shares, corners)
    np.testing.assert_allclose(barycentric(corners, points), shares, atol=1e-6)
