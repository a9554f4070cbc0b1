import json

import numpy as np
import pytest
import trimesh

from facewright.training.evaluation.errors import ScanError
from facewright.training.evaluation.scan_files import read_obj, read_points, write_obj


def test_what_is_written_is_read_here_and_elsewhere(tmp_path):
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(20, 3)) * 80
    triangles = np.stack([rng.permutation(20) for _ in range(5)])[:, :18].reshape(-1, 3)
    path = tmp_path / "new" / "a.obj"
    triangles = np.concatenate([triangles, [[17, 18, 19]]])  # every vertex is used
    write_obj(path, vertices, triangles)
    for points, indices in (
        read_obj(path),
        (lambda mesh: (mesh.vertices, mesh.faces))(trimesh.load(path, process=False)),
    ):
        np.testing.assert_allclose(points, vertices, atol=1e-4)
        np.testing.assert_array_equal(indices, triangles)


def test_the_forms_of_a_line(tmp_path):
    path = tmp_path / "b.obj"
    path.write_text(
        "# scanner\nmtllib a.mtl\no face\nv 0 0 0 0.5 0.5 0.5\nv  1 0 0\nv 1 1 0 1.0\nv 0 1e0 0\n"
        "vt 0 0\nvn 0 0 1\nusemtl skin\ns off\nf 1/1/1 2/1/1 3/1/1 4/1/1\nf -4//1 -3//1 -2//1\n"
    )
    points, triangles = read_obj(path)
    np.testing.assert_array_equal(points, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(triangles, [[0, 1, 2], [0, 2, 3], [0, 1, 2]])


@pytest.mark.parametrize(
    "text", ["", "f 1 2 3\n", "v 1 2\n", "v 1 2 x\n", "v 1 2 3\nv 1 2\n", "v 1 2 3\nf 1 b 3\n"]
)
def test_broken_meshes(tmp_path, text):
    path = tmp_path / "c.obj"
    path.write_text(text)
    with pytest.raises(ScanError, match="c.obj"):
        read_obj(path)


POINTS = np.array([[1.5, -2, 3], [4, 5e-1, 6], [0, 0, 0]])


def picked(points):
    rows = "".join(
        f' <point x="{x}" y="{y}" z="{z}" active="1" name="{k}"/>\n'
        for k, (x, y, z) in enumerate(points)
    )
    return (
        "<!DOCTYPE PickedPoints>\n<PickedPoints>\n <DocumentData>\n"
        '  <DateTime time="12:00:00" date="2018-04-24"/>\n  <User name="someone"/>\n'
        '  <DataFileName name="scan.obj"/>\n  <templateName name=""/>\n </DocumentData>\n'
        f"{rows}</PickedPoints>\n"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.pp", picked(POINTS)),
        ("a.txt", "1.5 -2 3\n4 5e-1 6\n\n0 0 0\n"),
        ("a.ljson", json.dumps({"version": 2, "landmarks": {"points": POINTS.tolist()}})),
        (
            "b.ljson",
            json.dumps(
                {"version": 3, "groups": {"LJSON": {"landmarks": {"points": POINTS.tolist()}}}}
            ),
        ),
    ],
)
def test_points(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    np.testing.assert_allclose(read_points(path), POINTS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.pp", "<PickedPoints><point x='1' y='2'/></PickedPoints>"),
        ("d.pp", "1 2 3"),
        ("d.pp", "<PickedPoints/>"),
        ("d.txt", "1 2\n3 4\n"),
        ("d.txt", "1 2 3\n3 4\n"),
        ("d.ljson", "{}"),
        ("d.ljson", '{"version": 2, "landmarks": {"points": [[1, 2], [3, 4]]}}'),
        ("d.csv", "1,2,3"),
    ],
)
def test_broken_points(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ScanError, match=name):
        read_points(path)
