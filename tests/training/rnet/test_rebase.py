from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from facewright.models.layout import LAYOUT_239
from facewright.models.rnet_torch import RNet
from facewright.training.rnet.rebase import RebaseError, coefficient_map, rebase


def test_a_turned_basis_is_turned_back() -> None:
    rng = np.random.default_rng(0)
    old = rng.normal(size=(4, 30))
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    matrix, offset = coefficient_map(old, turn @ old, 2 * old[1])
    c = rng.normal(size=4)
    np.testing.assert_allclose((matrix @ c) @ (turn @ old), c @ old, atol=1e-9)
    np.testing.assert_allclose(offset @ (turn @ old), 2 * old[1], atol=1e-9)


def test_shapes_stay_where_they_are(toy_head) -> None:
    face_model = toy_head.model
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(80, 80)))[0].astype(np.float32)
    basis = face_model.identity_basis
    turned = (turn @ basis.reshape(80, -1)).reshape(basis.shape)
    moved = face_model.mean_shape + 0.5 * turned[3]
    new = replace(face_model, identity_basis=turned, mean_shape=moved)
    rnet = RNet(input_size=64).eval()
    with torch.no_grad():
        rnet.fc.weight.normal_(std=0.02)
        crops = torch.rand(2, 3, 64, 64)
        before = LAYOUT_239.split(rnet(crops).numpy())
        assert rebase(rnet, face_model, new) < 1e-2
        after = LAYOUT_239.split(rnet(crops).numpy())
    old_shapes = face_model.shape(before.identity, before.expression)
    new_shapes = new.shape(after.identity, after.expression)
    # The origin of a face model lies at the mean of its vertices; that part belongs to the pose.
    difference = old_shapes - new_shapes
    difference -= difference.mean(axis=1, keepdims=True)
    assert np.abs(difference).max() < 0.02
    np.testing.assert_allclose(after.rotation, before.rotation, atol=1e-6)


def test_another_mesh_is_refused(toy_head) -> None:
    face_model = toy_head.model
    other = replace(face_model, triangles=face_model.triangles[:, [1, 2, 0]])
    with pytest.raises(RebaseError, match="different meshes"):
        rebase(RNet(input_size=64), face_model, other)
