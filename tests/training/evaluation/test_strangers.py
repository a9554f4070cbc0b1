import numpy as np
import pytest

from training.evaluation.strangers import stranger_figures


def album_of(people, photos, spread, seed=0):
    rng = np.random.default_rng(seed)
    means = np.repeat(rng.normal(size=(people, 80)), photos, axis=0)
    names = [f"Person {k}" for k in range(people) for _ in range(photos)]
    return means + spread * rng.normal(size=means.shape), names


def test_rates_and_the_fitted_threshold():
    identity, people = album_of(12, 6, 0.2)
    figures = stranger_figures(identity, people, 0, "made up", threshold=4.0, albums=100)
    assert [f.measure for f in figures[:-1]] == [
        f"{what}, albums of {size}, beyond 4"
        for size in (2, 3, 5)  # nobody has 20
        for what in ("false alarms", "strangers noticed")
    ]
    assert [f.value for f in figures[:-1]] == [0, 100] * 3
    # Distances of one person are chi-distributed about 0.2 * sqrt(80) with deviation 0.2 / sqrt 2.
    assert figures[-1].value == pytest.approx(0.2 * (np.sqrt(80) + 2 / np.sqrt(2)), rel=0.1)
    again = stranger_figures(
        identity, people, 0, "made up", threshold=figures[-1].value, albums=100
    )
    alarms = [f.value for f in again if f.measure.startswith("false alarms")]
    assert np.mean(alarms) == pytest.approx(2, abs=0.5)


def test_people_that_look_alike_are_not_noticed():
    identity, people = album_of(8, 5, 3.0)
    figures = stranger_figures(identity, people, 0, "made up", threshold=1.0, sizes=(3,), albums=50)
    assert figures[0].value == 100  # everything is beyond the threshold
    threshold = figures[-1].value
    (_, noticed, _) = stranger_figures(
        identity, people, 0, "made up", threshold=threshold, sizes=(3,), albums=200
    )
    assert noticed.value < 15


@pytest.mark.parametrize("people", [[], ["A", "A", "A"], ["A", "B", "C"]])
def test_without_albums_there_are_no_figures(people):
    assert stranger_figures(np.zeros((len(people), 80)), people, 0, "nothing") == []
