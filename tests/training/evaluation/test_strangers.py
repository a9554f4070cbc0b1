import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from facewright.models.layout import LAYOUT_239
from facewright.training.commands.evaluate import app
from facewright.training.evaluation.network import Network
from facewright.training.evaluation.strangers import stranger_figures


def album_of(people, photos, spread, seed=0):
    rng = np.random.default_rng(seed)
    means = np.repeat(rng.normal(size=(people, 80)), photos, axis=0)
    names = [f"Person {k}" for k in range(people) for _ in range(photos)]
    return means + spread * rng.normal(size=means.shape), names


def test_rates_and_the_fitted_threshold():
    identity, people = album_of(12, 6, 0.2)
    figures = stranger_figures(identity, people, 0, "made up", threshold=4.0, albums=100)
    assert [f.measure for f in figures[:6]] == [
        f"{what}, albums of {size}, beyond 4"
        for size in (2, 3, 5)  # nobody has 20
        for what in ("false alarms", "strangers noticed")
    ]
    assert [f.value for f in figures[:-1]] == [0, 100] * 3 + [100] * 3
    # Distances of one person are chi-distributed about 0.2 * sqrt(80) with deviation 0.2 / sqrt 2.
    assert figures[-1].value == pytest.approx(0.2 * (np.sqrt(80) + 2 / np.sqrt(2)), rel=0.1)
    again = stranger_figures(
        identity, people, 0, "made up", threshold=figures[-1].value, albums=100
    )
    alarms = [f.value for f in again if f.measure.startswith("false alarms")]
    assert np.mean(alarms) == pytest.approx(2, abs=0.5)


def test_cosines_are_judged_from_the_other_side():
    directions, people = album_of(12, 6, 0.2)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    figures = stranger_figures(
        directions, people, 0, "made up", threshold=0.6, by="cosine", sizes=(3, 5), albums=100
    )
    assert [f.measure for f in figures] == [
        "false alarms, albums of 3, below 0.6",
        "strangers noticed, albums of 3, below 0.6",
        "false alarms, albums of 5, below 0.6",
        "strangers noticed, albums of 5, below 0.6",
        "strangers noticed, albums of 3, at 2% of false alarms",
        "strangers noticed, albums of 5, at 2% of false alarms",
        "cosine below which 2% of false alarms lie",
    ]
    assert [f.value for f in figures[:-1]] == [0, 100, 0, 100, 100, 100]
    # Two photos of one person: 1 / (1 + 0.2²), a little less for the worst of them.
    assert 0.9 < figures[-1].value < 0.96
    assert figures[-1].unit == ""


def test_people_that_look_alike_are_not_noticed():
    identity, people = album_of(8, 5, 3.0)
    figures = stranger_figures(identity, people, 0, "made up", threshold=1.0, sizes=(3,), albums=50)
    assert figures[0].value == 100  # everything is beyond the threshold
    threshold = figures[-1].value
    (_, noticed, fitted, _) = stranger_figures(
        identity, people, 0, "made up", threshold=threshold, sizes=(3,), albums=200
    )
    assert noticed.value < 15
    assert fitted.value < 15


@pytest.mark.parametrize("people", [[], ["A", "A", "A"], ["A", "B", "C"]])
def test_without_albums_there_are_no_figures(people):
    described = np.zeros((len(people), 80))
    assert stranger_figures(described, people, 0, "nothing", threshold=1.0) == []


def person_numbers(people):
    return [sorted(set(people)).index(person) for person in people]


@pytest.fixture
def call(tmp_path, face_model, face_model_file, monkeypatch):
    """The command on photos of noise, with a network that knows who is on them."""

    def run(people, *options, describes=False):
        rng = np.random.default_rng(0)
        names = [f"{person}_{k}.png" for k, person in enumerate(people)]
        rows = np.zeros((len(people), 239), np.float32)
        rows[:, LAYOUT_239.identity] = [
            np.random.default_rng(ord(person)).normal(size=80) for person in people
        ]
        rows[:, LAYOUT_239.identity] += 0.1 * rng.normal(size=(len(people), 80))
        for name in names:
            cv2.imwrite(str(tmp_path / name), rng.integers(0, 256, (260, 260, 3), np.uint8))
        points = 1.5 * face_model.five_points[:, :2] * [1, -1] + 130
        np.savez(tmp_path / "points.npz", names=names, points=np.stack([points] * len(names)))
        mesh = rng.normal(size=(len(names), 468, 3))
        np.savez(tmp_path / "labels.npz", names=names, mesh468=mesh)
        rest, described = list(rows), list(np.eye(3, 9, dtype=np.float32)[person_numbers(people)])
        network = Network(
            lambda crops: np.stack([rest.pop(0) for _ in crops]),
            LAYOUT_239,
            face_model.sha256,
            (lambda crops: np.stack([described.pop(0) for _ in crops])) if describes else None,
        )
        monkeypatch.setattr(
            "facewright.training.evaluation.network.load_network", lambda path: network
        )
        arguments = ["strangers", "net.onnx", tmp_path, "--labels", tmp_path / "labels.npz"]
        arguments += ["--points", tmp_path / "points.npz", "--face-model", face_model_file]
        arguments += ["--json", tmp_path / "figures.json", *options]
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def test_the_command_measures_photos(call, tmp_path):
    result = call("AAABBBCC")
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    # albums of 2 and 3
    assert [row["value"] for row in figures[:-1]] == [0, 100, 0, 100, 100, 100]
    assert figures[-1]["value"] < 2


def test_the_distance_can_be_given(call, tmp_path):
    result = call("AAABBBCC", "--distance", "99")
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert [row["value"] for row in figures[:4]] == [0, 0] * 2
    assert figures[0]["measure"].endswith("beyond 99")


def test_the_command_goes_by_descriptors(call, tmp_path):
    result = call("AAABBBCC", "--descriptors", "--cosine", "0.5", describes=True)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert [row["value"] for row in figures[:-1]] == [0, 100, 0, 100, 100, 100]
    assert figures[-1]["value"] == pytest.approx(1)


def test_not_every_network_has_descriptors(call):
    result = call("AAABBBCC", "--descriptors")
    assert result.exit_code == 1
    assert "has no descriptors" in result.output


def test_the_command_needs_albums(call):
    result = call("ABC")
    assert result.exit_code == 1
    assert "two people" in result.output
