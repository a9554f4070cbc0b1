from __future__ import annotations

import numpy as np
import pytest

from facewright.models.segmentation import HAIR, OCCLUDER, OTHER, SKIN
from facewright.training.data.shards import IMAGE_SIZE
from facewright.training.segmentation import occluders
from facewright.training.segmentation.augmentation import augmented, place, shrunk
from facewright.training.segmentation.dataset import UNKNOWN
from tests.training.conftest import toy_landmarks


def stored() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture with hair above and a wall around."""
    marks = (toy_landmarks()[:, :2] * [1, -1] + IMAGE_SIZE / 2).astype(np.float32)
    image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), (200, 150, 120), np.uint8)
    classes = np.full((IMAGE_SIZE, IMAGE_SIZE), SKIN, np.uint8)
    classes[:50], image[:50] = HAIR, (40, 30, 20)
    classes[:, :30], image[:, :30] = OTHER, (20, 90, 160)
    return image, classes, marks


def picture() -> occluders.Picture:
    return place(None, *stored())


def holding() -> occluders.Picture:
    """The same with something before the mouth."""
    image, classes, marks = stored()
    classes[140:220, 60:180], image[140:220, 60:180] = OCCLUDER, (10, 200, 30)
    return place(None, image, classes, marks)


@pytest.mark.parametrize("kind", occluders._KINDS)
def test_what_is_drawn_has_a_class_and_the_rest_stays(kind) -> None:
    drawn = 0
    for seed in range(6):
        rng, one, before = np.random.default_rng(seed), picture(), picture()
        kind(rng, one, holding)
        new = one.classes != before.classes
        assert set(np.unique(one.classes[new]).tolist()) <= {OCCLUDER, HAIR}
        drawn += new.sum()
        far = np.abs(one.image.astype(int) - before.image).max(axis=2) > 60
        # Shadows and lenses change pixels that keep their class; most that change much do not.
        assert (far & ~new).sum() <= max(0.6 * far.size, 1)
    assert drawn > 100


def test_things_are_borrowed_from_portraits_and_where_they_are() -> None:
    def photograph() -> occluders.Picture:
        other = holding()
        other.classes[0, 0] = UNKNOWN
        return other

    rng, one, before = np.random.default_rng(4), picture(), picture()
    occluders._borrowed(rng, one, photograph)
    assert np.array_equal(one.image, before.image)
    occluders._borrowed(rng, one, holding)
    true = (holding().classes == OCCLUDER) & (before.classes == SKIN)
    found = one.classes == OCCLUDER
    assert (true & found).sum() > 0.4 * (true | found).sum()
    red, green, _ = one.image[true & found].mean(axis=0)
    assert green > 4 * red


def test_a_shadow_hides_nothing() -> None:
    one, before = picture(), picture()
    occluders._shadow(np.random.default_rng(1), one)
    assert np.array_equal(one.classes, before.classes)
    assert not np.array_equal(one.image, before.image)


def test_a_crop_and_its_shares_belong_together() -> None:
    crop, shares = shrunk(picture())
    assert crop.shape == (128, 128, 3)
    assert shares.sum(axis=0) == pytest.approx(1)
    dark = crop.max(axis=2) < 60
    assert (shares[HAIR][dark] > 0.4).all()


def test_what_nobody_knows_has_no_share() -> None:
    image, classes, marks = stored()
    classes[100:120] = UNKNOWN
    rng = np.random.default_rng(2)
    for _ in range(5):
        _, shares = augmented(rng, image, classes, marks, picture)
        assert shares.sum(axis=0).max() <= 1 + 1e-6
        assert shares.sum(axis=0).min() == 0


def test_chance_comes_from_the_seed_alone() -> None:
    first, second = (augmented(np.random.default_rng(7), *stored(), picture) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
