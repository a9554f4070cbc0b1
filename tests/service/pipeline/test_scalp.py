"""What photos tell of hair, in pictures of a mean face that are painted by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from facewright.models.assets import FACE_MODEL, HEAD_RIG, asset_path
from facewright.models.head_rig import HeadRig
from facewright.models.morphable_model import MorphableModel
from facewright.models.segmentation import (
    CLASSES,
    HAIR,
    OCCLUDER,
    OTHER,
    SEGMENTATION_SIDE,
    Segmentation,
)
from facewright.service.pipeline.hairline import BALD_MM, Scalp
from facewright.service.pipeline.heads import Heads
from facewright.service.pipeline.scalp import scalp_in_photo, scalp_of_album

SIZE = 700
SKIN, WALL, BROWN = (205, 150, 120), (90, 120, 160), (70, 50, 40)


@pytest.fixture(scope="module")
def heads() -> Heads:
    model = MorphableModel.load(asset_path(FACE_MODEL))
    return Heads(model, HeadRig.load(asset_path(HEAD_RIG), model))


def face_at(heads: Heads, top: int = 0) -> Any:
    """The mean face in the middle of a photo whose first `top` rows are cut off."""
    model = MorphableModel.load(asset_path(FACE_MODEL))

    def project(points: np.ndarray) -> np.ndarray:
        depth = 1000 - points[:, 2]
        columns = SIZE / 2 + 2000 * points[:, 0] / depth
        rows = SIZE / 2 - 2000 * points[:, 1] / depth
        return np.stack([columns, rows - top, depth], axis=1)

    return SimpleNamespace(
        geometry=SimpleNamespace(cage=model.mean_shape, identity=np.zeros(80, np.float32)),
        vertices=model.mean_vertices,
        rotation_matrix=np.eye(3, dtype=np.float32),
        translation_mm=np.zeros(3, np.float32),
        project=project,
    )


@pytest.fixture(scope="module")
def face(heads: Heads) -> Any:
    return face_at(heads)


def outline(heads: Heads, face: Any) -> np.ndarray:
    points = heads.mean_points[heads.on_skin]
    return cv2.convexHull(face.project(points)[:, :2].astype(np.int32))


def painted(heads: Heads, face: Any, around: tuple[int, int, int] | None) -> np.ndarray:
    """A bald head before a wall, with something around it."""
    photo = np.full((SIZE, SIZE, 3), WALL, np.uint8)
    head = outline(heads, face)
    if around is not None:
        cv2.polylines(photo, [head], True, around, 60)
    cv2.fillPoly(photo, [head], SKIN)
    return photo


@pytest.fixture
def crop_top(face: Any) -> int:
    """Row of the upper end of the face model's forehead."""
    return int(face.project(face.vertices)[:, 1].min())


def test_skin_as_far_as_it_is_seen_is_a_bald_head(heads: Heads, face: Any) -> None:
    assert scalp_in_photo(painted(heads, face, None), face, heads).hair is None
    # The wall is darker around the head.
    assert scalp_in_photo(painted(heads, face, (55, 72, 110)), face, heads).hair is None


def test_hair_is_what_lies_above_the_forehead(heads: Heads, face: Any, crop_top: int) -> None:
    photo = painted(heads, face, None)
    photo[: crop_top + 6] = BROWN
    found = scalp_in_photo(photo, face, heads)
    assert found.hair == pytest.approx(np.array(BROWN), abs=2)
    assert found.skin == pytest.approx(np.array(SKIN), abs=2)
    assert found.receding == 0
    smaller = cv2.resize(photo, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_NEAREST)
    assert scalp_in_photo(smaller, face, heads, 0.5).hair == pytest.approx(np.array(BROWN), abs=2)


