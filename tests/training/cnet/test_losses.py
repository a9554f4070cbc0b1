from __future__ import annotations

import numpy as np
import pytest
import torch

from facewright.models.aggregation_torch import aggregate
from facewright.models.cnet_torch import CNet
from facewright.training.cnet.experiment import ShapeWeights
from facewright.training.cnet.losses import ShapeLoss, level
from facewright.training.evaluation.measures import NeutralErrors

SETS, PHOTOS = 3, 4


def random_sets(seed):
    rng = torch.Generator().manual_seed(seed)
    identity = torch.randn(SETS, PHOTOS, 80, generator=rng)
    confidence = torch.rand(SETS, PHOTOS, 80, generator=rng)
    return identity, confidence, torch.randn(SETS, 80, generator=rng)


def test_the_terms_say_what_they_should(face_model):
    loss = ShapeLoss(face_model, ShapeWeights(normal=1, sigma=2, likelihood=0.5))
    identity, confidence, true = random_sets(0)
    present = torch.ones(SETS, PHOTOS, dtype=torch.bool)
    terms = loss(identity, confidence, present, true)
    shared = aggregate(identity, confidence)
    assert terms["sigma"].item() == pytest.approx(
        (shared - true).square().mean(1).sqrt().mean().item(), rel=1e-5
    )
    # The measure of the evaluation, but for squares, areas, and normals of the mean face.
    errors = NeutralErrors(face_model)
    near = true + 0.1 * (shared - true)
    off = errors(near.numpy()[:1], true[0].numpy())[0]
    normal = loss(near[:1, None], confidence[:1, :1], present[:1, :1], true[:1])["normal"]
    assert 0.7 < normal.item() / off < 2.0
    total = terms["normal"] + 2 * terms["sigma"] + 0.5 * terms["likelihood"]
    assert loss.total(terms).item() == pytest.approx(total.item())
    assert (
        loss(true[:, None].expand(-1, PHOTOS, -1), confidence, present, true)["normal"].item()
        < 0.04
    )


def test_absent_photos_do_not_count(face_model):
    loss = ShapeLoss(face_model, ShapeWeights(normal=1, sigma=1, likelihood=1))
    identity, confidence, true = random_sets(1)
    present = torch.tensor([True, True, True, False]).expand(SETS, PHOTOS)
    terms = loss(identity, confidence, present, true)
    fewer = loss(identity[:, :3], confidence[:, :3], present[:, :3], true)
    for name, value in terms.items():
        assert value.item() == pytest.approx(fewer[name].item(), rel=1e-5)


def test_the_likelihood_is_best_at_the_inverse_variances(face_model):
    rng = torch.Generator().manual_seed(2)
    spread = torch.tensor([0.5, 1.0]).repeat(2)[None, :, None]
    true = torch.randn(400, 80, generator=rng)
    identity = true[:, None] + spread * torch.randn(400, 4, 80, generator=rng)
    present = torch.ones(400, 4, dtype=torch.bool)
    loss = ShapeLoss(face_model, ShapeWeights(likelihood=1))
    loss.log_precision.data.fill_(np.log(8.0))  # times a confidence of 0.5: a deviation of 0.5

    def likelihood(confidence_of_the_worse):
        confidence = torch.where(spread < 0.7, 0.5, confidence_of_the_worse).expand(400, 4, 80)
        return loss(identity, confidence, present, true)["likelihood"].item()

    values = [likelihood(c) for c in (0.5, 0.25, 0.125, 0.0625, 0.03)]
    assert int(np.argmin(values)) == 2


@pytest.mark.parametrize("name", ["sigma", "likelihood"])
def test_confidences_learn_who_is_wrong(face_model, name):
    """Photos whose features say that they are bad get less confidence, and the mean gets better.

    Here the error of a photo's identity follows from what C-Net is shown.
    """
    torch.manual_seed(0)
    cnet = CNet()
    loss = ShapeLoss(face_model, ShapeWeights.model_validate({name: 1}))
    optimizer = torch.optim.Adam([*cnet.parameters(), *loss.parameters()], lr=5e-4)
    direction = torch.randn(2048)
    present = torch.ones(12, 3, dtype=torch.bool)

    def batch(seed):
        rng = torch.Generator().manual_seed(seed)
        bad = torch.rand(12, 3, generator=rng) < 0.4
        true = torch.randn(12, 80, generator=rng)
        spread = torch.where(bad, 2.0, 0.4)[..., None]
        identity = true[:, None] + spread * torch.randn(12, 3, 80, generator=rng)
        pooled = torch.rand(12, 3, 2048, generator=rng) + 0.3 * bad[..., None] * direction
        stage1 = torch.rand(36, 256, 1, 1, generator=rng)
        confidence = cnet(stage1, pooled.view(36, -1)).view_as(identity)
        return identity, confidence, true, bad

    for step in range(25):
        identity, confidence, true, _ = batch(step)
        terms = loss(identity, confidence, present, true)
        optimizer.zero_grad()
        (loss.total(terms) + level(confidence, present)).backward()
        optimizer.step()
    with torch.no_grad():
        identity, confidence, true, bad = batch(1000)
        assert confidence[bad].mean() < 0.7 * confidence[~bad].mean()
        assert 0.3 < confidence.mean() < 0.7
        plain = (identity.mean(1) - true).square().mean()
        assert (aggregate(identity, confidence) - true).square().mean() < 0.8 * plain
        one = aggregate(identity[:, :1], confidence[:, :1])
        assert torch.equal(one, identity[:, 0])


def test_the_level_is_that_of_the_photos_there_are():
    confidence = torch.full((2, 3, 80), 0.5)
    confidence[:, 2] = 0.9
    present = torch.tensor([[True, True, False]] * 2)
    assert level(confidence, present) == 0
    assert level(confidence, present | True).item() == pytest.approx((0.4 / 3) ** 2)
