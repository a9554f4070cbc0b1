"""Folders with the layouts of the benchmarks, filled with faces of the toy model."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from facewright.models.camera import depth, pose_points, project
from facewright.models.layout import LAYOUT_239
from facewright.models.rasterizer import rasterize
from facewright.training.commands.evaluate import app
from facewright.training.evaluation import benchmark_run as run
from facewright.training.evaluation.benchmarks import FaceWarehouse, Florence, Now
from facewright.training.evaluation.errors import ScanError
from facewright.training.evaluation.network import Network
from facewright.training.evaluation.scan_files import read_obj, write_obj
from facewright.training.evaluation.scans import (
    FACEWAREHOUSE_4,
    IBUG_68,
    NOW,
    NOW_7,
    NOW_METRICAL,
    PAPER,
    sample_surface,
)
from facewright.training.evaluation.similarity import Similarity
from facewright.training.photos.faces import Face

pytestmark = pytest.mark.slow

COLORS = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220]])
LEFT, TOP, ZOOM = 150.0, 90.0, 1.7


class Village:
    """Three people of the toy model: their faces, photos and scans."""

    def __init__(self, model):
        self.model = model
        rng = np.random.default_rng(0)
        self.identity = 4 * rng.normal(size=(3, 80)).astype(np.float32)
        self.faces = model.shape(self.identity, np.zeros((3, 64))).astype(np.float64)
        self.points = {}

    def photo(self, root, name, person):
        """A picture of a person in their color, off the middle, and the five points on it."""
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(len(self.points))
        pose = rng.normal(size=(1, 3)) * 0.2, np.zeros((1, 3))
        seen = pose_points(self.faces[person, None], *pose)
        pixels = np.concatenate([project(seen) * ZOOM + [LEFT, TOP], depth(seen)[..., None]], 2)
        hit = rasterize(pixels, self.model.triangles, 560, 620).triangle_ids[0] >= 0
        picture = np.full((560, 620, 3), 128, np.uint8)
        picture[hit] = COLORS[person]
        cv2.imwrite(str(path), picture[..., ::-1])
        self.points[name] = project(pose_points(self.model.five_points[None], *pose))[0]
        self.points[name] = self.points[name] * ZOOM + [LEFT, TOP]

    def scan(self, person, count, unit=1.0):
        """Points of a person's face in a pose of its own, and its 68 landmarks."""
        rng = np.random.default_rng(person)
        turn = Rotation.random(random_state=person).as_matrix()
        pose = Similarity(np.array(unit), turn, rng.normal(size=3) * 100 * unit)
        face = self.faces[person]
        points = sample_surface(face, self.model.triangles, count, rng)
        return pose.apply(points), pose.apply(face[self.model.landmarks])

    def network(self):
        """Knows people by the color in the middle of their crop."""

        def predict(crops):
            center = crops[:, 100:124, 100:124].reshape(len(crops), -1, 3).mean(1)
            person = np.linalg.norm(center[:, None] - COLORS, axis=2).argmin(1)
            assert np.linalg.norm(center - COLORS[person], axis=1).max() < 40
            out = np.zeros((len(crops), LAYOUT_239.size), np.float32)
            out[:, LAYOUT_239.identity] = self.identity[person]
            out[:, LAYOUT_239.expression] = 5  # must not matter: the scans are neutral
            return out

        return Network(predict, LAYOUT_239, self.model.sha256)

    def found(self):
        return {name: Face(points, np.full(4, np.nan)) for name, points in self.points.items()}

    def write_points(self, path):
        np.savez(path, names=list(self.points), points=list(self.points.values()))


@pytest.fixture
def village(face_model):
    return Village(face_model)


def picked(points):
    rows = [f'<point x="{x:.4f}" y="{y:.4f}" z="{z:.4f}" name="0"/>' for x, y, z in points]
    return "<!DOCTYPE PickedPoints>\n<PickedPoints>" + "".join(rows) + "</PickedPoints>"


