from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facewright.models.camera import pose_points, project, rotation_matrix
from facewright.models.mirror import mirror_matrices
from facewright.training.data.crops import cut_crops
from facewright.training.data.shards import ShardSet
from facewright.training.rnet.augmentation import shift_pose, tone_tables
from facewright.training.rnet.batches import (
    BatchMaker,
    augmented_photos,
    augmented_portraits,
    people_together,
    plain_photos,
    plain_portraits,
)
from facewright.training.rnet.experiment import Augmentation, Experiment, LossWeights, Stage
from facewright.training.rnet.losses import RNetLoss
from facewright.training.rnet.plan import PHOTOS, Cursor, Step, plan_step

SHIFTED = Augmentation(shift=8)
STRONG = Augmentation(
    shift=8,
    mirror=0.5,
    gamma=0.15,
    gain=0.12,
    tint=0.06,
    contrast=0.1,
    gray=0.3,
    coarse=0.3,
    noise=0.3,
    cutout=0.3,
)


@pytest.fixture
def shards(shard_directory):
    return ShardSet(shard_directory)


@pytest.fixture
def photos(photo_directory):
    return ShardSet(photo_directory)


def augmented(shards, face_model, rows, settings, size=96, seed=0, images=None):
    return augmented_portraits(
        shards.images(rows) if images is None else images,
        shards.labels.take(rows),
        size,
        np.random.default_rng(seed),
        settings,
        mirror_matrices(face_model),
        8,
    )


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
    rows = np.arange(16)
    settings = STRONG.model_copy(update={"mirror": mirrored})
    t = augmented(shards, face_model, rows, settings).targets
    loss = RNetLoss(face_model, LossWeights())
    seen = loss.landmarks(torch.cat([t.identity, t.expression], 1), t.rotation, t.translation)
    assert (seen - t.landmarks).abs().max() < 0.2
    plain = plain_portraits(shards.images(rows), shards.labels.take(rows), 96, 8)
    assert (t.landmarks - plain.targets.landmarks).abs().max() > 2  # something has moved


def _dots(labels):
    """Eight black pictures with a white dot at landmark 0 of each."""
    images = np.zeros((8, 240, 240, 3), np.uint8)
    for image, (x, y) in zip(images, labels.landmarks[:, 0] + 8, strict=True):
        image[int(y), int(x)] = 255
    return images


def _dot_is_at_landmark_0_or_its_partner(pictures, targets):
    """Mirrored, landmark 0 is landmark 16; returns which of them the dots were at."""
    found = set()
    for picture, landmarks in zip(pictures, targets.landmarks, strict=True):
        row, column = np.unravel_index(int(picture.argmax()), (224, 224))
        distances = (landmarks - torch.tensor([column + 0.5, row + 0.5])).abs().amax(1)
        (index,) = [k for k in (0, 16) if distances[k] < 1]
        found.add(index)
    return found


def test_mirrored_picture_and_landmarks_agree(shards, face_model):
    rows = [0] * 8
    settings = SHIFTED.model_copy(update={"mirror": 0.5})
    images = _dots(shards.labels.take(rows))
    batch = augmented(shards, face_model, rows, settings, 224, seed=1, images=images)
    assert _dot_is_at_landmark_0_or_its_partner(batch.crops[:, 0], batch.targets) == {0, 16}


def test_photos_masks_landmarks_and_input_move_together(photos):
    rows = [0] * 8
    labels = photos.labels.take(rows)
    labels.landmark_visible[:] = False
    labels.landmark_visible[:, 0] = True
    images = _dots(labels)
    batch = augmented_photos(
        images,
        images[..., 0],
        labels,
        224,
        224,
        np.random.default_rng(1),
        SHIFTED.model_copy(update={"mirror": 0.5}),
        8,
    )
    targets = batch.targets
    torch.testing.assert_close(batch.crops, targets.photo)
    for pictures in (targets.photo[:, 0], targets.attention):
        assert _dot_is_at_landmark_0_or_its_partner(pictures, targets) == {0, 16}
    for known, photo, landmarks in zip(
        targets.landmark_known, targets.photo[:, 0], targets.landmarks, strict=True
    ):
        (index,) = known.nonzero()[:, 0].tolist()
        column = int(photo.argmax()) % 224
        assert abs(float(landmarks[index, 0]) - column - 0.5) < 1


def test_only_the_network_sees_other_colors(photos):
    rows = np.arange(6)
    stored = photos.images(rows), photos.attention(rows), photos.labels.take(rows)
    colors = STRONG.model_copy(update={"shift": 0, "mirror": 0.0})
    varied = augmented_photos(*stored, 64, 224, np.random.default_rng(0), colors, 8)
    plain = plain_photos(*stored, 64, 224, 8)
    for one, other in zip(varied.targets, plain.targets, strict=True):
        torch.testing.assert_close(one, other)
    assert (varied.crops - plain.crops).abs().mean() > 0.01
    assert varied.crops.shape == (6, 3, 64, 64)
    assert plain.targets.photo.shape == (6, 3, 224, 224)
    inner = stored[1][:, 8:232, 8:232]
    np.testing.assert_allclose(plain.targets.attention.numpy() * 255, inner, atol=1e-3)


def test_without_augmentation_only_the_crop_moves(shards, face_model):
    rows = np.arange(3)
    batch = augmented(shards, face_model, rows, SHIFTED, 224)
    corners = 8 + np.random.default_rng(0).integers(-8, 9, (3, 2))
    for k, (x, y) in enumerate(corners):
        expected = shards.images(rows)[k, y : y + 224, x : x + 224].transpose(2, 0, 1) / 255
        np.testing.assert_allclose(batch.crops[k].numpy(), expected, atol=1e-6)
    assert batch.crops.is_contiguous(memory_format=torch.channels_last)


