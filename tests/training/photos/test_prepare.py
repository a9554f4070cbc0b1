"""From photo files to shards, as training reads them."""

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from facewright.models.alignment import crop_transform
from facewright.training.cli import app
from facewright.training.data.shards import MARGIN, ShardSet
from facewright.training.photos.crops import cut_crop, map_points_back, read_photo
from facewright.training.photos.faces import read_faces
from facewright.training.photos.landmarks import LabeledLandmarks
from facewright.training.photos.people import is_held_out
from facewright.training.photos.prepare import plan_photos, write_shards
from facewright.training.skin import skin_attention, skin_probability


def prepare(*arguments):
    return CliRunner().invoke(app, ["prepare", *map(str, arguments)])


def test_the_command_writes_what_training_reads(collection, tmp_path, shipped_model):
    photos, labels, faces, points = collection
    out = tmp_path / "shards"
    result = prepare(photos, "-o", out, "--labels", labels, "--points", faces,
                     "--hold-out", 0.3, "--shard-size", 3)  # fmt: skip
    assert result.exit_code == 0, result.output
    shards = ShardSet(out)
    assert shards.meta.kind == "photos"
    assert shards.meta.face_model_sha256 == shipped_model.sha256
    names = [name for name in sorted(points) if not is_held_out(name.split("/")[0], 0.3)]
    assert len(shards) == len(names) == 8
    assert [len(shard) for shard in map(np.load, sorted(out.glob("*/attention.npy")))] == [3, 3, 2]
    assert shards.labels.person.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert np.isnan(shards.labels.identity).all()
    source, beyond = LabeledLandmarks(labels), 0
    for row, name in enumerate(names):
        transform = crop_transform(points[name], shipped_model.five_points)
        photo = read_photo(photos / name)
        image = shards.images([row])[0]
        np.testing.assert_array_equal(image, cut_crop(photo, transform, MARGIN))
        crop = cut_crop(photo, transform).astype(int)
        assert np.abs(image[8:-8, 8:-8] - crop).max() <= 1
        marked = source.find(name)
        known = shards.labels.landmark_visible[row]
        np.testing.assert_array_equal(known, marked.known)
        expected = marked.points @ transform[:, :2].T + transform[:, 2]
        np.testing.assert_allclose(shards.labels.landmarks[row][known], expected[known], atol=1e-3)
        attention = shards.attention([row])[0] / 255
        by_color = skin_attention(skin_probability(image))
        outside = attention == 0
        np.testing.assert_allclose(attention[~outside], by_color[~outside], atol=0.003)
        centers = np.stack(np.meshgrid(*2 * [np.arange(240) + 0.5 - MARGIN]), axis=-1)
        above = map_points_back(transform, centers)[..., 1] < 0
        beyond += above.sum()
        assert outside[above].all()
        assert outside[:, 100:140][~above[:, 100:140]].mean() < 0.2
    assert beyond > 0
    # Nothing in the directory names a person or a photo.
    for path in out.rglob("*"):
        if path.is_file():
            assert not any(name.encode() in path.read_bytes() for name in ("Gus_0", "Ida/Ida"))
    assert not (out / "points.npz").exists()

    held_out = prepare(photos, "-o", tmp_path / "other", "--labels", labels, "--points", faces,
                       "--hold-out", 0.3, "--split", "held-out")  # fmt: skip
    assert held_out.exit_code == 0, held_out.output
    assert len(ShardSet(tmp_path / "other")) == 4


def test_an_interrupted_run_goes_on(collection, tmp_path, face_model):
    photos, labels, faces, _ = collection
    source = LabeledLandmarks(labels)
    plan = plan_photos(photos, read_faces(faces), hold_out=0, shard_size=4)
    assert plan.n_shards == 3
    write_shards(plan, tmp_path / "whole", face_model, source, workers=2)

    out, done = tmp_path / "parts", []

    def interrupt(count):
        done.append(count)
        if sum(done) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(plan, out, face_model, source, advance=interrupt)
    assert [path.name for path in out.iterdir()] == ["shard_00000"]
    before = (out / "shard_00000" / "images.npy").stat().st_mtime_ns
    counts = []
    write_shards(plan, out, face_model, source, advance=counts.append)
    assert counts[0] == 4
    assert sum(counts) == 12
    assert (out / "shard_00000" / "images.npy").stat().st_mtime_ns == before
    whole, parts = ShardSet(tmp_path / "whole"), ShardSet(out)
    rows = range(12)
    np.testing.assert_array_equal(whole.images(rows), parts.images(rows))
    np.testing.assert_array_equal(whole.attention(rows), parts.attention(rows))
    np.testing.assert_array_equal(whole.labels.landmarks, parts.labels.landmarks)


