"""Aggregation against eq. 7 written out, and by the laws that any weighted mean obeys."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from facewright.models import aggregation, aggregation_torch
from facewright.models.aggregation import Strategy, aggregate, shares

Album = tuple[NDArray[np.float32], NDArray[np.float32]]

STRATEGIES = get_args(Strategy)
some_strategy = st.sampled_from(STRATEGIES)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def albums(draw: st.DrawFn, photos: st.SearchStrategy[int] = st.integers(1, 8)) -> Album:
    """Identity and confidences (J, 5): from ordinary confidences down to 1e-30 and 0."""
    shape = (draw(photos), 5)
    identity = draw(hnp.arrays(np.float32, shape, elements=st.floats(-4, 4, width=32)))
    trust = st.floats(1 / 1024, 1, width=32) | st.sampled_from([0.0, 1e-30, 1e-12])
    confidences = draw(hnp.arrays(np.float32, shape, elements=trust))
    return identity, confidences


def test_equation_7_by_hand() -> None:
    identity = np.array([[1.0, -2.0], [3.0, 4.0], [0.0, 1.0]], np.float32)
    confidences = np.array([[0.2, 0.5], [0.6, 0.25], [0.2, 0.25]], np.float32)
    expected = [(0.2 * 1 + 0.6 * 3) / 1.0, (-0.5 * 2 + 0.25 * 4 + 0.25) / 1.0]
    np.testing.assert_allclose(aggregate(identity, confidences), expected, atol=1e-6)
    np.testing.assert_allclose(aggregate(identity, confidences, "mean"), [4 / 3, 1], atol=1e-6)
    np.testing.assert_array_equal(aggregate(identity, confidences, "best"), identity[1])
    scalar = np.array([0.35, 0.425, 0.225])
    np.testing.assert_allclose(
        aggregate(identity, confidences, "scalar"), scalar @ identity, atol=1e-6
    )


def test_the_best_photos_share_a_tie() -> None:
    identity = np.array([[1.0], [2.0], [6.0]], np.float32)
    confidences = np.array([[0.5], [0.25], [0.5]], np.float32)
    assert aggregate(identity, confidences, "best") == pytest.approx(3.5)


@given(albums(), some_strategy, seeds)
def test_the_order_does_not_matter(album: Album, strategy: Strategy, seed: int) -> None:
    identity, confidences = album
    order = np.random.default_rng(seed).permutation(len(identity))
    np.testing.assert_allclose(
        aggregate(identity[order], confidences[order], strategy),
        aggregate(identity, confidences, strategy),
        atol=2e-6,
    )


@given(albums(), some_strategy, st.data())
def test_a_duplicate_is_a_photo_of_weight_two(
    album: Album, strategy: Strategy, data: st.DataObject
) -> None:
    identity, confidences = album
    times = data.draw(
        hnp.arrays(np.int64, len(identity), elements=st.integers(0, 3)).filter(np.any)
    )
    repeated = [np.repeat(values, times, axis=0) for values in album]
    np.testing.assert_allclose(
        aggregate(identity, confidences, strategy, times),
        aggregate(repeated[0], repeated[1], strategy),
        atol=2e-6,
    )


@given(albums(), some_strategy)
def test_the_result_lies_between_the_photos(album: Album, strategy: Strategy) -> None:
    identity, confidences = album
    result = aggregate(identity, confidences, strategy)
    assert result.dtype == np.float32
    assert (result >= identity.min(0)).all()
    assert (result <= identity.max(0)).all()


@given(albums(), some_strategy, st.sampled_from([1e-28, 1e-3, 7.0, 1e30]))
def test_only_proportions_of_confidences_matter(
    album: Album, strategy: Strategy, scale: float
) -> None:
    identity, confidences = album
    scaled = confidences.astype(np.float64) * scale
    np.testing.assert_allclose(
        aggregate(identity, scaled, strategy), aggregate(identity, confidences, strategy), atol=2e-6
    )


@given(albums(st.just(1)), some_strategy)
def test_one_photo_stays_exactly_itself(album: Album, strategy: Strategy) -> None:
    identity, confidences = album
    np.testing.assert_array_equal(aggregate(identity, confidences, strategy), identity[0])
    in_torch = aggregation_torch.aggregate(*map(torch.from_numpy, album))
    np.testing.assert_array_equal(in_torch.numpy(), identity[0])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_any_confidence_photos_count_alike(strategy: Strategy) -> None:
    identity = np.array([[1.0, 2.0], [2.0, 4.0], [6.0, 0.0]], np.float32)
    nothing = np.zeros_like(identity)
    np.testing.assert_allclose(aggregate(identity, nothing, strategy), [3, 2], atol=1e-6)


@given(albums(), some_strategy)
def test_shares_are_the_weights_of_the_mean(album: Album, strategy: Strategy) -> None:
    identity, confidences = album
    part = shares(confidences, strategy)
    assert (part >= 0).all()
    np.testing.assert_allclose(part.sum(0), 1, atol=1e-12)
    np.testing.assert_allclose(
        (part * identity).sum(0), aggregate(identity, confidences, strategy), atol=2e-6
    )


def test_albums_of_different_sizes_are_padded_with_weight_0() -> None:
    random = np.random.default_rng(0)
    identity = random.normal(size=(2, 4, 80)).astype(np.float32)
    confidences = random.uniform(0.1, 1, (2, 4, 80)).astype(np.float32)
    confidences[1, 2:] = 1.0  # of the padding: must not become the best
    weights = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32)
    for strategy in STRATEGIES:
        both = aggregate(identity, confidences, strategy, weights)
        for album, size in ((0, 4), (1, 2)):
            alone = aggregate(identity[album, :size], confidences[album, :size], strategy)
            np.testing.assert_allclose(both[album], alone, atol=2e-6)
    in_torch = aggregation_torch.aggregate(
        *(torch.from_numpy(values) for values in (identity, confidences, weights))
    )
    expected = aggregate(identity, confidences, "confidence", weights)
    np.testing.assert_allclose(in_torch.numpy(), expected, atol=2e-6)


@given(albums(), st.data())
def test_torch_and_numpy_agree(album: Album, data: st.DataObject) -> None:
    weights = data.draw(
        hnp.arrays(np.float32, len(album[0]), elements=st.sampled_from([0, 0.5, 1, 2])).filter(
            np.any
        )
    )
    in_torch = aggregation_torch.aggregate(*map(torch.from_numpy, (*album, weights)))
    assert in_torch.dtype == torch.float32
    expected = aggregation.aggregate(*album, weights=weights)
    np.testing.assert_allclose(in_torch.numpy(), expected, atol=5e-6)


def test_gradients_by_finite_differences() -> None:
    random = torch.Generator().manual_seed(0)
    identity = torch.randn(2, 3, 4, dtype=torch.float64, generator=random, requires_grad=True)
    confidences = torch.rand(2, 3, 4, dtype=torch.float64, generator=random) + 0.1
    weights = torch.tensor([[1.0, 2.0, 0.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, c: aggregation_torch.aggregate(a, c, weights),
        (identity, confidences.requires_grad_()),
    )


@pytest.mark.parametrize("logit", [0.0, -69.0, -200.0])
def test_gradients_stay_finite_for_confidences_near_nothing(logit: float) -> None:
    """Sigmoid of -69 is 1e-30; of -200 it is 0 in float32."""
    identity = torch.tensor([[1.0, 2.0], [3.0, -1.0]], requires_grad=True)
    logits = torch.tensor([[logit, logit], [logit, logit - 1]], requires_grad=True)
    result = aggregation_torch.aggregate(identity, torch.sigmoid(logits))
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert identity.grad is not None
    assert logits.grad is not None
    torch.testing.assert_close(identity.grad.sum(0), torch.ones(2))
    assert torch.isfinite(logits.grad).all()
    if logit == -69:  # of a mean of two with weights e^l: (a1 - a0) w0 w1
        torch.testing.assert_close(logits.grad[1, 0], torch.tensor(0.5), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("identity", "confidences", "options", "message"),
    [
        (np.zeros((2, 3)), np.ones((2, 4)), {}, "differ"),
        (np.zeros(3), np.ones(3), {}, "expected"),
        (np.zeros((0, 3)), np.ones((0, 3)), {}, "no photo"),
        (np.zeros((2, 3)), np.full((2, 3), -0.1), {}, "not negative"),
        (np.zeros((2, 3)), np.full((2, 3), np.nan), {}, "finite"),
        (np.zeros((2, 3)), np.ones((2, 3)), {"weights": np.ones(3)}, "fit"),
        (np.zeros((2, 3)), np.ones((2, 3)), {"weights": np.zeros(2)}, "no photo"),
        (np.zeros((2, 3)), np.ones((2, 3)), {"strategy": "vote"}, "unknown strategy"),
    ],
)
def test_what_is_no_album_is_refused(
    identity: Any, confidences: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        aggregate(identity, confidences, **options)


@pytest.mark.parametrize(
    ("shape", "other", "weights"),
    [((0, 3), (0, 3), None), ((2, 3), (2, 4), None), ((2, 3), (2, 3), 3)],
)
def test_torch_refuses_shapes_that_do_not_fit(
    shape: tuple[int, int], other: tuple[int, int], weights: int | None
) -> None:
    with pytest.raises(ValueError):
        aggregation_torch.aggregate(
            torch.zeros(shape), torch.ones(other), None if weights is None else torch.ones(weights)
        )