def build_florence(village, root, unit=1.0):
    for person in range(3):
        subject = f"subject_{person + 1:02d}"
        points, landmarks = village.scan(person, 3000, unit)
        view = "frontal2" if person == 1 else "frontal1"
        path = root / subject / "Model" / view / "obj" / f"11092015{person}.obj"
        write_obj(path, points, np.zeros((0, 3), int))
        content = {"version": 2, "landmarks": {"points": landmarks.tolist()}}
        path.with_suffix(".ljson").write_text(json.dumps(content))
        video = f"{subject}/Video" if person == 0 else subject
        for frame in (1, 2, 10):
            village.photo(root, f"{video}/Indoor-Cooperative/{frame}.jpg", person)
        village.photo(root, f"{video}/PTZ-Outdoor/frame0001.png", person)
    (root / "subject_30" / "Video" / "PTZ-Indoor").mkdir(parents=True)
    return Florence(root, mm_per_unit=1 / unit)


def build_now(village, root):
    photos = root / "final_release_version" / "iphone_pictures"
    names = []
    for person in range(3):
        subject = f"FaMoS_180424_0333{person}_TA"
        points, landmarks = village.scan(person, 3000)
        write_obj(root / "scans" / subject / "natural_head.obj", points, np.zeros((0, 3), int))
        picks = root / "scans_lmks_onlypp" / subject / "natural_head_picked_points.pp"
        picks.parent.mkdir(parents=True)
        picks.write_text(picked(NOW_7.weights @ landmarks))
        for challenge in ("multiview_neutral", "selfie"):
            name = f"{subject}/{challenge}/IMG_0{person}.jpg"
            village.photo(photos, name, person)
            names.append(name)
    (root / "imagepathsvalidation.txt").write_text("\n".join(names) + "\n")
    (root / "imagepathstest.txt").write_text(names[0] + "\n")
    return Now(root)


def build_facewarehouse(village, root):
    for person in (0, 1):
        points, landmarks = village.scan(person, FaceWarehouse.vertex_count, 0.01)
        points[list(FaceWarehouse.landmark_vertices)] = FACEWAREHOUSE_4.weights @ landmarks
        folder = f"FaceWarehouse_Data_0/Tester_{9 + person}/TrainingPose"
        write_obj_exactly(root / folder / "pose_0.obj", points)
        village.photo(root, f"{folder}/pose_0.png", person)
        village.photo(root, f"{folder}/pose_1.png", person)
    return FaceWarehouse(root)


def write_obj_exactly(path, points):
    """Quads as in the data, and more decimals than millimeters need."""
    path.parent.mkdir(parents=True)
    lines = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in points]
    path.write_text("\n".join([*lines, "f 1/1 2/2 3/3 4/4"]) + "\n")


def evaluate(village, benchmark, protocol=PAPER):
    chosen = run.with_points(benchmark, village.found())
    identities = run.predict_identities(village.network(), village.model, chosen)
    photos = [photo for photo, _ in chosen]
    return run.compare(benchmark, village.model, photos, identities, protocol), chosen, identities


def check(errors, near=0.06):
    """Everybody is recognized: next to nothing where the mean face is off."""
    for error in errors:
        assert error.predicted.mean < near < error.baseline.mean


def test_florence(village, tmp_path):
    benchmark = build_florence(village, tmp_path, unit=0.1)
    assert [p.path.name for p in benchmark.photos[:4]] == [
        "1.jpg", "2.jpg", "10.jpg", "frame0001.png"]  # fmt: skip
    errors, chosen, identities = evaluate(village, benchmark)
    assert len(errors) == 12
    check(errors)
    videos, means = run.video_means([photo for photo, _ in chosen], identities)
    assert len(videos) == len(means) == 6
    np.testing.assert_allclose(means[0], village.identity[0], rtol=1e-5)
    figures = run.paper_figures(errors, "test", "frames")
    titles = {figure.measured_on for figure in figures}
    assert titles == {
        "test, Indoor-Cooperative: 9 frames",
        "test, PTZ-Outdoor: 3 frames",
        "test, all: 12 frames",
    }
    every = {f.measure: f for f in figures if "all" in f.measured_on}
    rmse = np.array([np.sqrt((e.baseline.distances**2).mean()) for e in errors])
    assert every["RMSE of the distance"].baseline == pytest.approx(rmse.mean())
    assert every["RMSE of the distance, standard deviation"].baseline == pytest.approx(rmse.std())
    assert 50 < every["covered by the mesh"].value <= 100


