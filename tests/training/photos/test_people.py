import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.training.photos.people import (
    is_held_out,
    normalize,
    number_people,
    person_of,
    rows_of,
)

people = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12).filter(normalize)
names = st.builds("{}_{:02d}.jpg".format, people, st.integers(0, 99))
shares = st.floats(0, 1)


def test_people_by_folder_or_file_name():
    assert person_of("Ann_Lee/Ann_Lee_0001.jpg") == "Ann_Lee"
    assert person_of("Ann_Lee_12.jpg") == "Ann_Lee"
    assert person_of("news/Ann_Lee_12.jpg", "name") == "Ann_Lee"
    assert person_of("a/Ann_Lee/x.jpg", "folder") == "Ann_Lee"
    assert person_of("alone.jpg") == "alone"
    assert person_of("a/made_up_1.jpg", "file") != person_of("a/made_up_2.jpg", "file")
    with pytest.raises(ValueError, match="no folder"):
        person_of("Ann_Lee_12.jpg", "folder")


def test_spellings_of_a_name_are_one_person():
    assert normalize("Conan_OBrien") == normalize("Conan O'Brien") == normalize("CONAN OBRIEN")
    assert normalize("Jose_Lopez") == normalize("José López")
    assert normalize("Ann_Lee") != normalize("Ann_Leo")


def test_the_side_of_known_names_never_changes():
    """Held-out people of earlier runs stay held out.

    By `printf bo | sha256sum` and so on: the digests that begin below 0.3 * 16^4 = 4ccc are those
    of Bo (3d09), Cy (3d30), Di (225e), Flo (31a0) and Hal (2325).
    """
    people = ("Ada", "Bo", "Cy", "Di", "Ed", "Flo", "Gus", "Hal", "Ida", "Jo")
    held_out = [person for person in people if is_held_out(person, 0.3)]
    assert held_out == ["Bo", "Cy", "Di", "Flo", "Hal"]


@settings(deadline=None)
@given(st.lists(names, max_size=30), shares)
def test_sides_are_disjoint_and_complete(given_names, share):
    train, held_out = (rows_of(given_names, side, share) for side in ("train", "held-out"))
    assert sorted([*train, *held_out]) == list(range(len(given_names)))
    sides = [{normalize(person_of(given_names[row])) for row in rows} for rows in (train, held_out)]
    assert not sides[0] & sides[1]
    np.testing.assert_array_equal(rows_of(given_names, "all", share), np.arange(len(given_names)))


@settings(deadline=None)
@given(st.lists(names, min_size=1, max_size=20), st.randoms(use_true_random=False), shares)
def test_a_side_depends_on_the_person_alone(given_names, random, share):
    chosen = {given_names[row] for row in rows_of(given_names, "held-out", share)}
    shuffled = given_names[:]
    random.shuffle(shuffled)
    fewer = shuffled[: len(shuffled) // 2]
    assert {fewer[row] for row in rows_of(fewer, "held-out", share)} == chosen & set(fewer)
    in_folders = [f"{person_of(name)}/{name}" for name in given_names]
    again = {in_folders[row].split("/")[1] for row in rows_of(in_folders, "held-out", share)}
    assert again == chosen


@settings(deadline=None)
@given(people, shares, shares)
def test_a_larger_share_keeps_everybody(person, a, b):
    small, large = sorted((a, b))
    assert not is_held_out(person, small) or is_held_out(person, large)
    assert is_held_out(person, 1.0)
    assert not is_held_out(person, 0.0)


def test_about_the_share_is_held_out():
    held_out = [is_held_out(f"Person {k}", 0.15) for k in range(4000)]
    assert abs(np.mean(held_out) - 0.15) < 4 * np.sqrt(0.15 * 0.85 / 4000)
    with pytest.raises(ValueError, match="share"):
        is_held_out("Ada", 1.5)


def test_numbers_are_equal_where_people_are():
    numbers = number_people(["Bo", "José", "Ada", "JOSE", "Bo"])
    assert numbers.tolist() == [1, 2, 0, 2, 1]
    assert numbers.dtype == np.int64
    assert number_people([]).shape == (0,)
