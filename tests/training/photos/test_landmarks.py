import numpy as np
import pytest

from facewright.training.photos.facemesh import landmarks68
from facewright.training.photos.landmarks import LabeledLandmarks, same_face

POINTS = np.array([[10.0, 10], [30, 10], [20, 20], [12, 30], [28, 30]])


@pytest.fixture
def label_file(tmp_path):
    rng = np.random.default_rng(0)
    mesh = rng.normal(20, 5, (3, 468, 3))
    mesh[1] = np.nan
    landmarks = rng.normal(20, 5, (3, 68, 2))
    landmarks[2] = np.nan
    path = tmp_path / "labels.npz"
    np.savez(path, names=["a", "b", "c"], mesh468=mesh, landmarks68=landmarks)
    return path, mesh, landmarks


def test_landmarks_of_label_files(label_file):
    path, mesh, landmarks = label_file
    source = LabeledLandmarks(path)
    found = source.find("a")
    points, known = landmarks68(mesh)
    np.testing.assert_array_equal(found.known, known[0])
    np.testing.assert_allclose(found.points[known[0]], points[0][known[0]] + 0.5)
    assert source.find("b") is None
    assert source.find("none") is None

    shifted = LabeledLandmarks(path, "labels68", (1.25, 0.75))
    found = shifted.find("b")
    assert np.flatnonzero(found.known).tolist() == list(range(27, 68))
    np.testing.assert_allclose(found.points[27:], landmarks[1, 27:] + [-0.75, -0.25])
    assert np.isfinite(found.points).all()
    assert shifted.find("c") is None
    descriptions = {
        source.description,
        shifted.description,
        LabeledLandmarks(path, "labels68").description,
    }
    assert len(descriptions) == 3
    with pytest.raises(ValueError, match="shift"):
        LabeledLandmarks(path, "facemesh", (1, 0))


def test_landmarks_of_another_face_are_noticed():
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48] = POINTS[0], POINTS[1]
    landmarks[[30, 48, 54]] = POINTS[2:]
    assert same_face(landmarks, POINTS)
    assert same_face(landmarks + [2, -2], POINTS)
    assert not same_face(landmarks + [9, 0], POINTS)
    assert not same_face((landmarks - 20) * 2.5 + 20, POINTS)
