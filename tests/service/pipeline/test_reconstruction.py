"""From a photo to reconstructions: geometry by hand, then the whole path on a real photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from skimage import data as pictures

from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.service.errors import NoFaceFound
from facewright.service.networks.centerface import CenterFace
from facewright.service.networks.detection import DetectedFace
from facewright.service.pipeline.align import MOST_REALIGNMENTS, face_crop_transform
from facewright.service.pipeline.reconstruction import (
    Reconstruction,
    Reconstructor,
    reconstruct_faces,
)

PHOTO = np.random.default_rng(0).integers(0, 256, (600, 900, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def model(assets: Any) -> MorphableModel:
    return assets.model


class FixedDetector:
    name = "fixed"

    def __init__(self, faces: list[DetectedFace]) -> None:
        self.faces = faces

    def detect(self, rgb_u8: npt.NDArray[np.uint8], *, turned: bool = False) -> list[DetectedFace]:
        return list(self.faces)


class FixedNetwork:
    """Answers with given coefficients and remembers the crops it was asked about."""

    def __init__(self, coefficients: npt.NDArray[np.float32]) -> None:
        self.coefficients = coefficients
        self.batches: list[npt.NDArray[np.uint8]] = []

    def __call__(self, crops_u8: npt.NDArray[np.uint8]) -> tuple[Any, Any]:
        self.batches.append(crops_u8)
        n = len(crops_u8)
        return self.coefficients[:n], np.full((n, 80), 0.5, np.float32)


def face_at(
    model: MorphableModel, center: tuple[float, float], scale: float, score: float = 0.9
) -> DetectedFace:
    points = model.five_points[:, :2] * [scale, -scale] + center
    box = np.concatenate([np.subtract(center, 80 * scale), np.add(center, 80 * scale)])
    return DetectedFace(box=box.astype(np.float32), points=points.astype(np.float32), score=score)


def random_coefficients(n: int, seed: int = 0) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(seed)
    coefficients = random.normal(0, 1, (n, 239))
    coefficients[:, LAYOUT_239.rotation] *= 0.3
    coefficients[:, LAYOUT_239.translation] *= 0.2
    return coefficients.astype(np.float32)


def rotation_by_axes(pitch: float, yaw: float, roll: float) -> npt.NDArray[np.float64]:
    def about(i: int, j: int, angle: float) -> npt.NDArray[np.float64]:
        matrix = np.eye(3)
        matrix[[i, j], [i, j]] = np.cos(angle)
        matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
        return matrix

    return about(0, 1, roll) @ about(2, 0, yaw) @ about(1, 2, pitch)


def test_geometry_by_hand(model: MorphableModel) -> None:
    """The paper's camera, written out for one vertex after the other."""
    x = random_coefficients(1)
    face = face_at(model, (431, 277), 1.7)
    (result,) = Reconstructor(model, FixedDetector([face]), FixedNetwork(x)).reconstruct(PHOTO)

    pitch, yaw, roll = x[0, 233:236].astype(np.float64)
    translation = 100 * x[0, 236:239].astype(np.float64)
    shape = (
        model.mean_shape.astype(np.float64)
        + np.tensordot(x[0, :80].astype(np.float64), model.identity_basis, 1)
        + np.tensordot(x[0, 80:144].astype(np.float64), model.expression_basis, 1)
    )
    zoom, shift = result.crop_transform[0, 0], result.crop_transform[:, 2]
    expected = []
    for vertex in shape:
        px, py, pz = rotation_by_axes(pitch, yaw, roll) @ vertex + translation
        crop = np.array([112 + 1015 * px / (1000 - pz), 112 - 1015 * py / (1000 - pz)])
        expected.append([*((crop - shift) / zoom), 1000 - pz])
    np.testing.assert_allclose(result.vertices, shape, atol=1e-3)
    np.testing.assert_allclose(result.projected(), expected, atol=2e-3)
    np.testing.assert_allclose(
        result.landmarks_px, np.array(expected)[model.landmarks, :2], atol=2e-3
    )
    np.testing.assert_allclose(result.translation_mm, translation, atol=1e-4)
    np.testing.assert_allclose(
        result.rotation_matrix, rotation_by_axes(pitch, yaw, roll), atol=1e-6
    )


def test_neutral_vertices_have_no_expression(model: MorphableModel) -> None:
    x = random_coefficients(1)
    face = face_at(model, (431, 277), 1.7)
    (result,) = Reconstructor(model, FixedDetector([face]), FixedNetwork(x)).reconstruct(PHOTO)
    neutral = model.mean_shape + np.tensordot(x[0, :80], model.identity_basis, 1)
    np.testing.assert_allclose(result.neutral_vertices, neutral, atol=1e-3)
    assert np.abs(result.vertices - neutral).max() > 0.1
    albedo = model.mean_albedo + np.tensordot(x[0, 144:224], model.albedo_basis, 1)
    np.testing.assert_allclose(result.albedo, np.clip(albedo, 0, 1), atol=1e-5)


