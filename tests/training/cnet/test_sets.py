from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewright.training.cnet.sets import AT_MOST_BAD, People, draw_sets

PERSON = np.repeat(np.arange(12), [1, 2, 3, 5, 9, 1, 4, 5, 6, 2, 3, 5])


def test_people_with_one_picture_are_left_out_and_nobody_is_in_both_groups():
    people = People(PERSON, 0.3, seed=1)
    groups = [{int(PERSON[rows[0]]) for rows in g} for g in (people.training, people.held_out)]
    assert [len(group) for group in groups] == [7, 3]
    assert groups[0] | groups[1] == set(range(12)) - {0, 5}
    for rows in people.training:
        assert len(set(PERSON[rows])) == 1
        assert len(rows) == (PERSON[rows[0]] == PERSON).sum()
    again, other = People(PERSON, 0.3, seed=1), People(PERSON, 0.3, seed=2)
    assert [r.tolist() for r in people.held_out] == [r.tolist() for r in again.held_out]
    assert [r.tolist() for r in people.held_out] != [r.tolist() for r in other.held_out]
    with pytest.raises(ValueError, match="too few"):
        People(np.array([1, 1, 2, 3]), 0.1, seed=1)


@given(
    size=st.integers(2, 8),
    count=st.integers(1, 15),
    degraded=st.floats(0, 1),
    copies=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_sets_are_of_one_person_each(size, count, degraded, copies, seed):
    people = People(PERSON, 0.3, seed=1).training
    sets = draw_sets(
        people, count, size, degraded=degraded, copies=copies, rng=np.random.default_rng(seed)
    )
    assert sets.rows.shape == sets.copies.shape == sets.present.shape == (count, size)
    for rows, which, present in zip(*sets, strict=True):
        assert len(set(PERSON[rows])) == 1
        own = rows[present]
        assert len(set(own.tolist())) == len(own) == min(size, (PERSON[rows[0]] == PERSON).sum())
        assert (which <= copies).all()
        assert (which[~present] == 0).all()
        bad = (which > 0).sum()
        assert bad <= min(AT_MOST_BAD, len(own) - 1)
    if count <= len(people):
        assert len({PERSON[rows[0]] for rows in sets.rows}) == count


def test_the_share_of_degraded_sets():
    people = People(PERSON, 0.3, seed=1).training

    def share(degraded):
        rng = np.random.default_rng(0)
        sets = draw_sets(people, 400, 4, degraded=degraded, copies=2, rng=rng)
        return (sets.copies > 0).any(1).mean()

    assert share(0.0) == 0
    assert share(1.0) == 1
    assert 0.4 < share(0.5) < 0.6