def test_hair_that_recedes_stands_off_the_head_behind(heads: Heads, face: Any) -> None:
    found = scalp_in_photo(painted(heads, face, (120, 110, 100)), face, heads)
    assert found.hair == pytest.approx(np.array([120, 110, 100]), abs=2)
    assert found.receding > 10
    # Blond hair may have the skin's color, a head does not reach so far.
    blond = scalp_in_photo(painted(heads, face, (206, 160, 118)), face, heads)
    assert blond.hair == pytest.approx(np.array([206, 160, 118]), abs=2)


def test_nobody_is_bald_whose_scalp_is_not_seen(heads: Heads, face: Any, crop_top: int) -> None:
    photo = painted(heads, face, None)
    brows = face.project(face.vertices[heads.scalp_places.brows])[:, :2].astype(int)
    for column, row in brows:
        cv2.circle(photo, (int(column), int(row)), 4, BROWN, -1)
    cut = scalp_in_photo(photo[crop_top:], face_at(heads, crop_top), heads)
    assert cut.hair == pytest.approx(np.array(BROWN), abs=3)
    # A fringe is seen even so.
    fringe = photo.copy()
    fringe[: crop_top + 60] = (30, 20, 10)
    cut = scalp_in_photo(fringe[crop_top:], face_at(heads, crop_top), heads)
    assert cut.hair == pytest.approx(np.array([30, 20, 10]), abs=3)


def segmented(photo: np.ndarray, rows: int, kind: int) -> Segmentation:
    """A photo whose upper rows are of one class, and the rest skin."""
    scale = SEGMENTATION_SIDE / np.array(photo.shape[1::-1])
    shares = np.zeros((len(CLASSES), SEGMENTATION_SIDE, SEGMENTATION_SIDE), np.float32)
    border = round(rows * scale[1])
    shares[kind, :border], shares[CLASSES.index("skin"), border:] = 1, 1
    return Segmentation(shares, np.column_stack([np.diag(scale), np.zeros(2)]))


def test_what_is_worn_is_no_hair(heads: Heads, face: Any, crop_top: int) -> None:
    """A brown cap above brows that are darker."""
    photo = painted(heads, face, (70, 60, 40))
    photo[: crop_top + 6] = (90, 70, 50)
    brows = face.project(face.vertices[heads.scalp_places.brows])[:, :2].astype(int)
    for column, row in brows:
        cv2.circle(photo, (int(column), int(row)), 4, (30, 20, 10), -1)
    capped = scalp_in_photo(
        photo, face, heads, segmentation=segmented(photo, crop_top + 30, OCCLUDER)
    )
    assert capped.hair == pytest.approx(np.array([30, 20, 10]), abs=3)
    haired = scalp_in_photo(photo, face, heads, segmentation=segmented(photo, crop_top + 30, HAIR))
    assert haired.hair == pytest.approx(np.array([90, 70, 50]), abs=2)
    bald = segmented(photo, 0, OTHER)
    assert scalp_in_photo(photo, face, heads, segmentation=bald).hair is None


def test_hair_in_blue_shade_is_gray(heads: Heads, face: Any, crop_top: int) -> None:
    photo = painted(heads, face, None)
    photo[: crop_top + 6] = (40, 55, 58)
    hair = scalp_in_photo(photo, face, heads).hair
    assert hair is not None
    assert np.ptp(hair) < 2
    # What is as vivid as this was dyed.
    photo[: crop_top + 6] = (20, 40, 110)
    assert scalp_in_photo(photo, face, heads).hair == pytest.approx(np.array([20, 40, 110]), abs=2)


def test_an_album_has_the_hair_that_most_photos_show() -> None:
    skin = np.array(SKIN, np.float32)
    bald, dark = Scalp(None, skin), Scalp(np.array(BROWN, np.float32), skin, BALD_MM)
    both = scalp_of_album([bald, dark, dark])
    assert both.hair == pytest.approx(np.array(BROWN))
    assert both.receding == BALD_MM
    assert scalp_of_album([bald, bald, dark]).hair is None