def test_all_faces_go_through_the_network_at_once(model: MorphableModel) -> None:
    faces = [
        face_at(model, (150, 150), 0.8, 0.95),
        face_at(model, (600, 300), 2.0, 0.9),
        face_at(model, (400, 150), 1.1, 0.85),
    ]
    network = FixedNetwork(random_coefficients(3))
    results = Reconstructor(model, FixedDetector(faces), network).reconstruct(PHOTO)
    assert network.batches[0].shape == (3, 224, 224, 3)
    assert [result.face for result in results] == [faces[1], faces[2], faces[0]], "largest first"
    for i, result in enumerate(results):
        np.testing.assert_array_equal(result.coefficients, network.coefficients[i])
        single = Reconstructor(
            model, FixedDetector([result.face]), FixedNetwork(network.coefficients[i : i + 1])
        ).reconstruct(PHOTO)[0]
        np.testing.assert_allclose(result.vertices, single.vertices, atol=1e-4)
        np.testing.assert_allclose(result.neutral_vertices, single.neutral_vertices, atol=1e-4)
        np.testing.assert_allclose(result.albedo, single.albedo, atol=1e-6)
        np.testing.assert_allclose(result.landmarks_px, single.landmarks_px, atol=1e-3)


def test_largest_is_the_only_face_that_is_worked_on(model: MorphableModel) -> None:
    faces = [face_at(model, (150, 150), 0.8, 0.95), face_at(model, (600, 300), 2.0)]
    network = FixedNetwork(random_coefficients(2))
    (result,) = Reconstructor(model, FixedDetector(faces), network).reconstruct(PHOTO, "largest")
    assert result.face is faces[1]
    assert len(network.batches[0]) == 1


def test_faces_that_cannot_be_aligned_are_left_out(model: MorphableModel) -> None:
    good = face_at(model, (150, 150), 0.8)
    line = np.array([[i, i] for i in range(5)], np.float32)
    bad = DetectedFace(box=np.array([0, 0, 500, 500], np.float32), points=line, score=0.99)
    network = FixedNetwork(random_coefficients(1))
    for faces in ("all", "largest"):
        (result,) = Reconstructor(model, FixedDetector([bad, good]), network).reconstruct(
            PHOTO,
            faces,  # type: ignore[arg-type]
        )
        assert result.face is good
    with pytest.raises(NoFaceFound):
        Reconstructor(model, FixedDetector([bad]), network).reconstruct(PHOTO)


def test_no_face_is_an_error(model: MorphableModel) -> None:
    network = FixedNetwork(random_coefficients(1))
    with pytest.raises(NoFaceFound):
        Reconstructor(model, FixedDetector([]), network).reconstruct(PHOTO)
    assert not network.batches


@pytest.mark.parametrize("turns", range(4))
def test_a_turned_photo_gives_the_turned_result(model: MorphableModel, turns: int) -> None:
    x = random_coefficients(1)
    face = face_at(model, (431, 277), 1.7)
    upright = Reconstructor(model, FixedDetector([face]), FixedNetwork(x)).reconstruct(PHOTO)[0]
    points, landmarks, height, width = face.points, upright.landmarks_px, 600, 900
    for _ in range(turns):
        points = np.stack([height - points[:, 1], points[:, 0]], axis=1)
        landmarks = np.stack([height - landmarks[:, 1], landmarks[:, 0]], axis=1)
        height, width = width, height
    turned_face = DetectedFace(box=face.box, points=points, score=0.9)
    turned = Reconstructor(model, FixedDetector([turned_face]), FixedNetwork(x)).reconstruct(
        np.ascontiguousarray(np.rot90(PHOTO, -turns))
    )[0]
    np.testing.assert_allclose(turned.landmarks_px, landmarks, atol=0.02)
    np.testing.assert_array_equal(turned.vertices, upright.vertices)
    np.testing.assert_allclose(turned.projected()[:, 2], upright.projected()[:, 2], atol=1e-3)


def test_the_mean_face_lies_on_the_astronaut(model: MorphableModel) -> None:
    """With all coefficients zero, alignment alone must put the face on the photo's face."""
    network = FixedNetwork(np.zeros((1, 239), np.float32))
    detector = CenterFace()
    (result,) = Reconstructor(model, detector, network).reconstruct(pictures.astronaut())
    landmarks = result.landmarks_px
    five = np.stack(
        [
            landmarks[36:42].mean(axis=0),
            landmarks[42:48].mean(axis=0),
            landmarks[30],
            landmarks[48],
            landmarks[54],
        ]
    )
    eye_distance = np.linalg.norm(result.face.points[1] - result.face.points[0])
    distance = np.linalg.norm(five - result.face.points, axis=1)
    assert distance.mean() < 0.25 * eye_distance
    np.testing.assert_array_equal(
        result.crop_transform, face_crop_transform(result.face, model.five_points)
    )


