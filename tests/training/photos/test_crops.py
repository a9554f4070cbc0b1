import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facewright.models.alignment import crop_transform
from facewright.service.networks.detection import DetectedFace
from facewright.service.pipeline.align import crop_face, face_crop_transform
from facewright.training.photos.crops import (
    UnreadablePhoto,
    cut_crop,
    map_points,
    map_points_back,
    read_photo,
)

FACE = np.array([[-31.0, 33], [31, 33], [0, 0], [-25, -38], [25, -38]])


@pytest.mark.parametrize("zoom", [0.2, 0.7, 1.0, 1.9])
@pytest.mark.parametrize("margin", [0, 8])
def test_crops_put_photo_points_where_the_transform_says(zoom, margin):
    """The centroid of a bright disc, found by its moments, lands at the transformed center."""
    photo = np.zeros((500, 600, 3), np.uint8)
    rows, columns = np.mgrid[:500, :600]
    center = np.array([320.0, 255.0])
    inside = (columns + 0.5 - center[0]) ** 2 + (rows + 0.5 - center[1]) ** 2 < (12 / zoom) ** 2
    photo[inside] = 200
    transform = np.array([[zoom, 0, 100 - zoom * center[0]], [0, zoom, 90 - zoom * center[1]]])
    before = transform.copy()
    crop = cut_crop(photo, transform, margin)
    np.testing.assert_array_equal(transform, before)
    assert crop.shape == (224 + 2 * margin, 224 + 2 * margin, 3)
    moments = cv2.moments(crop[..., 0])
    found = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5 - margin
    np.testing.assert_allclose(found, [100, 90], atol=0.1)
    assert moments["m00"] == pytest.approx(200 * inside.sum() * zoom**2, rel=0.01)


def test_crop_of_a_fine_pattern_is_gray():
    photo = np.indices((900, 900)).sum(0)[..., None] % 2 * np.full(3, 255)
    crop = cut_crop(photo.astype(np.uint8), np.array([[0.25, 0, 0], [0, 0.25, 0]]))
    assert abs(crop[5:-5, 5:-5].astype(float) - 127.5).max() < 4


@settings(max_examples=25, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(0.25, 3), st.floats(150, 450), st.floats(150, 450))
def test_transforms_and_crops_are_the_services(shipped_model, roll, scale, x, y):
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    points = (scale * FACE * [1, -1]) @ turn.T + [x, y]
    face = DetectedFace(np.zeros(4, np.float32), points.astype(np.float32), 1.0)
    template = shipped_model.five_points
    transform = crop_transform(face.points, template)
    np.testing.assert_allclose(transform, face_crop_transform(face, template), atol=1e-9)
    np.testing.assert_allclose(
        map_points_back(transform, map_points(transform, points)), points, atol=1e-9
    )

    photo = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    np.testing.assert_array_equal(cut_crop(photo, transform), crop_face(photo, transform))


def test_photos_are_read_as_viewers_show_them(tmp_path):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30] = [255, 0, 0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_photo(tmp_path / "turned.png"), np.rot90(pixels, -1))

    glass = np.dstack([pixels, np.full((40, 60), 0, np.uint8)])
    Image.fromarray(glass).save(tmp_path / "glass.png")
    assert (read_photo(tmp_path / "glass.png") == 255).all()

    Image.fromarray(pixels[..., 0]).save(tmp_path / "gray.png")
    assert read_photo(tmp_path / "gray.png").shape == (40, 60, 3)

    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no")
    for name in ("broken.jpg", "missing.jpg"):
        with pytest.raises(UnreadablePhoto, match=name):
            read_photo(tmp_path / name)
