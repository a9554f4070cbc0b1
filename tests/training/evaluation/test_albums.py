"""Albums of identities whose errors, and confidences that tell of them, are made up."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from facewright.models.checkpoints_torch import CheckpointInfo, save_checkpoint
from facewright.models.cnet_torch import CNet
from facewright.models.layout import LAYOUT_239
from facewright.models.rnet_torch import RNet
from facewright.training.data.shards import (
    IMAGE_SIZE,
    LABEL_SHAPES,
    ShardMeta,
    ShardSet,
    ShardWriter,
)
from facewright.training.evaluation.album_report import AlbumReport, insert
from facewright.training.evaluation.albums import (
    MEAN_FACE,
    ORACLE,
    PLAIN,
    SINGLE,
    Photos,
    confidence_ranks,
    evaluate_albums,
    predict_albums,
    probe_confidences,
)
from facewright.training.evaluation.measures import NeutralErrors, face_errors
from facewright.training.evaluation.network import Network, load_network
from facewright.training.onnx.graph import build_onnx, serialize

PEOPLE, EACH = 12, 6


def made_up(known=True, told=True):
    """Clean copies are off by 0.5, degraded ones by 2 sigma; confidences say so, if ``told``."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(PEOPLE), EACH)
    true = rng.normal(size=(PEOPLE, 80))[person]
    spread = np.array([0.5, 2.0])[:, None]
    identity = true[:, None] + spread * rng.normal(size=(len(person), 2, 80))
    confidence = np.broadcast_to(0.1 / spread**2 if told else 0.5, identity.shape)
    # Photos do not tie for the best.
    if told:
        confidence = confidence * (1 + 1e-9 * np.arange(len(person))[:, None, None])
    if not known:
        true = np.full_like(true, np.nan)
    yaw = rng.uniform(0, 60, len(person))
    return Photos(person, identity.astype(np.float32), confidence, yaw, true)


def by_key(rows):
    return {(row.condition, row.photos, row.strategy): row for row in rows}


def test_confidences_that_know_help_and_others_do_not(face_model):
    sizes = (1, 2, 5, 10)
    rows = by_key(evaluate_albums(made_up(), face_model, sizes=sizes, draws=2))
    assert {key[1] for key in rows} == {1, 2, 5}  # nobody has ten
    for size in (2, 5):
        better = rows["degraded", size, "element-wise confidence"]
        assert better.over_plain.high < 0
        assert better.error.value < rows["degraded", size, "scalar confidence"].error.value + 1e-3
        assert rows["degraded", size, SINGLE].over_plain.low > 0
        same = rows["clean", size, "element-wise confidence"]
        assert same.over_plain.value == pytest.approx(0, abs=1e-5)
        assert rows["clean", size, PLAIN].error.value < rows["clean", size, ORACLE].error.value
        best = rows["degraded", size, "best photo by confidence"]
        assert best.error.value >= rows["degraded", size, ORACLE].error.value - 1e-6
    for condition in ("clean", "degraded"):
        single = rows[condition, 1, SINGLE].error.value
        for name in ("element-wise confidence", PLAIN, ORACLE):
            assert rows[condition, 1, name].error.value == pytest.approx(single, rel=1e-5)
    mean = [row.error.value for key, row in rows.items() if key[2] == MEAN_FACE]
    assert np.ptp(mean) < 1e-6
    row = rows["clean", 2, PLAIN]
    assert row.people == PEOPLE
    assert row.error.low < row.error.value < row.error.high
    untold = by_key(evaluate_albums(made_up(told=False), face_model, sizes=(3,), draws=1))
    assert untold["degraded", 3, "element-wise confidence"].over_plain.value == pytest.approx(
        0, abs=1e-6
    )


def test_photographs_are_told_apart(face_model):
    rows = by_key(evaluate_albums(made_up(known=False), face_model, sizes=(1, 2, 3, 5)))
    assert {key[1] for key in rows} == {1, 2, 3}  # two halves each
    assert MEAN_FACE not in {key[2] for key in rows}
    assert 0.9 < rows["clean", 3, PLAIN].error.value <= 1
    degraded = [rows["degraded", 3, name].error.value for name in (SINGLE, PLAIN)]
    best = rows["degraded", 3, "element-wise confidence"]
    assert degraded[0] < best.error.value >= degraded[1]
    assert best.over_plain.low <= best.over_plain.value <= best.over_plain.high


def test_the_error_is_that_of_the_evaluation_of_portraits(face_model, shard_directory):
    labels = ShardSet(shard_directory).labels.take(slice(0, 3))
    off = labels.identity + np.random.default_rng(0).normal(size=labels.identity.shape)
    parts = (off, labels.expression, labels.albedo, labels.light)
    coefficients = np.concatenate([*parts, labels.rotation, labels.translation], 1)
    expected = face_errors(face_model, coefficients, labels).neutral_plane_mm
    errors = NeutralErrors(face_model)
    mine = [errors(off[k : k + 1], labels.identity[k])[0] for k in range(3)]
    np.testing.assert_allclose(mine, expected, rtol=1e-4)


def test_ranks_of_confidences_that_know(face_model):
    ranks = confidence_ranks(made_up(), face_model)
    assert ranks["photo, both"] > 0.6
    assert ranks["coefficient"] > 0.3
    none = confidence_ranks(made_up(told=False), face_model)
    assert set(none.values()) == {0.0}  # all the same confidence


