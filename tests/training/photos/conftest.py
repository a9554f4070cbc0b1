"""A small collection of photographs with labels; the face model is that of the trainer's tests."""

import cv2
import numpy as np
import pytest
from skimage import data as pictures

from tests.training.rnet.conftest import face_model, face_model_file  # noqa: F401

# The astronaut's alignment points, read off by eye.
POINTS = np.array([[202.0, 101], [247, 103], [224, 126], [203, 140], [245, 141]])
CUT_OFF = 50  # rows: crops then reach beyond the photo's top
PEOPLE = ["Ada", "Bo", "Cy", "Ed", "Gus", "Ida"]  # Bo and Cy are held out at 0.3


@pytest.fixture
def collection(tmp_path):
    """Shifted copies of one photo, with labels; two of every person."""
    photos = tmp_path / "photos"
    rng = np.random.default_rng(0)
    names, points, mesh = [], [], []
    for person in PEOPLE:
        (photos / person).mkdir(parents=True)
        for k in range(2):
            shift = rng.integers(-30, 30, 2)
            photo = np.roll(pictures.astronaut()[:300], shift[::-1], (0, 1))[CUT_OFF:]
            names.append(f"{person}/{person}_{k}.png")
            cv2.imwrite(str(photos / names[-1]), photo[..., ::-1])
            points.append(POINTS + shift - [0, CUT_OFF])
            mesh.append(schematic_mesh(points[-1]))
    labels, faces = tmp_path / "labels.npz", tmp_path / "points.npz"
    marks = rng.normal(size=(len(names), 68, 2))
    np.savez(labels, names=names, mesh468=np.stack(mesh), landmarks68=marks)
    np.savez(faces, names=names, points=np.stack(points))
    return photos, labels, faces, dict(zip(names, points, strict=True))


def schematic_mesh(points):
    """FaceMesh points, in pixels with centers at integers, that agree with alignment points."""
    mesh = np.zeros((468, 3))
    mesh[:, :2] = points.mean(0)
    for k, eye in enumerate(([33, 161, 158, 133, 153, 163], [362, 385, 388, 263, 390, 380])):
        mesh[eye, :2] = points[k] + np.array([[-9, 0], [-4, -4], [4, -4], [9, 0], [4, 4], [-4, 4]])
    mesh[[1, 4], :2] = points[2]
    mesh[61, :2], mesh[291, :2] = points[3], points[4]
    mesh[:, :2] -= 0.5
    return mesh