def test_different_photos_do_not_mix(collection, tmp_path, face_model):
    photos, labels, faces, _ = collection
    source = LabeledLandmarks(labels)
    found = read_faces(faces)
    plan = plan_photos(photos, found, hold_out=0.3, shard_size=4)
    write_shards(plan, tmp_path / "out", face_model, source)
    for other in (
        plan_photos(photos, found, hold_out=0, shard_size=4),
        plan_photos(photos, found, hold_out=0.3, shard_size=8),
        plan_photos(photos, found, hold_out=0.3, people="held-out", shard_size=4),
    ):
        with pytest.raises(ValueError, match="choose another directory"):
            write_shards(other, tmp_path / "out", face_model, source)
    moved = LabeledLandmarks(labels, "labels68", (1, 0))
    with pytest.raises(ValueError, match="choose another directory"):
        write_shards(plan, tmp_path / "out", face_model, moved)
    assert write_shards(plan, tmp_path / "out", face_model, source).total() == 0
    with pytest.raises(ValueError, match="held-out people"):
        plan_photos(photos, found, hold_out=0, people="held-out")


def test_what_cannot_be_used_is_left_out_and_reported(collection, tmp_path):
    photos, labels, faces, _ = collection
    (photos / "Ada" / "Ada_0.png").write_bytes(b"no picture")
    with np.load(labels) as file:
        arrays = dict(file)
    arrays["mesh468"][3] = np.nan
    arrays["mesh468"][6, :, 0] += 60
    np.savez(labels, **arrays)
    result = prepare(photos, "-o", tmp_path / "s", "--labels", labels, "--points", faces,
                     "--hold-out", 0)  # fmt: skip
    assert result.exit_code == 0, result.output
    for reason in ("cannot be read", "has no landmarks", "has landmarks away from"):
        assert f"1 left out: the photo {reason}" in " ".join(result.output.split())
    assert len(ShardSet(tmp_path / "s")) == 9
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no picture")
    result = prepare(photos, "-o", tmp_path / "none", "--labels", labels, "--points", faces)
    assert result.exit_code == 1
    assert "no photo of shard 0 can be used" in result.output
    assert not list((tmp_path / "none").glob("shard*"))


def test_faces_are_found_by_the_service(collection, tmp_path, monkeypatch):
    photos, labels, _, points = collection
    for folder in sorted(photos.iterdir())[1:]:
        shutil.rmtree(folder)
    result = prepare(photos, "-o", tmp_path / "s", "--labels", labels, "--hold-out", 0)
    assert result.exit_code == 0, result.output
    faces = read_faces(tmp_path / "s" / "points.npz")
    assert sorted(faces) == ["Ada/Ada_0.png", "Ada/Ada_1.png"]
    np.testing.assert_allclose(faces["Ada/Ada_0.png"].points, points["Ada/Ada_0.png"], atol=5)
    assert len(ShardSet(tmp_path / "s")) == 2
    shutil.rmtree(tmp_path / "s" / "shard_00000")
    monkeypatch.setattr("subprocess.run", None)  # the second start uses what is there
    result = prepare(photos, "-o", tmp_path / "s", "--labels", labels, "--hold-out", 0)
    assert result.exit_code == 0, result.output
    assert len(ShardSet(tmp_path / "s")) == 2


def test_what_is_missing_is_said(tmp_path):
    result = prepare(tmp_path, "-o", tmp_path / "out", "--labels", tmp_path / "none.npz")
    assert result.exit_code == 1
    assert "No such file" in result.output
