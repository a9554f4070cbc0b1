"""Strangers and consistent faces in albums of made-up people."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from facewright.models.agreement import (
    album_distances,
    album_similarities,
    consistent_faces,
    minority,
)

SPREAD = 0.1
"""Of the photos of a person; people are about sqrt(2 * 80) apart."""

seeds = st.integers(0, 2**32 - 1)


def photos_of(person: int, count: int, seed: int = 0) -> NDArray[np.float32]:
    """Identities (count, 80) of somebody's photos."""
    mean = np.random.default_rng(1000 + person).normal(size=80)
    noise = np.random.default_rng([person, seed]).normal(0, SPREAD, (count, 80))
    return (mean + noise).astype(np.float32)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 20, 64])
def test_distances_of_one_person_do_not_depend_on_the_albums_size(size: int) -> None:
    distances = [album_distances(photos_of(0, size, seed)) for seed in range(200)]
    # The expected distance of a photo from the true person, whatever it is compared with.
    assert np.mean(distances) == pytest.approx(SPREAD * np.sqrt(80), rel=0.05)


@given(
    seed=seeds,
    members=st.integers(2, 20),
    strangers=st.integers(1, 10),
    same=st.booleans(),
)
def test_a_minority_of_strangers_stands_out(
    seed: int, members: int, strangers: int, same: bool
) -> None:
    strangers = min(strangers, members - 1)
    others = [photos_of(1 if same else 1 + k, 1, k) for k in range(strangers)]
    album = np.concatenate([photos_of(0, members), *others])
    order = np.random.default_rng(seed).permutation(len(album))
    distances = np.empty(len(album))
    distances[order] = album_distances(album[order])
    assert distances[:members].max() < 2.0
    assert distances[members:].min() > 5.0
    doubtful = distances > 3.0
    np.testing.assert_array_equal(minority(doubtful), doubtful)


def test_two_photos_are_equally_far_from_each_other() -> None:
    one, two = np.zeros(80), np.zeros(80)
    two[:2] = 3, 4
    np.testing.assert_allclose(album_distances(np.stack([one, two])), 5 / np.sqrt(2))


def test_three_photos_by_hand() -> None:
    album = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 9.0]])
    # The first two are the core; each is compared with the other, the third with their mean.
    expected = [2 / np.sqrt(2), 2 / np.sqrt(2), 9 / np.sqrt(1.5)]
    np.testing.assert_allclose(album_distances(album), expected)


def embeddings_of(person: int, count: int, seed: int = 0) -> NDArray[np.float64]:
    """Embeddings (count, 128) of somebody's photos, whose cosine is about 0.5."""
    mean = np.random.default_rng(1000 + person).normal(size=128)
    points = mean + np.random.default_rng([person, seed]).normal(size=(count, 128))
    unit: NDArray[np.float64] = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("size", [2, 3, 4, 5, 20, 64])
def test_similarities_of_one_person_do_not_depend_on_the_albums_size(size: int) -> None:
    # Of large albums the core is the closer half, which is a little more alike.
    similarities = [album_similarities(embeddings_of(0, size, seed)) for seed in range(100)]
    assert np.mean(similarities) == pytest.approx(0.5, abs=0.03)


@given(seed=seeds, members=st.integers(2, 20), strangers=st.integers(1, 10), same=st.booleans())
def test_a_minority_of_strangers_stands_out_by_embeddings(
    seed: int, members: int, strangers: int, same: bool
) -> None:
    strangers = min(strangers, members - 1)
    others = [embeddings_of(1 if same else 1 + k, 1, k) for k in range(strangers)]
    album = np.concatenate([embeddings_of(0, members), *others])
    order = np.random.default_rng(seed).permutation(len(album))
    similarities = np.empty(len(album))
    similarities[order] = album_similarities(album[order])
    assert similarities[:members].min() > 0.3
    assert similarities[members:].max() < 0.25


def test_two_embeddings_are_as_similar_as_their_cosine() -> None:
    album = np.array([[1.0, 0.0], [0.6, 0.8]])
    np.testing.assert_allclose(album_similarities(album), [0.6, 0.6])


@pytest.mark.parametrize(
    ("doubtful", "left_out"),
    [
        ([False, False], [False, False]),
        ([True, True], [False, False]),
        ([True, False], [False, False]),
        ([True, False, False], [True, False, False]),
        ([True, True, False, False], [False] * 4),
        ([True, True, False, False, False], [True, True, False, False, False]),
    ],
)
def test_only_a_minority_is_left_out(doubtful: list[bool], left_out: list[bool]) -> None:
    assert minority(np.array(doubtful)).tolist() == left_out


@given(seed=seeds, photos=st.integers(3, 8), crowd=st.integers(1, 4))
def test_the_person_of_all_photos_is_found_among_bystanders(
    seed: int, photos: int, crowd: int
) -> None:
    random = np.random.default_rng(seed)
    person = photos_of(0, photos)
    candidates, expected = [], []
    for photo in range(photos):
        faces = [photos_of(1 + photo * crowd + k, 1)[0] for k in range(random.integers(crowd + 1))]
        place = int(random.integers(len(faces) + 1))
        faces.insert(place, person[photo])
        candidates.append(np.stack(faces))
        expected.append(place)
    assert consistent_faces(candidates) == expected


def test_a_photo_without_the_person_does_not_mislead_the_others() -> None:
    candidates = [np.concatenate([photos_of(5 + k, 1), photos_of(0, 1, k)]) for k in range(4)] + [
        photos_of(20, 1)
    ]
    assert consistent_faces(candidates) == [1, 1, 1, 1, 0]


def test_without_a_choice_the_first_is_taken() -> None:
    assert consistent_faces([]) == []
    assert consistent_faces([photos_of(0, 3)]) == [0]
    alike = np.zeros((2, 80))
    assert consistent_faces([alike, alike, alike]) == [0, 0, 0]


@pytest.mark.parametrize("shape", [(1, 80), (80,), (2, 3, 80)])
def test_what_is_no_album_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="J >= 2"):
        album_distances(np.zeros(shape))
    with pytest.raises(ValueError, match="J >= 2"):
        album_similarities(np.zeros(shape))