def test_no_augmentation_at_all_is_the_plain_picture(shards, face_model):
    rows = np.array([3, 40])
    batch = augmented(shards, face_model, rows, Augmentation(), 224)
    plain = plain_portraits(shards.images(rows), shards.labels.take(rows), 224, 8)
    torch.testing.assert_close(batch.crops, plain.crops)
    for one, other in zip(batch.targets, plain.targets, strict=True):
        torch.testing.assert_close(one, other)
    np.testing.assert_array_equal(
        (plain.crops.numpy() * 255).round().transpose(0, 2, 3, 1),
        shards.images(rows)[:, 8:232, 8:232],
    )
    np.testing.assert_allclose(plain.targets.translation, shards.labels.translation[rows])


@pytest.mark.parametrize("channels", [(), (3,)])
def test_crops_shrink_by_area(channels):
    images = np.random.default_rng(0).integers(0, 256, (1, 240, 240, *channels), np.uint8)
    small = cut_crops(images, np.array([[3, 5]]), 112)
    blocks = images[0, 5:229, 3:227].reshape(112, 2, 112, 2, *channels).mean((1, 3))
    assert abs(small[0] - blocks).max() <= 1


def test_gain_is_in_the_light_and_in_the_picture(shards, face_model):
    images = np.full((6, 240, 240, 3), 120, np.uint8)
    settings = Augmentation(gain=0.1)
    batch = augmented(shards, face_model, [0] * 6, settings, 32, seed=3, images=images)
    brightness = batch.crops.mean((1, 2, 3)) / (120 / 255)
    light = batch.targets.light[:, 0] / float(shards.labels.light[0, 0])
    np.testing.assert_allclose(brightness, light, rtol=0.01)
    assert light.std() > 0.02


def test_tone_tables_are_monotone():
    tables, gain = tone_tables(np.random.default_rng(0), 20, STRONG)
    assert (np.diff(tables.astype(int), axis=1) >= 0).all()
    assert gain.shape == (20,)


STAGE = Stage(size=32, portraits=5, photos=2)


def _step(number: int, cursor: Cursor | None = None) -> Step:
    return plan_step(cursor or Cursor(step=number), STAGE, 0.0, 2, 50, 24)


@pytest.fixture
def maker(shards, photos, face_model):
    settings = Experiment(
        stages=(STAGE,), portrait_augmentation=STRONG, photo_augmentation=STRONG, render_size=32
    )

    def make(rank: int) -> BatchMaker:
        return BatchMaker(settings, shards, photos, mirror_matrices(face_model), rank)

    return make


def test_workers_share_a_pass(maker):
    seen, cursor = [], Cursor()
    for number in range(5):
        step = _step(number, cursor)
        for rank in (0, 1):
            seen += maker(rank)(step).portraits.targets.landmarks[:, 0, 1].tolist()
        cursor = step.after
    assert cursor.portraits.epoch == 1
    assert len({round(value, 3) for value in seen}) == 50


def test_batches_depend_on_their_step_alone(maker):
    make = maker(0)
    make(_step(0))
    one, same = make(_step(4)), maker(0)(_step(4))
    torch.testing.assert_close(one.crops, same.crops, rtol=0, atol=0)
    torch.testing.assert_close(one.photos.targets.photo, same.photos.targets.photo, rtol=0, atol=0)
    for other in (make(_step(5)), maker(1)(_step(4))):
        assert not torch.equal(other.portraits.crops, one.portraits.crops)
        assert not torch.equal(other.photos.crops, one.photos.crops)


def test_both_kinds_go_through_the_network_together(maker):
    batch = maker(0)(_step(0))
    assert batch.crops.shape == (7, 3, 32, 32)
    assert batch.crops.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(batch.crops[5:], batch.photos.crops)
    moved = batch.to(torch.device("meta"))
    assert moved.photos.targets.photo.is_meta
    assert moved.portraits.targets.rotation.is_meta


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 4), st.integers(0, 100))
def test_people_stand_together_in_groups(person, count, seed):
    person = np.array(person, np.int64)
    order = np.random.default_rng(seed).permutation(len(person))
    grouped = people_together(order, person, count)
    assert sorted(grouped) == sorted(order)
    position = {picture: place for place, picture in enumerate(grouped)}
    place_before = {picture: place for place, picture in enumerate(order)}
    leaders = []
    for number in set(person):
        pictures = [picture for picture in order if person[picture] == number]
        groups = [pictures[k : k + count] for k in range(0, len(pictures), count)]
        for group in groups:
            first = position[group[0]]
            assert [position[picture] for picture in group] == list(
                range(first, first + len(group))
            )
            leaders.append(group[0])
    leaders.sort(key=place_before.get)
    assert sorted(leaders, key=position.get) == leaders
    if count == 1:
        assert list(grouped) == list(order)


def test_a_batch_holds_pairs_of_photos_of_a_person(photos, face_model):
    person = np.arange(len(photos)) // 2
    photos._labels = replace(photos.labels, person=person)
    stage = Stage(size=32, photos=6)
    settings = Experiment(stages=(stage,), images=1, photos_per_person=2)
    make = BatchMaker(settings, None, photos, mirror_matrices(face_model), 0)
    step = plan_step(Cursor(), stage, 0.0, 1, 0, len(photos))
    rows = make._rows(step, PHOTOS)
    assert len(rows) == 6
    assert (person[rows[::2]] == person[rows[1::2]]).all()
    assert len(set(person[rows])) == 3
