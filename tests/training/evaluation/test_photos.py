import cv2
import numpy as np
import pytest

from training.evaluation.photos import (
    PhotoLabels,
    choose_photos,
    cut_crop,
    five_points,
    identity_auc,
    person_of,
    read_labels,
)


def test_people_by_folder_or_file_name():
    assert person_of("Ann_Lee/Ann_Lee_0001.jpg") == "Ann_Lee"
    assert person_of("Ann_Lee_12.jpg") == "Ann_Lee"


def test_whole_people_are_chosen_those_with_several_photos_first():
    names = [f"P{p}/P{p}_{k}.jpg" for p in range(10) for k in range(3 if p < 5 else 1)]
    rows = choose_photos(names, 6, seed=0)
    people = [person_of(names[k]) for k in rows]
    assert sorted(map(people.count, set(people))) == [3, 3]
    np.testing.assert_array_equal(choose_photos(names, None, seed=0), np.arange(len(names)))
    np.testing.assert_array_equal(rows, choose_photos(names, 6, seed=0))
    assert len(choose_photos(names, 17, seed=0)) == 17


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

    points = np.random.default_rng(0).random((2, 5, 2))
    np.savez(tmp_path / "p.npz", names=["b_1", "x_1"], points=points)
    labels = read_labels(tmp_path / "l.npz", tmp_path / "p.npz")
    assert labels.names == ["b_1"]
    np.testing.assert_array_equal(labels.points[0], points[0])
    assert five_points(np.ones((2, 468, 3))).shape == (2, 5, 2)


@pytest.mark.parametrize("zoom", [0.2, 0.7, 1.0, 1.9])
def test_crops_put_photo_points_where_the_transform_says(zoom):
    """The centroid of a bright disc, found by its moments, lands at the transformed centre."""
    photo = np.zeros((500, 600, 3), np.uint8)
    rows, columns = np.mgrid[:500, :600]
    centre = np.array([320.0, 255.0])
    inside = (columns + 0.5 - centre[0]) ** 2 + (rows + 0.5 - centre[1]) ** 2 < (12 / zoom) ** 2
    photo[inside] = 200
    transform = np.array([[zoom, 0, 100 - zoom * centre[0]], [0, zoom, 90 - zoom * centre[1]]])
    crop = cut_crop(photo, transform)
    assert crop.shape == (224, 224, 3)
    moments = cv2.moments(crop[..., 0])
    found = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5
    np.testing.assert_allclose(found, [100, 90], atol=0.1)
    assert moments["m00"] == pytest.approx(200 * inside.sum() * zoom**2, rel=0.01)


def test_crop_of_a_fine_pattern_is_grey():
    photo = np.indices((900, 900)).sum(0)[..., None] % 2 * np.full(3, 255)
    crop = cut_crop(photo.astype(np.uint8), np.array([[0.25, 0, 0], [0, 0.25, 0]]))
    assert abs(crop[5:-5, 5:-5].astype(float) - 127.5).max() < 4


def test_auc_against_every_pair():
    rng = np.random.default_rng(0)
    people = [f"p{k // 3}" for k in range(24)]
    centres = rng.normal(size=(8, 80))
    identity = np.repeat(centres, 3, axis=0) + 2.5 * rng.normal(size=(24, 80))
    auc, pairs = identity_auc(identity, people, seed=0)
    same, different = [], []
    for i in range(24):
        for j in range(i):
            norms = np.linalg.norm(identity[i]) * np.linalg.norm(identity[j])
            (same if people[i] == people[j] else different).append(
                identity[i] @ identity[j] / norms
            )
    wins = sum((p > n) + 0.5 * (p == n) for p in same for n in different)
    assert auc == pytest.approx(wins / len(same) / len(different))
    assert pairs == len(same) == 24
    assert 0.6 < auc < 1


def test_labels_can_be_cut_down():
    labels = PhotoLabels(["a", "b"], np.zeros((2, 5, 2)), None)
    assert labels.take(np.array([1])).names == ["b"]
