import numpy as np
import pytest

from facewright.training.photos.facemesh import _POINTS, five_points, landmarks68, yaw_degrees
from facewright.training.photos.faces import read_faces
from facewright.training.photos.labels import PhotoLabels, landmark_shift, read_labels

# Image-left and -right FaceMesh points, paired by the symmetry of MediaPipe's canonical face.
MIRROR = {
    150: 379, 169: 394, 170: 395, 176: 400, 171: 396, 175: 175, 70: 300, 63: 293, 105: 334,
    104: 333, 65: 295, 108: 337, 222: 442, 160: 387, 168: 168, 195: 195, 6: 6, 197: 197, 4: 4,
    240: 460, 97: 326, 2: 2, 33: 263, 161: 388, 158: 385, 133: 362,
    153: 380, 163: 390, 61: 291, 39: 269, 40: 270, 37: 267, 0: 0, 321: 91, 314: 84, 405: 181,
    17: 17, 78: 308, 81: 311, 13: 13, 402: 178, 14: 14,
}  # fmt: skip


def schematic_mesh(rng, count, size):
    """FaceMesh points of upright frontal faces, symmetric about x = 100."""
    mesh = np.zeros((count, 468, 3))
    mesh[...] = rng.normal(size=(468, 3))
    mesh[:, :, 0] = 100 + mesh[:, :, 0] * size[:, None]
    mesh[:, :, 1] = 90 + mesh[:, :, 1] * size[:, None]
    mesh[:, :, 2] = 0
    for left, right in ((33, 263), (133, 362), (61, 291)):
        mesh[:, right, 0] = 200 - mesh[:, left, 0]
        mesh[:, right, 1] = mesh[:, left, 1]
    mesh[:, 33, 0] = 100 - size
    mesh[:, 263, 0] = 100 + size
    mesh[:, 1:3, 0] = mesh[:, [0, 17], 0] = 100
    return mesh


def test_the_landmark_table_is_symmetric():
    from facewright.models.landmarks import MIRROR_ORDER

    both_ways = MIRROR | {right: left for left, right in MIRROR.items()}
    assert len(_POINTS) == 56
    for landmark, points in _POINTS.items():
        assert {both_ways[p] for p in points} == set(_POINTS[int(MIRROR_ORDER[landmark])])


def test_landmarks_of_facemesh_points():
    mesh = np.random.default_rng(0).normal(size=(4, 468, 3))
    mesh[:, [33, 263]] = [[-5, 0, 0], [5, 0, 0]]
    mesh[1, 263, 2] = 5  # 27 degrees
    mesh[2, 263, 2] = 10  # 45 degrees: the image-right side is the far one
    mesh[3] = np.nan
    np.testing.assert_allclose(yaw_degrees(mesh[:3]), [0, 26.565, 45], atol=1e-3)
    landmarks, known = landmarks68(mesh)
    np.testing.assert_array_equal(landmarks[0, 30], mesh[0, 4, :2])
    np.testing.assert_allclose(landmarks[1, 18], (mesh[1, 63, :2] + mesh[1, 105, :2]) / 2)
    never = [0, 1, 2, 3, 4, 12, 13, 14, 15, 16, 21, 22]
    assert np.flatnonzero(~known[0]).tolist() == np.flatnonzero(~known[1]).tolist() == never
    assert np.flatnonzero(~known[2]).tolist() == sorted([*never, 9, 10, 11])
    assert not known[3].any()
    assert (landmarks[~known] == 0).all()
    mesh[2, 263, 2] = -10
    assert np.flatnonzero(~landmarks68(mesh)[1][2]).tolist() == sorted([*never, 5, 6, 7])


def test_labels_shift_to_continuous_coordinates(tmp_path):
    mesh = np.zeros((3, 468, 3), np.float16)
    mesh[:, [33, 133, 362, 263, 1, 61, 291], 0] = [10, 20, 40, 50, 30, 18, 42]
    mesh[1] = np.nan
    landmarks = np.arange(3 * 136, dtype=np.float16).reshape(3, 68, 2)
    np.savez(tmp_path / "l.npz", names=["a_1", "b_1", "c_1"], mesh468=mesh, landmarks68=landmarks)
    labels = read_labels(tmp_path / "l.npz")
    assert labels.names == ["a_1", "c_1"]
    np.testing.assert_array_equal(labels.points[0, :, 0], [15.5, 45.5, 30.5, 18.5, 42.5])
    np.testing.assert_array_equal(labels.landmarks[1], landmarks[2] + 0.5)
    assert labels.yaw.tolist() == [0, 0]

    points = np.random.default_rng(0).random((4, 5, 2))
    points[2] = np.nan
    np.savez(tmp_path / "p.npz", names=["b_1", "x_1", "a_1", "b_1"], points=points)
    assert sorted(read_faces(tmp_path / "p.npz")) == ["b_1", "x_1"]
    labels = read_labels(tmp_path / "l.npz", tmp_path / "p.npz")
    assert labels.names == ["b_1"]
    np.testing.assert_array_equal(labels.points[0], points[0])
    assert np.isnan(labels.yaw[0])
    assert five_points(np.ones((2, 468, 3))).shape == (2, 5, 2)
    both = PhotoLabels(
        ["a", "b"], np.zeros((2, 5, 2)), None, np.zeros((2, 68, 2)), np.array([1.0, 2])
    )
    assert both.take(np.array([1])).names == ["b"]
    assert both.take(np.array([1])).yaw == [2]


def test_a_constant_shift_is_told_from_other_anatomy():
    rng = np.random.default_rng(1)
    size = rng.uniform(20, 80, 300)
    mesh = schematic_mesh(rng, 300, size)
    landmarks = rng.normal(size=(300, 68, 2)) * size[:, None, None]
    # Anatomy that differs by some percent of the face's size, symmetric sideways.
    for of68, of468, x, y in (
        ((36, 45), (33, 263), 0.03, 0.01), ((39, 42), (133, 362), -0.02, 0.02),
        ((48, 54), (61, 291), 0.01, -0.04), ((33,), (2,), 0, 0.05), ((51,), (0,), 0, -0.03),
        ((57,), (17,), 0, 0.06),
    ):  # fmt: skip
        for side, (a, b) in zip((1, -1), zip(of68, of468, strict=True), strict=False):
            landmarks[:, a] = mesh[:, b, :2] + size[:, None] * [side * x, y]
    landmarks += np.array([1.3, 0.9]) + rng.normal(size=landmarks.shape) * 0.5
    landmarks[:5] += 40  # another face
    mesh[5:8] = np.nan
    right, down = landmark_shift(mesh, landmarks)
    assert right == pytest.approx(1.3, abs=0.1)
    assert down == pytest.approx(0.9, abs=0.2)
    with pytest.raises(ValueError, match="too few"):
        landmark_shift(mesh[:8], landmarks[:8])
