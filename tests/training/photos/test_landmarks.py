import sys
import types

import numpy as np
import pytest

from facewright.training.photos.facemesh import landmarks68
from facewright.training.photos.faces import Face
from facewright.training.photos.landmarks import InsightFace, LabelFile, same_face

PHOTO = np.zeros((40, 40, 3), np.uint8)
FACE = Face(
    np.array([[10.0, 10], [30, 10], [20, 20], [12, 30], [28, 30]]), np.array([5.0, 2, 35, 38])
)


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
    source = LabelFile(path)
    found = source.find("a", PHOTO, FACE)
    points, known = landmarks68(mesh)
    np.testing.assert_array_equal(found.known, known[0])
    np.testing.assert_allclose(found.points[known[0]], points[0][known[0]] + 0.5)
    assert source.find("b", PHOTO, FACE) is None
    assert source.find("none", PHOTO, FACE) is None

    shifted = LabelFile(path, "labels68", (1.25, 0.75))
    found = shifted.find("b", PHOTO, FACE)
    assert np.flatnonzero(found.known).tolist() == list(range(27, 68))
    np.testing.assert_allclose(found.points[27:], landmarks[1, 27:] + [-0.75, -0.25])
    assert np.isfinite(found.points).all()
    assert shifted.find("c", PHOTO, FACE) is None
    descriptions = {
        source.description,
        shifted.description,
        LabelFile(path, "labels68").description,
    }
    assert len(descriptions) == 3
    with pytest.raises(ValueError, match="shift"):
        LabelFile(path, "facemesh", (1, 0))


def test_landmarks_of_insightface(tmp_path, monkeypatch):
    """A stand-in with the library's interface: a corner of the box, counted up."""

    class Face3D68:
        def prepare(self, ctx_id):
            assert ctx_id == -1

        def get(self, bgr, face):
            assert bgr[0, 0].tolist() == [3, 2, 1]
            corner = np.append(face["bbox"][:2], 0)
            return (corner + np.arange(68)[:, None]).astype(np.float32)

    def get_model(path, providers):
        if not path.endswith("1k3d68.onnx"):
            raise AssertionError
        return Face3D68()

    for name, members in (
        ("insightface", {}),
        ("insightface.app", {}),
        ("insightface.app.common", {"Face": dict}),
        ("insightface.model_zoo", {"get_model": get_model}),
    ):
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    path = tmp_path / "1k3d68.onnx"
    path.write_bytes(b"weights")
    source = InsightFace(path)
    photo = np.tile(np.array([1, 2, 3], np.uint8), (40, 40, 1))
    found = source.find("a", photo, FACE)
    np.testing.assert_allclose(found.points[30], [35, 32])
    assert np.flatnonzero(found.known).tolist() == list(range(27, 68))
    on_its_side = Face(FACE.points @ [[0, 1], [-1, 0]] + [40, 0], FACE.box)
    assert source.find("a", photo, on_its_side) is None
    assert source.find("a", photo, Face(FACE.points, np.full(4, np.nan))) is None
    (tmp_path / "other.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot load"):
        InsightFace(tmp_path / "other.onnx")
    monkeypatch.setitem(sys.modules, "insightface.app.common", None)
    with pytest.raises(ValueError, match="pip install"):
        InsightFace(path)


def test_landmarks_of_another_face_are_noticed():
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48] = FACE.points[0], FACE.points[1]
    landmarks[[30, 48, 54]] = FACE.points[2:]
    assert same_face(landmarks, FACE.points)
    assert same_face(landmarks + [2, -2], FACE.points)
    assert not same_face(landmarks + [9, 0], FACE.points)
    assert not same_face((landmarks - 20) * 2.5 + 20, FACE.points)