def test_a_reconstruction_is_self_consistent(model: MorphableModel) -> None:
    face = face_at(model, (431, 277), 1.7)
    network = FixedNetwork(random_coefficients(1))
    result: Reconstruction
    (result,) = Reconstructor(model, FixedDetector([face]), network).reconstruct(PHOTO)
    posed = result.posed_vertices()
    homogeneous = np.stack([posed[:, 0], -posed[:, 1], 1000 - posed[:, 2]]).T @ result.intrinsics.T
    np.testing.assert_allclose(
        result.projected()[:, :2], homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-3
    )
    assert result.projected().dtype == posed.dtype == np.float32


class FollowingNetwork:
    """Sees the face where it is, with landmarks of the mean face, whatever the crop is."""

    def __init__(self, model: MorphableModel, face: DetectedFace) -> None:
        self.model = model
        self.truth = face_crop_transform(face, model.five_points)
        self.transforms: list[npt.NDArray[np.float64]] = []
        self.batches: list[int] = []

    def __call__(self, crops_u8: npt.NDArray[np.uint8]) -> tuple[Any, Any]:
        self.batches.append(len(crops_u8))
        coefficients = np.zeros((len(crops_u8), 239), np.float32)
        for row, crop in zip(coefficients, crops_u8, strict=True):
            # The crop shows where it was cut: red is x in the photo and green is y, see below.
            transform = transform_of(crop)
            self.transforms.append(transform)
            linear = transform[:, :2] @ np.linalg.inv(self.truth[:, :2])
            origin = linear @ (np.array([112, 112]) - self.truth[:, 2]) + transform[:, 2]
            zoom = np.sqrt(np.linalg.det(linear))
            row[LAYOUT_239.rotation] = 0, 0, -np.arctan2(linear[1, 0], linear[0, 0])
            depth = 1000 / zoom
            x, y = (origin - 112) * depth / 1015
            row[LAYOUT_239.translation] = x / 100, -y / 100, (1000 - depth) / 100
        return coefficients, np.full((len(crops_u8), 80), 0.5, np.float32)


SIDE = 512
GRADIENT = np.zeros((SIDE, SIDE, 3), np.uint8)
GRADIENT[..., 0] = (np.arange(SIDE) / 2)[None]
GRADIENT[..., 1] = (np.arange(SIDE) / 2)[:, None]


def transform_of(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The map from photo to crop pixels, read off a crop of `GRADIENT`."""
    rows, columns = np.mgrid[:224, :224] + 0.5
    places = np.stack([columns, rows, np.ones_like(rows)], -1).reshape(-1, 3)
    seen = crop[..., :2].reshape(-1, 2).astype(float)
    inside = ((seen > 3) & (seen < SIDE / 2 - 4)).all(1)
    back = np.linalg.lstsq(places[inside], 2 * seen[inside] + 1, rcond=None)[0].T
    linear = np.linalg.inv(back[:, :2])
    return np.column_stack([linear, -linear @ back[:, 2]])


@pytest.mark.parametrize("roll", [0.0, 0.6, -2.5])
def test_a_face_is_aligned_again_where_the_network_sees_it(
    model: MorphableModel, roll: float
) -> None:
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    right = face_at(model, (256, 256), 1.3)
    right = DetectedFace(right.box, ((right.points - 256) @ turn + 256).astype(np.float32), 0.9)
    network = FollowingNetwork(model, right)
    (kept,) = Reconstructor(model, FixedDetector([right]), network).observe(GRADIENT)
    assert network.batches == [1], "the first crop was good"

    center = right.points.mean(0)
    off = 1.25 * (right.points - center) @ np.array([[0.97, 0.24], [-0.24, 0.97]]) + center + [9, 5]
    wrong = DetectedFace(right.box, off.astype(np.float32), 0.9)
    network = FollowingNetwork(model, right)
    both = FixedDetector([wrong, right])
    found = Reconstructor(model, both, network).observe(GRADIENT)
    assert network.batches[:2] == [2, 1], "only what disagrees is looked at again"
    mended = next(one for one in found if one.face is wrong)
    corners = np.array([[200, 200, 1], [300, 200, 1], [200, 300, 1]])
    expected = corners @ kept.crop_transform.T
    first = corners @ face_crop_transform(wrong, model.five_points).T
    assert np.abs(first - expected).max() > 15
    np.testing.assert_allclose(corners @ mended.crop_transform.T, expected, atol=4)
    points = reconstruct_faces(model, [kept, mended])
    np.testing.assert_allclose(points[0].landmarks_px, points[1].landmarks_px, atol=2.5)


def test_a_face_that_never_settles_keeps_its_first_crop(model: MorphableModel) -> None:
    x = np.zeros((1, 239), np.float32)
    x[0, LAYOUT_239.translation] = 0.3, 0, 0
    face = face_at(model, (431, 277), 1.7)
    network = FixedNetwork(x)
    (one,) = Reconstructor(model, FixedDetector([face]), network).observe(PHOTO)
    assert len(network.batches) == 1 + MOST_REALIGNMENTS
    np.testing.assert_array_equal(one.crop_transform, face_crop_transform(face, model.five_points))
