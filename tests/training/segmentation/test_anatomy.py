from __future__ import annotations

import numpy as np
import pytest

from facewright.models.segmentation import CLASSES, HAIR, OCCLUDER, SKIN
from facewright.training.segmentation.anatomy import completed, corrected
from facewright.training.segmentation.dataset import UNKNOWN
from tests.training.conftest import toy_landmarks

SIDE = 240
MARKS = (toy_landmarks()[:, :2] * [1, -1] + SIDE / 2).astype(np.float32)
EYE, MOUTH = MARKS[36:42].mean(axis=0).astype(int), MARKS[48:60].mean(axis=0).astype(int)
CHIN = (int(MARKS[8, 0]), int(MARKS[8, 1]) - 15)


def told(places: list[tuple[np.ndarray, int, int]]) -> np.ndarray:
    """A face of skin with squares of others, (middle, half side, class), as corrected."""
    shares = np.zeros((len(CLASSES), SIDE, SIDE), np.float32)
    shares[SKIN] = 1
    for (x, y), half, kind in places:
        window = slice(y - half, y + half), slice(x - half, x + half)
        shares[(slice(None), *window)] = 0
        shares[(kind, *window)] = 1
    return corrected(shares.argmax(axis=0).astype(np.uint8), shares, MARKS)


def test_an_eye_alone_is_not_hidden_and_a_dark_lens_is_one() -> None:
    assert told([(EYE, 8, OCCLUDER)])[EYE[1], EYE[0]] == SKIN
    assert told([(EYE, 40, OCCLUDER)])[EYE[1], EYE[0]] == OCCLUDER


def test_teeth_are_skin_and_a_hand_before_the_mouth_is_not() -> None:
    assert told([(MOUTH, 6, OCCLUDER)])[MOUTH[1], MOUTH[0]] == SKIN
    assert told([(MOUTH, 45, OCCLUDER)])[MOUTH[1], MOUTH[0]] == OCCLUDER


def test_beards_are_skin_and_what_lies_on_a_chin_is_unknown() -> None:
    assert told([(CHIN, 8, HAIR)])[CHIN[1], CHIN[0]] == SKIN
    assert told([(CHIN, 8, OCCLUDER)])[CHIN[1], CHIN[0]] == UNKNOWN


def test_landmarks_that_are_not_known_are_where_the_mean_face_has_them() -> None:
    template = toy_landmarks()
    known = np.ones(68, bool)
    known[[0, 1, 15, 16, 21]] = False
    marks = np.where(known[:, None], MARKS, 0)
    assert completed(marks, known, template) == pytest.approx(MARKS, abs=0.1)