def test_florence_takes_evenly_spaced_frames(village, tmp_path):
    build_florence(village, tmp_path)
    photos = Florence(tmp_path, frames=2).photos
    assert [p.path.name for p in photos[:2]] == ["1.jpg", "10.jpg"]


def test_florence_with_landmarks_in_a_folder_of_their_own(village, tmp_path):
    build_florence(village, tmp_path / "data")
    picks = [*(tmp_path / "data").glob("*/Model/*/obj/*.ljson")]
    for path in picks[1:]:
        target = tmp_path / "picks" / path.relative_to(tmp_path / "data")
        target.parent.mkdir(parents=True)
        path.rename(target)
    benchmark = Florence(tmp_path / "data", landmarks=tmp_path / "picks")
    assert len({photo.subject for photo in benchmark.photos}) == 2
    assert benchmark.scan(benchmark.photos[0].subject).markup is IBUG_68
    picks[0].unlink()
    with pytest.raises(ScanError, match="no photo found; expected subject_"):
        Florence(tmp_path / "data")


def test_now(village, tmp_path):
    benchmark = build_now(village, tmp_path)
    errors, chosen, identities = evaluate(village, benchmark, NOW)
    check(errors)
    figures = run.now_figures(errors, "test")
    pooled = np.concatenate([e.baseline.distances for e in errors])
    every = {f.measure: f.baseline for f in figures if f.measured_on == "test, all: 6 photos"}
    assert every == {
        "median scan-to-mesh distance": pytest.approx(np.median(pooled)),
        "mean scan-to-mesh distance": pytest.approx(pooled.mean()),
        "standard deviation of the scan-to-mesh distance": pytest.approx(pooled.std()),
    }
    assert {f.measured_on for f in figures} >= {"test, selfie: 3 photos"}

    run.write_predictions(village.model, chosen, identities, tmp_path / "out")
    stem = tmp_path / "out" / "FaMoS_180424_03331_TA" / "selfie" / "IMG_01"
    vertices, triangles = read_obj(stem.with_suffix(".obj"))
    np.testing.assert_allclose(vertices, village.faces[1], atol=1e-3)
    np.testing.assert_array_equal(triangles, village.model.triangles)
    landmarks = np.load(stem.with_suffix(".npy"))
    assert landmarks.shape == (7, 3)
    expected = village.faces[1][village.model.landmarks[[36, 39, 42, 45, 33, 48, 54]]]
    np.testing.assert_allclose(landmarks, expected, atol=1e-3)
    assert len([*(tmp_path / "out").rglob("*.obj")]) == 6


def test_now_metrical_does_not_fit_the_size(village, tmp_path):
    benchmark = build_now(village, tmp_path)
    scans = {}
    for subject in {p.subject for p in benchmark.photos}:
        scan = benchmark.scan(subject)
        scans[subject] = replace(scan, points=1.04 * scan.points, landmarks=1.04 * scan.landmarks)
    benchmark.scan = scans.__getitem__
    check(evaluate(village, benchmark, NOW)[0])
    assert min(e.predicted.mean for e in evaluate(village, benchmark, NOW_METRICAL)[0]) > 0.2


def test_facewarehouse(village, tmp_path):
    benchmark = build_facewarehouse(village, tmp_path)
    assert [p.subject for p in benchmark.photos] == ["Tester_9", "Tester_10"]
    check(evaluate(village, benchmark)[0])
    short = tmp_path / "FaceWarehouse_Data_0" / "Tester_9" / "TrainingPose" / "pose_0.obj"
    write_obj(short, np.zeros((10, 3)), np.zeros((0, 3), int))
    with pytest.raises(ScanError, match="10 vertices"):
        benchmark.scan("Tester_9")


def test_points_may_be_named_from_either_folder(village, tmp_path):
    benchmark = build_now(village, tmp_path)
    name, points = next(iter(village.points.items()))
    below = f"final_release_version/iphone_pictures/{name}"
    for given in ({name: points}, {below: points}):
        faces = {key: Face(value, np.full(4, np.nan)) for key, value in given.items()}
        [(photo, found)] = run.with_points(benchmark, faces)
        assert photo.path.name == "IMG_00.jpg"
        np.testing.assert_array_equal(found, points)
    with pytest.raises(ScanError, match="no alignment points for any photo, such as final"):
        run.with_points(benchmark, {"other.jpg": Face(points, np.zeros(4))})


