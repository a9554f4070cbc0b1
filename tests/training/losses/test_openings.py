from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from facewright.training.losses.openings import PAIRS, opening_loss


def points(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 224 * torch.rand((2, 68, 2), dtype=torch.float64, generator=generator)


@given(st.integers(0, 1000))
def test_is_the_mean_over_known_pairs(seed: int) -> None:
    predicted, found = points(seed), points(seed + 1)
    known = torch.rand((2, 68), generator=torch.Generator().manual_seed(seed)) > 0.3
    expected = []
    for n in range(2):
        for a, b in PAIRS:
            if known[n, a] and known[n, b]:
                dx = predicted[n, b, 0] - predicted[n, a, 0] - found[n, b, 0] + found[n, a, 0]
                dy = predicted[n, b, 1] - predicted[n, a, 1] - found[n, b, 1] + found[n, a, 1]
                expected.append(math.hypot(float(dx), float(dy)))
    mean = sum(expected) / len(expected) if expected else 0.0
    assert float(opening_loss(predicted, found, known)) == pytest.approx(mean, abs=1e-3)


def test_where_the_face_is_does_not_matter() -> None:
    found, known = points(0), torch.ones(2, 68, dtype=torch.bool)
    moved = found + torch.tensor([13.0, -4.0], dtype=torch.float64)
    assert float(opening_loss(moved, found, known)) == pytest.approx(0, abs=2e-3)


def test_gradient_with_unknown_landmarks() -> None:
    found = points(1)
    known = torch.ones(2, 68, dtype=torch.bool)
    known[0, 37] = known[1, 62] = False
    found = torch.where(known[..., None], found, torch.nan)
    predicted = points(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: opening_loss(p, found, known), (predicted,))


def test_of_nothing_known_is_zero_with_a_gradient_of_zero() -> None:
    predicted = points(3).requires_grad_()
    loss = opening_loss(predicted, points(4), torch.zeros(2, 68, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert predicted.grad is not None
    assert torch.equal(predicted.grad, torch.zeros_like(predicted))
