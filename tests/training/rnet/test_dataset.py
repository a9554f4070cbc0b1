import numpy as np
import pytest
import torch

from models.camera import pose_points, project, rotation_matrix
from models.layout import LAYOUT_239
from models.mirror import mirror_matrices
from training.data.shards import ShardSet
from training.rnet.config import Augmentation, LossWeights
from training.rnet.dataset import (
    BatchSource,
    Place,
    augmented_batch,
    cut_crops,
    plain_batch,
    shift_pose,
    tone_tables,
)
from training.rnet.losses import RNetLoss

NOTHING = Augmentation(
    mirror=0, gamma=0, gain=0, tint=0, contrast=0, grey=0, coarse=0, noise=0, cutout=0
)


@pytest.fixture
def shards(shard_directory):
    return ShardSet(shard_directory)


def test_shifted_pose_projects_to_shifted_pixels():
    rng = np.random.default_rng(0)
    points = rng.uniform(-80, 80, (4, 500, 3))
    angles = rng.normal(size=(4, 3)) * 0.3
    translation = rng.normal(size=(4, 3)) * [0.1, 0.1, 0.5]
    shift = np.array([[8.0, -8], [-8, -3], [0, 8], [5, 0]])
    rotation, moved = shift_pose(rotation_matrix(angles), translation, shift)
    old = project(pose_points(points, angles, translation))
    new = project(points @ rotation.swapaxes(1, 2) + 100 * moved[:, None])
    # The bound is that of tangents at the rim; a sideways step would be off by up to 0.8 px.
    assert abs(new - old - shift[:, None]).max() < 0.15


@pytest.mark.parametrize("mirrored", [0.0, 1.0])
def test_labels_still_fit_the_augmented_picture(shards, face_model, mirrored):
    """Landmarks projected from the changed coefficients are the changed landmarks."""
    settings = Augmentation(mirror=mirrored)
    rows = np.arange(16)
    batch = augmented_batch(
        shards.images(rows),
        shards.labels.take(rows),
        96,
        np.random.default_rng(0),
        settings,
        mirror_matrices(face_model),
        8,
    )
    loss = RNetLoss(face_model, LossWeights())
    t = batch.targets
    seen = loss.landmarks(torch.cat([t.identity, t.expression], 1), t.rotation, t.translation)
    assert (seen - t.landmarks).abs().max() < 0.2
    plain = plain_batch(shards.images(rows), shards.labels.take(rows), 96, 8)
    assert (t.landmarks - plain.targets.landmarks).abs().max() > 2  # something has moved


def test_mirrored_picture_and_landmarks_agree(shards, face_model):
    """A bright dot drawn at a landmark is where the changed landmark says."""
    labels = shards.labels.take([0] * 8)
    images = np.zeros((8, 240, 240, 3), np.uint8)
    x, y = labels.landmarks[0, 0] + 8
    images[:, int(y), int(x)] = 255
    settings = Augmentation(**{**NOTHING.__dict__, "mirror": 0.5})
    batch = augmented_batch(
        images,
        labels,
        224,
        np.random.default_rng(1),
        settings,
        mirror_matrices(face_model),
        8,
    )
    sides = set()
    for crop, landmarks in zip(batch.crops, batch.targets.landmarks, strict=True):
        row, column = np.unravel_index(int(crop[0].argmax()), (224, 224))
        partner = {0: 0, 1: 16}[int(abs(landmarks[16, 0] - column - 0.5) < 1)]
        sides.add(partner)
        assert abs(float(landmarks[partner, 0]) - column - 0.5) < 1
        assert abs(float(landmarks[partner, 1]) - row - 0.5) < 1
    assert sides == {0, 16}


def test_without_augmentation_only_the_crop_moves(shards, face_model):
    rows = np.arange(3)
    batch = augmented_batch(
        shards.images(rows),
        shards.labels.take(rows),
        224,
        np.random.default_rng(0),
        NOTHING,
        mirror_matrices(face_model),
        8,
    )
    corners = np.random.default_rng(0).integers(0, 17, (3, 2))
    for k, (x, y) in enumerate(corners):
        expected = shards.images(rows)[k, y : y + 224, x : x + 224].transpose(2, 0, 1) / 255
        np.testing.assert_allclose(batch.crops[k].numpy(), expected, atol=1e-6)
    assert batch.crops.is_contiguous(memory_format=torch.channels_last)


def test_crops_shrink_by_area():
    images = np.random.default_rng(0).integers(0, 256, (1, 240, 240, 3), np.uint8)
    small = cut_crops(images, np.array([[3, 5]]), 112)
    blocks = images[0, 5:229, 3:227].reshape(112, 2, 112, 2, 3).mean((1, 3))
    assert abs(small[0] - blocks).max() <= 1


def test_gain_is_in_the_light_and_in_the_picture(shards, face_model):
    settings = Augmentation(**{**NOTHING.__dict__, "gain": 0.1})
    labels = shards.labels.take([0] * 6)
    images = np.full((6, 240, 240, 3), 120, np.uint8)
    batch = augmented_batch(
        images,
        labels,
        32,
        np.random.default_rng(3),
        settings,
        mirror_matrices(face_model),
        8,
    )
    brightness = batch.crops.mean((1, 2, 3)) / (120 / 255)
    light = batch.targets.light[:, 0] / float(labels.light[0, 0])
    np.testing.assert_allclose(brightness, light, rtol=0.01)
    assert light.std() > 0.02


def test_tone_tables_are_monotone():
    tables, gain = tone_tables(np.random.default_rng(0), 20, Augmentation())
    assert (np.diff(tables.astype(int), axis=1) >= 0).all()
    assert gain.shape == (20,)


def _source(shards, face_model, rank=0, size=1):
    return BatchSource(
        shards, mirror_matrices(face_model), Augmentation(), seed=3, rank=rank, size=size
    )


def test_a_pass_draws_every_portrait_once(shards, face_model):
    sources = [_source(shards, face_model, rank, 2) for rank in (0, 1)]
    seen = []
    for step in range(5):
        place = Place(epoch=2, position=10 * step, pool=50, step=step)
        for source in sources:
            source.prepare(place, 32, 5)
            batch = source.get(place, 32, 5)
            seen += batch.targets.landmarks[:, 0, 1].tolist()
    assert len({round(value, 3) for value in seen}) == 50


def test_batches_depend_on_their_place_alone(shards, face_model):
    place = Place(epoch=0, position=8, pool=50, step=4)
    first = _source(shards, face_model)
    for _ in range(3):
        first.get(Place(0, 0, 50, 0), 32, 4)
    prepared = first.get(place, 64, 4)
    fresh = _source(shards, face_model).get(place, 64, 4)
    torch.testing.assert_close(prepared.crops, fresh.crops, rtol=0, atol=0)
    other = first.get(Place(0, 8, 50, 5), 64, 4)
    assert not torch.equal(other.crops, fresh.crops)


def test_plain_batches_are_the_stored_truth(shards):
    rows = np.array([3, 40])
    batch = plain_batch(shards.images(rows), shards.labels.take(rows), 224, 8)
    np.testing.assert_array_equal(
        (batch.crops.numpy() * 255).round().transpose(0, 2, 3, 1),
        shards.images(rows)[:, 8:232, 8:232],
    )
    np.testing.assert_allclose(batch.targets.translation, shards.labels.translation[rows])
    assert LAYOUT_239.size == 239
