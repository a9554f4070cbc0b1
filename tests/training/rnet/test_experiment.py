import pytest

from facewright.training.experiment_files import ExperimentError, names_in
from facewright.training.losses.hybrid import HybridWeights
from facewright.training.rnet.averaging import average_weight
from facewright.training.rnet.experiment import (
    EXPERIMENTS,
    Experiment,
    LossWeights,
    read_experiment,
)
from facewright.training.trainer.optimizer import Optimizer, rate_at

ONE_STAGE = "stages: [{size: 64, portraits: 8}]\n"


def test_a_file_overrides_single_settings(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        ONE_STAGE + "minutes: 3\noptimizer: {rate: 1}\nportrait_loss: {albedo: 0}\n"
        "portrait_augmentation: {mirror: 0.1}\nphoto_loss: {perceptual: 0}\n"
    )
    experiment = read_experiment(str(path))
    assert experiment.minutes == 3
    assert experiment.optimizer == Optimizer(rate=1.0)
    assert experiment.portrait_loss == LossWeights(albedo=0)
    assert experiment.portrait_augmentation.mirror == 0.1
    assert experiment.photo_loss == HybridWeights(perceptual=0)
    assert (experiment.uses_portraits, experiment.uses_photos) == (True, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("peek_rate: 1", "peek_rate: unknown setting"),
        ("portrait_loss: {albeado: 1}", "portrait_loss.albeado: unknown setting"),
        ("photo_loss: {albeado: 1}", "photo_loss.albeado: unknown setting"),
        ("optimizer: {rate: fast}", "optimizer.rate"),
        ("optimizer: {name: sgd}", "optimizer.name"),
        ("photo_loss: {landmarks: -1}", "photo_loss.landmarks"),
        ("stages: [{size: 100, photos: 8}]", r"stages.0.size.*multiple of 32"),
        ("stages: [{size: 96, photos: 8, share: 0.5}]", "sum to 1"),
        ("stages: [{size: 96}]", "portraits or photos"),
        ("stages: []", "stages"),
        ("minutes: 1\nimages: 5", "not both"),
        ("recognizer: null", "needs a recognizer"),
        ("portrait_augmentation: {shift: 9}", "shift"),
        ("[1, 2]", "mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_bad_settings_are_named(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ExperimentError, match=message):
        read_experiment(str(path))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ExperimentError, match="papers.*cpu, open_photos, paper"):
        read_experiment("papers")


def test_the_experiments_that_come_along_are_sound():
    assert {"cpu", "open_photos", "paper"} <= set(names_in(EXPERIMENTS))
    for name in names_in(EXPERIMENTS):
        read_experiment(name)


def test_the_paper_is_the_default():
    paper = read_experiment("paper")
    assert paper == Experiment(images=500_000 * 5, imagenet=True)
    assert paper.photo_loss == HybridWeights()
    assert (paper.stages[0].photos, paper.stages[0].portraits) == (5, 0)
    assert (paper.optimizer.name, paper.optimizer.rate) == ("adam", 1e-4)


def test_the_length_can_be_given_anew():
    cpu = read_experiment("cpu")
    with pytest.raises(ExperimentError, match="length"):
        cpu.lasting(None, None)
    assert cpu.lasting(5, None).minutes == 5
    paper = read_experiment("paper").lasting(2.0, None)
    assert (paper.minutes, paper.images) == (2.0, None)
    with pytest.raises(ExperimentError, match="not both"):
        cpu.lasting(1, 1)


def test_stages_follow_each_other(small):
    assert [small.stage_at(p).size for p in (0, 0.49, 0.5, 0.99, 1.0)] == [32, 32, 64, 64, 64]


def test_progress_is_by_images_or_by_time():
    assert Experiment(images=200).progress(50, 1e9) == 0.25
    assert Experiment(minutes=2).progress(50, 30.0) == 0.25


def test_the_rate_rises_and_falls():
    optimizer = Optimizer(rate=1.0, warm_up=0.1, schedule="cosine")
    rates = [rate_at(optimizer, p) for p in (0, 0.05, 0.1, 0.55, 1.0)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.5, 0.0], abs=1e-9)
    assert {rate_at(Optimizer(), p) for p in (0, 0.5, 1)} == {1e-4}


def test_the_average_forgets_the_start():
    assert average_weight(1000, 0, 10) == 0.9
    assert average_weight(1000, 10_000, 10) == 0.01
    assert average_weight(None, 10_000, 10) == 1.0
