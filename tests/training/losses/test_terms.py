"""Every term against a second derivation in plain loops, and its gradient numerically."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from facewright.training.losses.landmarks import landmark_loss, paper_landmark_weights
from facewright.training.losses.perceptual import composite, perceptual_loss
from facewright.training.losses.photometric import photometric_loss
from facewright.training.losses.regularization import albedo_variance, coefficient_prior

seeds = st.integers(0, 2**31)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Uniform in [0, 1], float64."""
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def photometric_arguments(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mask = random(2, 4, 5, seed=seed + 2) > 0.4
    attention = random(2, 4, 5, seed=seed + 3)
    return random(2, 3, 4, 5, seed=seed), random(2, 3, 4, 5, seed=seed + 1), mask, attention


@given(seeds)
def test_photometric_is_equation_2(seed: int) -> None:
    photo, rendered, mask, attention = photometric_arguments(seed)
    expected = []
    for n in range(2):
        above = below = 0.0
        for i in range(4):
            for j in range(5):
                if mask[n, i, j]:
                    squares = sum(
                        float(photo[n, c, i, j] - rendered[n, c, i, j]) ** 2 for c in range(3)
                    )
                    above += float(attention[n, i, j]) * math.sqrt(squares)
                    below += float(attention[n, i, j])
        expected.append(above / below if below else 0.0)
    found = photometric_loss(photo, rendered, mask, attention)
    assert float(found) == pytest.approx(sum(expected) / 2)


def test_photometric_ignores_what_is_outside_and_the_scale_of_attention() -> None:
    photo, rendered, mask, attention = photometric_arguments(0)
    loss = photometric_loss(photo, rendered, mask, attention)
    elsewhere = torch.where(mask[:, None], rendered, 7.0)
    torch.testing.assert_close(photometric_loss(photo, elsewhere, mask, attention), loss)
    torch.testing.assert_close(photometric_loss(photo, rendered, mask, attention / 3), loss)


def test_photometric_gradient() -> None:
    photo, rendered, mask, attention = photometric_arguments(0)
    rendered.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda image: photometric_loss(photo, image, mask, attention), (rendered,)
    )


def test_photometric_without_a_region_or_a_difference_is_zero_with_a_gradient_of_zero() -> None:
    photo, rendered, mask, attention = photometric_arguments(0)
    for region, weights, image in (
        (torch.zeros_like(mask), attention, rendered),
        (mask, torch.zeros_like(attention), rendered),
        (mask, attention, photo),
    ):
        argument = image.clone().requires_grad_()
        loss = photometric_loss(photo, argument, region, weights)
        loss.backward()
        assert loss.item() == 0
        assert argument.grad is not None
        assert torch.equal(argument.grad, torch.zeros_like(argument))


def test_landmark_weights_are_the_papers() -> None:
    weights = paper_landmark_weights()
    nose_and_inner_mouth = [*range(27, 36), *range(60, 68)]
    assert weights[nose_and_inner_mouth].tolist() == [20.0] * 17
    assert weights.sum() == 17 * 20 + 51


@given(seeds)
def test_landmarks_are_equation_3(seed: int) -> None:
    predicted, found = 224 * random(3, 68, 2, seed=seed), 224 * random(3, 68, 2, seed=seed + 1)
    known = random(3, 68, seed=seed + 2) > 0.3
    known[2] = False
    weights = random(68, seed=seed + 3)
    expected = 0.0
    for n in range(2):
        squares = [
            float(weights[k]) * sum(float(predicted[n, k, i] - found[n, k, i]) ** 2 for i in (0, 1))
            for k in range(68)
            if known[n, k]
        ]
        expected += sum(squares) / len(squares) / 3
    assert float(landmark_loss(predicted, found, known, weights)) == pytest.approx(expected)


def test_unknown_landmarks_do_not_matter() -> None:
    found, known = 224 * random(2, 68, 2, seed=1), random(2, 68, seed=2) > 0.5
    found[~known] = math.nan
    predicted = (224 * random(2, 68, 2)).requires_grad_()
    loss = landmark_loss(predicted, found, known, paper_landmark_weights())
    loss.backward()
    assert loss.isfinite()
    assert predicted.grad is not None
    assert torch.equal(predicted.grad.any(2), known)


def test_landmark_gradient() -> None:
    found, known = random(2, 68, 2, seed=1), random(2, 68, seed=2) > 0.5
    argument = random(2, 68, 2).requires_grad_()
    weights = paper_landmark_weights().double()
    assert torch.autograd.gradcheck(
        lambda points: landmark_loss(points, found, known, weights), (argument,)
    )


@settings(max_examples=50)
@given(seeds, st.floats(0.1, 10))
def test_perceptual_is_equation_4(seed: int, scale: float) -> None:
    a, b = random(2, 6, seed=seed) - 0.5, random(2, 6, seed=seed + 1) - 0.5
    expected = 0.0
    for x, y in zip(a.numpy(), b.numpy(), strict=True):
        expected += (1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)) / 2
    assert float(perceptual_loss(a, b)) == pytest.approx(expected)
    assert float(perceptual_loss(a * scale, b)) == pytest.approx(expected)
    assert float(perceptual_loss(a, a * scale)) == pytest.approx(0, abs=1e-9)
    assert float(perceptual_loss(a, -a)) == pytest.approx(2)


def test_perceptual_gradient() -> None:
    a, b = random(2, 6), random(2, 6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda b: perceptual_loss(a, b), (b,))


def test_composite_is_the_photo_but_for_the_face() -> None:
    photo, rendered, mask, _ = photometric_arguments(0)
    rendered = (4 * rendered - 1).requires_grad_()
    pasted = composite(photo, rendered, mask)
    for c in range(3):
        assert torch.equal(pasted[:, c][~mask], photo[:, c][~mask])
        assert torch.equal(pasted[:, c][mask], rendered[:, c][mask].clamp(0, 1))
    pasted.sum().backward()
    inside = mask[:, None] & (rendered > 0) & (rendered < 1)
    assert rendered.grad is not None
    assert torch.equal(rendered.grad.bool(), inside)


@given(seeds)
def test_prior_is_equation_5(seed: int) -> None:
    parts = [random(3, k, seed=seed + k) - 0.5 for k in (80, 64, 79)]
    weights = {"identity_weight": 1.0, "expression_weight": 0.8, "albedo_weight": 1.7e-3}
    expected = np.mean(
        [
            sum(
                w * sum(x**2 for x in part[n].tolist())
                for w, part in zip(weights.values(), parts, strict=True)
            )
            for n in range(3)
        ]
    )
    assert float(coefficient_prior(*parts, **weights)) == pytest.approx(expected)
    arguments = tuple(part[:, :2].clone().requires_grad_() for part in parts)
    assert torch.autograd.gradcheck(lambda *p: coefficient_prior(*p, **weights), arguments)


@given(seeds)
def test_albedo_variance_is_equation_6(seed: int) -> None:
    albedo = random(2, 9, 3, seed=seed)
    expected = 0.0
    for face in albedo.numpy():
        for channel in face.T:
            mean = sum(channel) / 9
            expected += sum((value - mean) ** 2 for value in channel) / 9 / 2
    assert float(albedo_variance(albedo)) == pytest.approx(expected)
    assert torch.autograd.gradcheck(albedo_variance, (albedo.requires_grad_(),))


def test_even_skin_of_any_color_has_no_variance() -> None:
    assert float(albedo_variance(torch.tensor([0.7, 0.5, 0.4]).expand(2, 9, 3))) < 1e-12
