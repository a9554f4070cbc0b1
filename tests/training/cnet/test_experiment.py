from __future__ import annotations

import pytest

from facewright.training.cnet.experiment import (
    EXPERIMENTS,
    PAPER,
    CNetExperiment,
    read_cnet_experiment,
)
from facewright.training.experiment_files import ExperimentError, names_in

SHAPE = {"portrait_sets": 1, "shape": {"normal": 1}}


def test_the_experiments_that_come_along_are_sound():
    assert names_in(EXPERIMENTS) == ["both", "shape", "weak", "weak_portraits"]
    for name in names_in(EXPERIMENTS):
        read_cnet_experiment(name)


def test_weak_is_the_paper():
    weak = read_cnet_experiment("weak")
    expected = CNetExperiment(steps=10_000, photo_sets=5, weak=1.0)
    assert weak == expected
    assert weak.hybrid == PAPER
    assert (PAPER.photometric, PAPER.landmarks, PAPER.perceptual) == (1.9, 1.6e-3, 0.1)
    assert (weak.optimizer.name, weak.optimizer.rate, weak.photos_per_set) == ("adam", 2e-5, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs sets"),
        ({"portrait_sets": 1}, "weight 0"),
        ({**SHAPE, "photo_sets": 1}, "photographs need the weak loss"),
        ({**SHAPE, "weak": 1, "recognizer": None}, "recognizer"),
        ({**SHAPE, "minutes": 1, "steps": 1}, "not both"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        CNetExperiment.model_validate(settings)


def test_the_length_can_be_given_anew():
    shape = read_cnet_experiment("shape")
    with pytest.raises(ExperimentError, match="length"):
        shape.lasting(None, None)
    assert shape.lasting(2.0, None).progress(10**6, 60.0) == 0.5
    assert shape.lasting(None, 10).progress(5, 1e9) == 0.5
    weak = read_cnet_experiment("weak")
    assert weak.lasting(None, None).steps == 10_000
    assert weak.lasting(3.0, None).steps is None
    with pytest.raises(ExperimentError, match="not both"):
        weak.lasting(1.0, 1)
