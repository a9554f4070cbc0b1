"""The detector protocol, orientation, and CenterFace on a real photo."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data as pictures

from facewright.service.errors import ModelError
from facewright.service.networks import centerface as centerface_module
from facewright.service.networks.blazeface import Places
from facewright.service.networks.centerface import CenterFace, _best
from facewright.service.networks.detection import DetectedFace, detect_any_orientation

ASTRONAUT = pictures.astronaut()
# Read off the photo (512 x 512) by eye, good to some 2 px.
ASTRONAUT_POINTS = np.array([[202, 101], [247, 103], [224, 126], [203, 140], [245, 141]])
EYE_DISTANCE = 45


@pytest.fixture(scope="module")
def centerface() -> CenterFace:
    return CenterFace()


def upright_face(center: tuple[float, float], score: float = 0.9) -> DetectedFace:
    offsets = np.array([[-15, -10], [15, -12], [2, 3], [-10, 20], [11, 19]])
    points = (offsets + center).astype(np.float32)
    box = np.array([*np.subtract(center, 30), *np.add(center, 35)], np.float32)
    return DetectedFace(box=box, points=points, score=score)


class BlueSquareDetector:
    """Finds an upright face only where a blue square has a red one right of it."""

    name = "blue square"

    def __init__(self, score: float) -> None:
        self.score = score
        self.calls = 0

    def detect(self, rgb_u8: npt.NDArray[np.uint8], *, turned: bool = False) -> list[DetectedFace]:
        self.calls += 1
        blue = np.argwhere((rgb_u8 == [0, 0, 255]).all(axis=2))
        red = np.argwhere((rgb_u8 == [255, 0, 0]).all(axis=2))
        right = red.mean(axis=0)[1] - blue.mean(axis=0)[1]
        if right <= abs(red.mean(axis=0)[0] - blue.mean(axis=0)[0]):
            return []
        y, x = blue.mean(axis=0) + 0.5
        return [upright_face((float(x), float(y)), self.score)]


def marked_photo() -> npt.NDArray[np.uint8]:
    photo = np.zeros((200, 300, 3), np.uint8)
    photo[60:70, 80:90] = [0, 0, 255]
    photo[60:70, 90:100] = [255, 0, 0]
    return photo


@pytest.mark.parametrize("turns", range(4))
def test_faces_of_turned_photos_come_back_in_photo_pixels(turns: int) -> None:
    detector = BlueSquareDetector(score=0.9)
    photo = np.ascontiguousarray(np.rot90(marked_photo(), -turns))
    (face,) = detect_any_orientation(detector, photo)
    assert math.remainder(face.roll - turns * math.pi / 2, 2 * math.pi) == pytest.approx(0, abs=0.1)
    # The face's own coordinates in the upright photo, turned clockwise by hand.
    expected = upright_face((85, 65)).points
    corners = upright_face((85, 65)).box.reshape(2, 2)
    height, width = 200, 300
    for _ in range(turns):
        expected = np.stack([height - expected[:, 1], expected[:, 0]], axis=1)
        corners = np.stack([height - corners[:, 1], corners[:, 0]], axis=1)
        height, width = width, height
    np.testing.assert_allclose(face.points, expected, atol=1e-4)
    np.testing.assert_allclose(face.box[:2], corners.min(axis=0), atol=1e-4)
    np.testing.assert_allclose(face.box[2:], corners.max(axis=0), atol=1e-4)


def test_a_sure_face_is_not_questioned() -> None:
    detector = BlueSquareDetector(score=0.9)
    detect_any_orientation(detector, marked_photo())
    assert detector.calls == 1


def test_an_unsure_face_yields_to_a_better_one_in_the_turned_photo() -> None:
    class Doubtful:
        name = "doubtful"

        def detect(
            self, rgb_u8: npt.NDArray[np.uint8], *, turned: bool = False
        ) -> list[DetectedFace]:
            score = {(200, 300): 0.6, (300, 200): 0.7}[rgb_u8.shape[:2]]
            return [upright_face((100, 100), score)]

    (face,) = detect_any_orientation(Doubtful(), marked_photo())
    assert face.score == 0.7
    assert face.roll == pytest.approx(math.pi / 2, abs=0.1)


def test_no_face_in_any_orientation_is_an_empty_list() -> None:
    photo = marked_photo()
    photo[60:70, 100:110] = photo[60:70, 80:90]

    class Blind(BlueSquareDetector):
        def detect(
            self, rgb_u8: npt.NDArray[np.uint8], *, turned: bool = False
        ) -> list[DetectedFace]:
            self.calls += 1
            return []

    detector = Blind(0.9)
    assert detect_any_orientation(detector, photo) == []
    assert detector.calls == 4


@given(st.floats(-math.pi, math.pi))
def test_the_roll_follows_a_turning_face(angle: float) -> None:
    points = np.array([[-15, -10], [15, -10], [0, 3], [-10, 20], [10, 20]], np.float64)
    # Clockwise on a picture whose y axis points down.
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    face = DetectedFace(
        box=np.zeros(4, np.float32), points=(points @ turn.T).astype(np.float32), score=1.0
    )
    assert math.remainder(face.roll - angle, 2 * math.pi) == pytest.approx(0, abs=1e-5)


def test_centerface_finds_the_astronaut(centerface: CenterFace) -> None:
    (face,) = centerface.detect(ASTRONAUT)
    assert face.score > 0.8
    assert abs(face.roll) < 0.15
    distance = np.linalg.norm(face.points - ASTRONAUT_POINTS, axis=1)
    assert distance.max() < 0.12 * EYE_DISTANCE
    assert (face.box[:2] < face.points.min(axis=0)).all()
    assert (face.box[2:] > face.points.max(axis=0)).all()


@pytest.mark.parametrize("turns", range(4))
def test_centerface_finds_the_astronaut_turned(centerface: CenterFace, turns: int) -> None:
    (upright,) = centerface.detect(ASTRONAUT)
    (face,) = detect_any_orientation(centerface, np.ascontiguousarray(np.rot90(ASTRONAUT, -turns)))
    assert math.remainder(face.roll - turns * math.pi / 2, 2 * math.pi) == pytest.approx(0, abs=0.1)
    expected = upright.points
    for _ in range(turns):
        expected = np.stack([512 - expected[:, 1], expected[:, 0]], axis=1)
    distance = np.linalg.norm(face.points - expected, axis=1)
    assert distance.mean() < 0.1 * EYE_DISTANCE


@pytest.mark.parametrize("degrees", [-45, -30, 30, 45])
def test_centerface_finds_a_tilted_head(centerface: CenterFace, degrees: int) -> None:
    (upright,) = centerface.detect(ASTRONAUT)
    matrix = cv2.getRotationMatrix2D((225, 125), degrees, 1.0)
    tilted = cv2.warpAffine(ASTRONAUT, matrix, (512, 512))
    (face,) = detect_any_orientation(centerface, tilted)
    expected = upright.points @ matrix[:, :2].T + matrix[:, 2]
    assert np.linalg.norm(face.points - expected, axis=1).mean() < 0.12 * EYE_DISTANCE


@pytest.mark.parametrize("scale", [0.2, 0.5, 2.0, 4.0])
def test_points_scale_with_the_photo(centerface: CenterFace, scale: float) -> None:
    (reference,) = centerface.detect(ASTRONAUT)
    side = round(512 * scale)
    resized = cv2.resize(ASTRONAUT, (side, side), interpolation=cv2.INTER_AREA)
    (face,) = centerface.detect(resized)
    distance = np.linalg.norm(face.points / scale - reference.points, axis=1)
    assert distance.mean() < 0.1 * EYE_DISTANCE


def test_centerface_finds_small_faces_of_a_large_photo(centerface: CenterFace) -> None:
    # Two faces of some 60 px in a photo of 2500 px: 15 px in the search.
    photo = np.full((1800, 2500, 3), 110, np.uint8)
    small = cv2.resize(ASTRONAUT, (256, 256), interpolation=cv2.INTER_AREA)
    photo[200:456, 300:556] = small
    photo[1400:1656, 2000:2256] = small[:, ::-1]
    faces = sorted(centerface.detect(photo), key=lambda face: face.box[0])
    assert len(faces) == 2
    expected = ASTRONAUT_POINTS / 2
    first = np.linalg.norm(faces[0].points - expected - (300, 200), axis=1)
    assert first.mean() < 0.12 * EYE_DISTANCE / 2
    mirrored = np.stack([2256 - expected[:, 0], 1400 + expected[:, 1]], axis=1)[[1, 0, 2, 4, 3]]
    second = np.linalg.norm(faces[1].points - mirrored, axis=1)
    assert second.mean() < 0.12 * EYE_DISTANCE / 2


def test_a_close_up_that_fills_the_photo_is_found(centerface: CenterFace) -> None:
    (face,) = centerface.detect(np.ascontiguousarray(ASTRONAUT[50:190, 165:285]))
    expected = ASTRONAUT_POINTS - (165, 50)
    assert np.linalg.norm(face.points - expected, axis=1).mean() < 0.12 * EYE_DISTANCE


@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea", "brick", "hubble_deep_field"])
def test_no_face_where_there_is_none(centerface: CenterFace, name: str) -> None:
    photo = getattr(pictures, name)()
    if photo.ndim == 2:
        photo = np.repeat(photo[..., None], 3, axis=2)
    assert detect_any_orientation(centerface, photo) == []


@pytest.mark.parametrize("shape", [(32, 32), (33, 4000), (3000, 32), (641, 639)])
def test_any_shape_is_taken(centerface: CenterFace, shape: tuple[int, int]) -> None:
    assert centerface.detect(np.full((*shape, 3), 128, np.uint8)) == []


def test_at_most_so_many_faces_are_returned(
    centerface: CenterFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centerface_module, "MAX_FACES", 3)
    tile = ASTRONAUT[40:200, 150:310]
    assert len(centerface.detect(np.tile(tile, (2, 3, 1)))) == 3


def test_missing_provider_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="NoSuchProvider"):
        CenterFace(["NoSuchProvider"])


def overlap(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Intersection over union of two boxes by counting cells of a fine grid."""
    y, x = np.mgrid[:60, :60] + 0.5
    inside = [(x > q[0]) & (x < q[2]) & (y > q[1]) & (y < q[3]) for q in (a, b)]
    return float((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum())


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(3, 30), st.integers(3, 30)),
        min_size=1,
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
def test_suppression_keeps_the_best_of_overlapping_boxes(
    rectangles: list[tuple[int, int, int, int]], random: object
) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in rectangles], np.float32)
    scores = np.linspace(1, 0.5, len(boxes), dtype=np.float32)
    random.shuffle(scores)  # type: ignore[attr-defined]
    best = _best(Places(boxes, np.zeros((len(boxes), 5, 2), np.float32), scores))
    kept = [int(np.flatnonzero(scores == score)[0]) for score in best.scores]
    assert list(scores[kept]) == sorted(scores[kept], reverse=True)
    for i in range(len(boxes)):
        rivals = [j for j in kept if j != i and overlap(boxes[i], boxes[j]) > 0.3]
        if i in kept:
            assert not rivals
        else:
            assert any(scores[j] >= scores[i] for j in rivals)
