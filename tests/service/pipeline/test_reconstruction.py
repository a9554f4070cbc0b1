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
from facewright.service.pipeline.align import face_crop_transform
from facewright.service.pipeline.reconstruction import Reconstruction, Reconstructor

PHOTO = np.random.default_rng(0).integers(0, 256, (600, 900, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def model(assets: Any) -> MorphableModel:
    return assets.model


class FixedDetector:
    name = "fixed"

    def __init__(self, faces: list[DetectedFace]) -> None:
        self.faces = faces

    def detect(self, rgb_u8: npt.NDArray[np.uint8]) -> list[DetectedFace]:
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
    model: MorphableModel, centre: tuple[float, float], scale: float, score: float = 0.9
) -> DetectedFace:
    points = model.five_points[:, :2] * [scale, -scale] + centre
    box = np.concatenate([np.subtract(centre, 80 * scale), np.add(centre, 80 * scale)])
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
    assert [crops.shape for crops in network.batches] == [(3, 224, 224, 3)]
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
