from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from facewright.training.losses.affinity import affinity_loss


def vectors(count: int, size: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, size)))


def slow(identity: Tensor, descriptors: Tensor) -> float:
    """The same, pair by pair."""

    def cosine(a: Tensor, b: Tensor) -> float:
        return float(a @ b / (a.norm() * b.norm()))

    pairs = [(i, j) for i in range(len(identity)) for j in range(i)]
    distances = [1 - cosine(descriptors[i], descriptors[j]) for i, j in pairs]
    typical = sum(distances) / len(pairs)
    errors = [
        (cosine(identity[i], identity[j]) - 1 + distance / typical) ** 2
        for (i, j), distance in zip(pairs, distances, strict=True)
    ]
    return sum(errors) / len(pairs)


@given(st.integers(2, 7), st.integers(0, 1000))
def test_is_the_mean_over_pairs(count: int, seed: int) -> None:
    identity, descriptors = vectors(count, 80, seed), vectors(count, 128, seed + 1)
    expected = slow(identity, descriptors)
    assert float(affinity_loss(identity, descriptors)) == pytest.approx(expected, rel=1e-9)


@given(st.floats(0.1, 10), st.integers(0, 100))
def test_only_directions_count(scale: float, seed: int) -> None:
    identity, descriptors = vectors(4, 80, seed), vectors(4, 128, seed)
    expected = float(affinity_loss(identity, descriptors))
    assert float(affinity_loss(scale * identity, descriptors / scale)) == pytest.approx(expected)


def test_how_close_together_descriptors_lie_does_not_matter() -> None:
    identity = vectors(6, 80, 0)
    # Orthogonal to a long common part, of one length: distances shrink by one factor.
    spread = torch.nn.functional.normalize(vectors(6, 64, 1))
    wide = torch.cat([spread, torch.full((6, 1), 0.1, dtype=spread.dtype)], dim=1)
    narrow = torch.cat([spread, torch.full((6, 1), 3.0, dtype=spread.dtype)], dim=1)
    assert float(affinity_loss(identity, narrow)) == pytest.approx(
        float(affinity_loss(identity, wide)), rel=1e-9
    )


def test_vanishes_when_people_differ_alike() -> None:
    # Two photos of each of two people, in the proportions that the descriptors show.
    people = torch.eye(2, dtype=torch.float64).repeat_interleave(2, dim=0)
    typical = 4 / 6  # four of six pairs at distance 1
    target = torch.tensor([[1.0, 0.0], [1 - 1 / typical, (1 - (1 - 1 / typical) ** 2) ** 0.5]])
    identity = target.repeat_interleave(2, dim=0).double()
    assert float(affinity_loss(identity, people)) == pytest.approx(0, abs=1e-9)
    assert float(affinity_loss(people, people)) > 0.1


def test_gradients_are_right_and_spare_the_recognizer() -> None:
    identity = vectors(4, 5, 3).requires_grad_()
    descriptors = vectors(4, 6, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: affinity_loss(x, descriptors.detach()), identity)
    affinity_loss(identity, descriptors).backward()
    assert descriptors.grad is None


def test_one_photo_and_photos_all_alike_say_nothing() -> None:
    identity = vectors(1, 80, 0).requires_grad_()
    loss = affinity_loss(identity, vectors(1, 128, 0))
    loss.backward()
    assert loss.item() == 0
    assert not identity.grad.any()
    same = vectors(1, 80, 0).expand(3, -1)
    assert torch.isfinite(affinity_loss(same, vectors(1, 128, 0).expand(3, -1)))