def test_folders_of_something_else(tmp_path):
    with pytest.raises(ScanError, match="iphone_pictures"):
        Now(tmp_path)
    (tmp_path / "iphone_pictures").mkdir()
    with pytest.raises(ScanError, match="imagepathsvalidation.txt is missing"):
        Now(tmp_path)
    (tmp_path / "imagepathsvalidation.txt").write_text("a/b.jpg\n")
    with pytest.raises(ScanError, match="not <subject>/<challenge>/<photo>: a/b.jpg"):
        Now(tmp_path)
    (tmp_path / "imagepathsvalidation.txt").write_text("s/selfie/b.jpg\n")
    benchmark = Now(tmp_path)
    with pytest.raises(ScanError, match="no scan"):
        benchmark.scan("s")
    with pytest.raises(ScanError, match="Tester"):
        FaceWarehouse(tmp_path)


def test_an_error_says_whose_scan_it_is(village, tmp_path):
    benchmark = build_now(village, tmp_path)
    subject = benchmark.photos[0].subject
    path = tmp_path / "scans" / subject / "natural_head.obj"
    write_obj(path, read_obj(path)[0] + 5000, np.zeros((0, 3), int))
    with pytest.raises(ScanError, match=f"NoW, {subject}: 0 of 3000"):
        evaluate(village, benchmark, NOW)


@pytest.fixture
def call(village, face_model_file, tmp_path, monkeypatch):
    """The command with the village's network behind any file name."""
    monkeypatch.setattr(
        "facewright.training.evaluation.network.load_network", lambda _: village.network()
    )

    def invoke(layout, folder, *more):
        village.write_points(tmp_path / "points.npz")
        arguments = ["scans", "net.onnx", str(folder), "--layout", layout]
        arguments += ["--points", str(tmp_path / "points.npz")]
        arguments += ["--face-model", str(face_model_file), "--json", str(tmp_path / "f.json")]
        return CliRunner().invoke(app, [*arguments, *map(str, more)])

    return invoke


def test_the_command_on_florence(call, village, tmp_path):
    build_florence(village, tmp_path / "data")
    result = call("micc", tmp_path / "data", "--frames", 2)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "f.json").read_text())["figures"]
    names = {row["measured_on"] for row in rows}
    assert "MICC Florence, Indoor-Cooperative: 6 frames" in names
    assert "MICC Florence, Indoor-Cooperative: 3 mean shapes of videos" in names
    assert all(row["value"] < row["baseline"] for row in rows if row["unit"] == "mm")


def test_the_command_on_now(call, village, tmp_path):
    build_now(village, tmp_path / "data")
    village.points.pop(next(iter(village.points)))
    result = call("now", tmp_path / "data", "--metrical", "--write", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "1 of 6 photos have no points" in result.output
    rows = json.loads((tmp_path / "f.json").read_text())["figures"]
    expected = "NoW (1 photos without a face left out), metrical, all: 5 photos"
    assert expected in {row["measured_on"] for row in rows}
    assert len([*(tmp_path / "out").rglob("*.npy")]) == 5


def test_now_test_photos_are_only_predicted(call, village, tmp_path):
    build_now(village, tmp_path / "data")
    result = call("now", tmp_path / "data", "--subset", "test")
    assert result.exit_code == 1
    assert "use --write" in result.output
    result = call("now", tmp_path / "data", "--subset", "test", "--write", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len([*(tmp_path / "out").rglob("*.npy")]) == 1
    assert not (tmp_path / "f.json").exists()


@pytest.mark.parametrize(
    ("layout", "option", "message"),
    [
        ("micc", ["--metrical"], "belong to NoW"),
        ("now", ["--landmarks", "x"], "belongs to MICC"),
        ("now", ["--mm-per-unit", "2"], "in mm"),
        ("facewarehouse", [], "Tester_"),
    ],
)
def test_options_that_do_not_fit(call, tmp_path, layout, option, message):
    result = call(layout, tmp_path, *option)
    assert result.exit_code == 1
    assert message in result.output.replace("\n", "")
