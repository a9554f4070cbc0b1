"""What hides the face is not baked, and is filled as what no photo shows."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facewright.models.landmarks import CHIN, LANDMARK_COUNT, LEFT_EYE, RIGHT_EYE
from facewright.models.segmentation import CLASSES, OCCLUDER, SEGMENTATION_SIDE, SKIN, Segmentation
from facewright.models.texture.baking import TextureBaker
from facewright.models.texture.occlusion import hide
from tests.models.test_texture import albedo_of, face, shoot, uneven  # noqa: F401

SIDE = 500
TO_PHOTO = SIDE / SEGMENTATION_SIDE


def segmentation(hidden: np.ndarray) -> Segmentation:
    """Of a whole photo, hidden where (128, 128) says so."""
    shares = np.zeros((len(CLASSES), *hidden.shape), np.float32)
    shares[OCCLUDER], shares[SKIN] = hidden, 1 - hidden
    scale = np.array([[1 / TO_PHOTO, 0, 0], [0, 1 / TO_PHOTO, 0]])
    return Segmentation(shares, scale)


def bar(top: int, bottom: int) -> np.ndarray:
    hidden = np.zeros((SEGMENTATION_SIDE, SEGMENTATION_SIDE), np.float32)
    hidden[top:bottom] = 1
    return hidden


def test_a_bar_before_the_face_is_replaced(face) -> None:  # noqa: F811
    baker = TextureBaker(face)
    view = shoot(face, np.clip(uneven(), 90, 200))
    free = baker.bake([view], albedo_of(face), 256)
    photo = view.photo.copy()
    photo[int(60 * TO_PHOTO) : int(68 * TO_PHOTO)] = (0, 0, 255)
    barred = replace(view, photo=photo, segmentation=segmentation(bar(60, 68)))
    found = baker.bake([barred], albedo_of(face), 256)
    blue = found.rgb_u8[..., 2].astype(int) - found.rgb_u8[..., 0]
    assert blue.max() < 120
    hidden = (free.coverage > 0.9) & (found.coverage < 0.1)
    assert 0.03 < hidden.mean() < 0.2
    same = found.coverage > 0.99
    assert np.abs(found.rgb_u8[same].astype(int) - free.rgb_u8[same]).mean() < 1
    assert same.sum() > 0.7 * (free.coverage > 0.99).sum()


def test_a_second_photo_shows_what_the_first_hides(face) -> None:  # noqa: F811
    baker, truth = TextureBaker(face), uneven()
    view = shoot(face, truth)
    photo = np.full_like(view.photo, (0, 0, 255))
    photo[: SIDE // 2] = view.photo[: SIDE // 2]
    one = replace(view, photo=photo, segmentation=segmentation(bar(62, 128)))
    baked = baker.bake([one, shoot(face, truth, yaw=15.0)], albedo_of(face), 256)
    difference = np.abs(baked.rgb_u8.astype(int) - truth)[baked.coverage > 0.95]
    assert difference.mean() < 12


EYES = ((40.0, 50.0), (80.0, 50.0))
"""In px of the shares: 40 apart."""


def hidden_share(hidden: np.ndarray, places: list[tuple[float, float]]) -> np.ndarray:
    """The shares left of points at these places of the shares, of a face with those eyes."""
    marks = np.zeros((LANDMARK_COUNT, 2))
    marks[LEFT_EYE], marks[RIGHT_EYE] = EYES
    marks[CHIN] = 60, 120
    points = np.concatenate([np.array(places), marks]) * TO_PHOTO
    points = np.column_stack([points, np.full(len(points), 1000.0)]).astype(np.float32)
    share = np.zeros(len(points), np.float32)
    share[: len(places)] = 1
    landmarks = np.arange(len(places), len(points), dtype=np.int32)
    hide(segmentation(hidden), landmarks, points, share)
    return share[: len(places)]


COLUMN = [(64.0, y) for y in np.linspace(2, 126, 63)]


def test_a_mask_that_hides_nearly_everything_is_not_believed() -> None:
    assert (hidden_share(bar(10, 128), COLUMN) == 1).all()
    share = hidden_share(bar(64, 128), COLUMN)
    assert share[:28] == pytest.approx(1)
    assert share[36:] == pytest.approx(0)


def test_nothing_is_known_beyond_the_crop() -> None:
    share = hidden_share(bar(80, 90), [(-9, 85), (64, 85), (64, 300), *COLUMN])
    assert share[:3] == pytest.approx([1, 0, 1])


@pytest.mark.parametrize(
    ("center", "half", "believed"),
    [
        ((64, 90), (14, 5), False),  # a moustache
        ((40, 50), (6, 4), False),  # an eye
        ((40, 50), (20, 15), True),  # a dark lens
        ((64, 50), (40, 10), True),  # glasses
        ((64, 20), (10, 6), False),
        ((64, 100), (6, 40), True),  # a microphone from below
    ],
)
def test_only_glasses_hide_an_island_of_the_face(
    center: tuple[int, int], half: tuple[int, int], believed: bool
) -> None:
    (x, y), (dx, dy) = center, half
    hidden = np.zeros((SEGMENTATION_SIDE, SEGMENTATION_SIDE), np.float32)
    hidden[max(y - dy, 0) : y + dy, max(x - dx, 0) : x + dx] = 1
    share = hidden_share(hidden, [center, *COLUMN])
    assert share[0] == (0 if believed else 1)
    if not believed:
        assert (share == 1).all()


def frames(thickness: int) -> np.ndarray:
    """Rims around the eyes and a bridge between them."""
    hidden = np.zeros((SEGMENTATION_SIDE, SEGMENTATION_SIDE), np.uint8)
    for x, y in EYES:
        cv2.ellipse(hidden, (int(x), int(y)), (18, 14), 0, 0, 360, 1, thickness)
    return hidden.astype(np.float32)


def test_clear_glasses_stay_whole() -> None:
    assert (hidden_share(frames(2), [(40, 50), (58, 50), (40, 36), *COLUMN]) == 1).all()


def test_dark_lenses_hide_the_eyes_and_doubtful_ones_nothing() -> None:
    places = [(40, 50), (50, 50), (80, 50), *COLUMN]
    assert hidden_share(0.8 * frames(-1), places)[:3] == pytest.approx(0)
    assert (hidden_share(0.35 * frames(-1), places) == 1).all()
