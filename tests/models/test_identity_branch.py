from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from facewright.models.camera import pose_points, project
from facewright.models.checkpoints_torch import CheckpointInfo, load_checkpoint, save_checkpoint
from facewright.models.chips_torch import dlib_chips
from facewright.models.cnet_torch import CNet
from facewright.models.identity_branch_torch import IdentityBranch
from facewright.models.layout import LAYOUT_239, LAYOUT_257, CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import RNet


def coefficients(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.7, (count, LAYOUT_239.size))
    values[:, LAYOUT_239.rotation] *= 0.3
    values[:, LAYOUT_239.translation] *= 0.05
    return torch.from_numpy(values.astype(np.float32))


def crops(count: int, side: int = 224, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def branch_of(
    model: MorphableModel, chip_size: int = 150, size: int = LAYOUT_239.size
) -> IdentityBranch:
    torch.manual_seed(0)
    branch = IdentityBranch(size, chip_size).eval()
    branch.set_face_model(model)
    return branch


def test_chips_are_dlibs_at_the_landmarks_of_the_coefficients(model: MorphableModel) -> None:
    values, images = coefficients(3), crops(3)
    parts = LAYOUT_239.split(values.numpy())
    points = model.shape(parts.identity, parts.expression)[:, model.landmarks]
    landmarks = project(pose_points(points, parts.rotation, parts.translation))
    expected = dlib_chips(images, torch.from_numpy(landmarks.astype(np.float32)), 150)
    found = branch_of(model).chips(images, values, LAYOUT_239)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    # In a crop of half the size the chip shows the same.
    small = torch.nn.functional.avg_pool2d(images, 2)
    smooth = torch.nn.functional.avg_pool2d(found, 25)
    halved = branch_of(model).chips(small, values, LAYOUT_239)
    halved = torch.nn.functional.avg_pool2d(halved, 25)
    torch.testing.assert_close(halved, smooth, atol=0.03, rtol=0)


def test_gradient_reaches_crop_and_identity_but_not_the_landmarks(model: MorphableModel) -> None:
    branch, images, values = branch_of(model), crops(2), coefficients(2)
    torch.nn.init.normal_(branch.head.weight)
    images.requires_grad_()
    values.requires_grad_()
    joined, descriptors = branch(images, values, LAYOUT_239)
    (of_descriptors,) = torch.autograd.grad(
        descriptors.sum(), values, retain_graph=True, allow_unused=True
    )
    assert of_descriptors is None
    joined[:, LAYOUT_239.identity].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    # R-Net's coefficients count by their weights and in no other way.
    assert values.grad is not None
    expected = branch.head.weight.detach()[:, -LAYOUT_239.size :].sum(0)
    torch.testing.assert_close(values.grad, expected.expand_as(values))


def test_starts_without_a_say(model: MorphableModel) -> None:
    values = coefficients(2)
    joined, descriptors = branch_of(model)(crops(2), values, LAYOUT_239)
    torch.testing.assert_close(joined, values)
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(("layout", "chip_size"), [(LAYOUT_239, 150), (LAYOUT_257, 135)])
def test_checkpoints_keep_it(
    tmp_path: Path, model: MorphableModel, layout: CoefficientLayout, chip_size: int
) -> None:
    branch = branch_of(model, chip_size, layout.size)
    torch.nn.init.normal_(branch.head.weight, std=0.1)
    rnet = RNet(layout, input_size=64, branch=branch).eval()
    info = CheckpointInfo(layout.name, "paper", "ab" * 32, 1, 2, {}, 64)
    save_checkpoint(tmp_path / "x.pt", rnet, CNet(16, 24), info)
    again, cnet, found = load_checkpoint(tmp_path / "x.pt")
    assert found == replace(info, config={})
    assert again.branch is not None
    assert cnet is not None
    assert (cnet.channels, cnet.hidden) == (16, 24)
    images = crops(2)
    with torch.no_grad():
        one, other = rnet.regress(images), again.regress(images)
    for name in one._fields:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_the_branch_sees_the_crop_before_it_is_shrunk(model: MorphableModel) -> None:
    rnet = RNet(input_size=64, branch=branch_of(model)).eval()
    rnet.branch.trunk.stem.weight.data.mul_(30)  # random features hardly differ otherwise
    images = crops(1)
    shrunk = rnet.shrink(images)
    with torch.no_grad():
        whole, small = rnet.regress(images), rnet.regress(shrunk)
    torch.testing.assert_close(whole.pooled, small.pooled)
    assert (whole.descriptors - small.descriptors).abs().max() > 1e-3


def test_without_a_branch_there_are_no_descriptors() -> None:
    rnet = RNet(input_size=64).eval()
    with torch.no_grad():
        found = rnet.regress(crops(1, 64))
    assert found.descriptors is None
    torch.testing.assert_close(found.coefficients, rnet.fc(found.pooled))
