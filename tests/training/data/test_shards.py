import numpy as np
import pytest

from facewright.training.data.shards import (
    COEFFICIENTS,
    IMAGE_SIZE,
    LABEL_SHAPES,
    ShardMeta,
    ShardReader,
    ShardSet,
    ShardWriter,
    shard_path,
)

META = ShardMeta("portraits", seed=1, generator_version="test", face_model_sha256="abc")


def portrait(rng):
    labels = {name: rng.normal(size=shape) for name, shape in LABEL_SHAPES.items()}
    labels["landmark_visible"] = labels["landmark_visible"] > 0
    labels["person"] = rng.integers(100)
    image = rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    return image, rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE), np.uint8), labels


def write(directory, index, count, capacity=None, meta=META):
    rng = np.random.default_rng(index)
    rows = [portrait(rng) for _ in range(count)]
    with ShardWriter(directory, index, capacity=capacity or count, meta=meta) as writer:
        for image, attention, labels in rows:
            writer.add(image, attention, **labels)
    return rows


@pytest.mark.parametrize("capacity", [3, 5])
def test_what_is_written_is_read(tmp_path, capacity):
    rows = write(tmp_path, 0, 3, capacity)
    shard = ShardReader(shard_path(tmp_path, 0))
    assert shard.meta == META
    assert shard.images.shape == (3, IMAGE_SIZE, IMAGE_SIZE, 3)
    for k, (image, attention, labels) in enumerate(rows):
        np.testing.assert_array_equal(shard.images[k], image)
        np.testing.assert_array_equal(shard.attention[k], attention)
        for name, value in labels.items():
            np.testing.assert_array_equal(
                getattr(shard.labels, name)[k], np.asarray(value, getattr(shard.labels, name).dtype)
            )


def test_an_open_or_failed_shard_is_invisible(tmp_path):
    image, attention, labels = portrait(np.random.default_rng(0))

    def interrupted():
        with ShardWriter(tmp_path, 0, capacity=2, meta=META) as writer:
            writer.add(image, attention, **labels)
            assert len(ShardSet(tmp_path)) == 0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_bad_rows_are_refused(tmp_path):
    image, attention, labels = portrait(np.random.default_rng(0))
    with ShardWriter(tmp_path, 0, capacity=1, meta=META) as writer:
        with pytest.raises(ValueError, match="image"):
            writer.add(image[1:], attention, **labels)
        with pytest.raises(ValueError, match="attention"):
            writer.add(image, attention[1:], **labels)
        with pytest.raises(ValueError, match="light"):
            writer.add(image, attention, **{**labels, "light": np.zeros(27)})
        with pytest.raises(ValueError, match="finite"):
            writer.add(image, attention, **{**labels, "identity": np.full(80, np.nan)})
        with pytest.raises(ValueError, match="albedo"):
            writer.add(image, attention, **{k: v for k, v in labels.items() if k != "albedo"})
        writer.add(image, attention, **labels)
        with pytest.raises(ValueError, match="full"):
            writer.add(image, attention, **labels)
    with pytest.raises(FileExistsError):
        ShardWriter(tmp_path, 0, capacity=1, meta=META)


def test_a_set_reads_across_shards_and_keeps_its_order(tmp_path):
    rows = write(tmp_path, 4, 2) + write(tmp_path, 7, 3)
    shards = ShardSet(tmp_path)
    picked = [4, 0, 2, 2]
    for got, row in zip(shards.images(picked), picked, strict=True):
        np.testing.assert_array_equal(got, rows[row][0])
    for got, row in zip(shards.attention(picked), picked, strict=True):
        np.testing.assert_array_equal(got, rows[row][1])
    rows += write(tmp_path, 0, 1)  # sorts before the others, yet is appended
    assert len(shards) == 5
    assert shards.refresh() == 1
    np.testing.assert_array_equal(shards.images([5])[0], rows[5][0])
    np.testing.assert_allclose(
        shards.labels.identity, np.float32([labels["identity"] for _, _, labels in rows])
    )
    again = ShardSet([])
    again.extend(shards.shard_paths)
    np.testing.assert_array_equal(again.labels.identity, shards.labels.identity)
    assert shards.labels.take([1, 3]).light.shape == (2, 9)


def test_people_of_different_directories_are_different(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, 0, 2)
        write(tmp_path / name, 1, 2)
    alone = ShardSet(tmp_path / "one").labels.person
    both = ShardSet([tmp_path / "one", tmp_path / "two"]).labels.person
    np.testing.assert_array_equal(both[:4], alone)
    np.testing.assert_array_equal(both[4:] - both[4], alone - alone[0])
    assert not set(both[:4]) & set(both[4:])


def test_shards_of_different_models_do_not_mix(tmp_path):
    write(tmp_path, 0, 1)
    write(tmp_path, 1, 1, meta=ShardMeta("portraits", 0, "test", "other"))
    with pytest.raises(ValueError, match="face model"):
        ShardSet(tmp_path)


def test_photographs_have_no_coefficients_and_do_not_mix_with_portraits(tmp_path):
    image, attention, labels = portrait(np.random.default_rng(0))
    meta = ShardMeta("photos", 0, "test", "abc")
    with ShardWriter(tmp_path, 0, capacity=1, meta=meta) as writer:
        with pytest.raises(ValueError, match="identity is not NaN"):
            writer.add(image, attention, **labels)
        for name in COEFFICIENTS:
            labels[name] = np.full(LABEL_SHAPES[name], np.nan)
        writer.add(image, attention, **labels)
    photos = ShardSet(tmp_path)
    assert np.isnan(photos.labels.identity).all()
    assert np.isfinite(photos.labels.landmarks).all()
    write(tmp_path, 1, 1)
    with pytest.raises(ValueError, match="kind"):
        photos.refresh()