@pytest.fixture(scope="module")
def gray_people(tmp_path_factory, face_model):
    """Photographs of blocks; three people of four, one of one."""
    directory = tmp_path_factory.mktemp("gray")
    rng = np.random.default_rng(0)
    unknown = {name: np.full(shape, np.nan) for name, shape in LABEL_SHAPES.items()}
    meta = ShardMeta("photos", 0, "test", face_model.sha256)
    with ShardWriter(directory, 0, capacity=13, meta=meta) as writer:
        for k in range(13):
            image = np.kron(rng.integers(60, 200, (15, 15, 3)), np.ones((16, 16, 1)))
            labels = unknown | {
                "landmarks": np.zeros((68, 2)),
                "landmark_visible": np.zeros(68, bool),
                "person": np.int64(k // 4),
            }
            attention = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
            writer.add(image.astype(np.uint8), attention, **labels)
    return directory


def sharpness_network(sha256=""):
    """Sees the mean colors of a crop and is sure of it as far as it is sharp."""

    def predict(crops):
        assert crops.shape[1:] == (224, 224, 3)
        coefficients = np.zeros((len(crops), 239), np.float32)
        small = np.stack([cv2.resize(c, (5, 5), interpolation=cv2.INTER_AREA) for c in crops])
        coefficients[:, :75] = small.reshape(len(crops), -1) / 64.0 - 2
        edges = np.abs(np.diff(crops.astype(np.float32), axis=2)).mean((1, 2, 3))
        confidence = 1 / (1 + np.exp(-(edges - 8) / 4))
        return coefficients, np.tile(confidence[:, None], (1, 80)).astype(np.float32)

    return Network(lambda crops: predict(crops)[0], LAYOUT_239, sha256, confide=predict)


def test_a_whole_evaluation_of_photographs(gray_people, face_model, tmp_path, capsys):
    shards, network = ShardSet(gray_people), sharpness_network(face_model.sha256)
    photos = predict_albums(network, face_model, shards, people=9, per_person=4, seed=0)
    assert sorted(photos.person) == [0] * 4 + [1] * 4 + [2] * 4  # not the one of one photo
    again = predict_albums(network, face_model, shards, people=9, per_person=4, seed=0)
    assert np.array_equal(again.identity, photos.identity)
    assert not np.array_equal(photos.identity[:, 0], photos.identity[:, 1])
    probes = probe_confidences(network, shards, photos, pictures=4)
    blur = [row.confidence.value for row in probes if row.probe == "blur"]
    assert len(blur) == 5
    assert all(a > b for a, b in zip(blur, blur[1:], strict=False))
    report = AlbumReport(
        "photographs", "AUC", "", evaluate_albums(photos, face_model), probes, {"photo": 0.5}
    )
    report.show(Console(width=200))
    shown = capsys.readouterr().out
    assert "element-wise confidence" in shown
    assert "0.500" in shown
    report.write(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "albums.json").read_text())
    rows = list(csv.DictReader((tmp_path / "out" / "albums.csv").open()))
    assert len(content["albums"]) == len(rows) == 2 * 2 * 5
    assert float(rows[0]["error"]) == content["albums"][0]["error"]
    for name in ("albums", "confidences"):
        assert cv2.imread(str(tmp_path / "out" / f"{name}.png")) is not None
    with pytest.raises(ValueError, match="face model"):
        predict_albums(sharpness_network("x"), face_model, shards, people=2, per_person=2, seed=0)
    alone = Network(network.predict, LAYOUT_239, "")
    with pytest.raises(ValueError, match="no C-Net"):
        predict_albums(alone, face_model, shards, people=2, per_person=2, seed=0)


def test_networks_with_confidences(tmp_path, face_model):
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    torch.manual_seed(0)
    rnet, cnet = RNet(input_size=64).eval(), CNet().eval()
    torch.nn.init.normal_(cnet.fc2.weight, std=0.1)
    checkpoint, graph = tmp_path / "net.pt", tmp_path / "net.onnx"
    info = CheckpointInfo("239", "paper", face_model.sha256, 0, 0, {}, 64)
    save_checkpoint(checkpoint, rnet, cnet, info)
    metadata = {"layout": "239", "face_model": face_model.sha256}
    graph.write_bytes(serialize(build_onnx(rnet, cnet, "float32", metadata)))
    ours, served = (load_network(path) for path in (checkpoint, graph))
    assert ours.face_model_sha256 == served.face_model_sha256 == face_model.sha256
    for mine, theirs in zip(ours.confide(crops), served.confide(crops), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    with pytest.raises(FileNotFoundError, match="no network"):
        load_network(tmp_path / "none.pt")


def test_the_table_goes_between_the_markers(tmp_path, face_model):
    rows = evaluate_albums(made_up(), face_model, sizes=(2,), draws=1)
    table = AlbumReport("portraits", "error", "mm", rows, [], {}).markdown()
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- albums -->\n<!-- /albums -->\nb\n")
    for _ in range(2):
        insert(table, page)
        lines = page.read_text().splitlines()
        assert lines[:2] == ["a", "<!-- albums -->"]
        assert lines[-2:] == ["<!-- /albums -->", "b"]
        assert len([line for line in lines if line.startswith("| 2, ")]) == 2
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no <!-- albums -->"):
        insert(table, page)
