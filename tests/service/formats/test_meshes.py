"""What becomes of a reconstruction as a mesh, and what the files of it hold."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from facewright.models.camera import rotation_matrix
from facewright.service.formats.glb import write_glb
from facewright.service.formats.media_types import PNG
from facewright.service.formats.mesh import Mesh, MeshTexture
from facewright.service.formats.obj import write_mtl, write_obj
from facewright.service.formats.pictures import encode_picture
from facewright.service.formats.ply import write_ply
from facewright.service.formats.stl import write_stl
from facewright.service.pipeline.meshing import face_mesh

finite = st.floats(-1000, 1000, width=32)


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    count = draw(st.integers(3, 12))
    normals = draw(hnp.arrays(np.float32, (count, 3), elements=st.floats(-1, 1, width=32)))
    normals[(normals**2).sum(1) < 1e-3] = (0, 0, 1)
    return Mesh(
        draw(hnp.arrays(np.float32, (count, 3), elements=finite)),
        draw(
            hnp.arrays(
                np.int32,
                st.tuples(st.integers(1, 9), st.just(3)),
                elements=st.integers(0, count - 1),
            )
        ),
        normals / np.linalg.norm(normals, axis=1, keepdims=True),
        draw(hnp.arrays(np.uint8, (count, 3))),
    )


def read_glb(data: bytes) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """JSON and accessors of a GLB file, by the letter of the specification."""
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    json_length, json_type = struct.unpack_from("<I4s", data, 12)
    assert json_type == b"JSON"
    document = json.loads(data[20 : 20 + json_length])
    bin_length, bin_type = struct.unpack_from("<I4s", data, 20 + json_length)
    assert bin_type == b"BIN\0"
    payload = data[28 + json_length :]
    assert len(payload) == bin_length == document["buffers"][0]["byteLength"]
    arrays = []
    for accessor in document["accessors"]:
        view = document["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        dtype = {5123: "<u2", 5125: "<u4", 5126: "<f4"}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        array = np.frombuffer(payload, dtype, accessor["count"] * width, view["byteOffset"])
        assert array.nbytes == view["byteLength"]
        arrays.append(array.reshape(-1, width))
    for image in document.get("images", []):
        view = document["bufferViews"][image["bufferView"]]
        start = view["byteOffset"]
        assert image["mimeType"] == "image/jpeg"
        assert payload[start : start + 2] == b"\xff\xd8"
        assert payload[start + view["byteLength"] - 2 : start + view["byteLength"]] == b"\xff\xd9"
    return document, arrays


@settings(max_examples=60, deadline=None)
@given(meshes())
def test_glb_holds_the_mesh(mesh: Mesh) -> None:
    document, (positions, normals, colors, indices, inside) = read_glb(
        write_glb(mesh, {"license": "CC0-1.0", "coefficients": [0.5]})
    )
    np.testing.assert_allclose(positions * 1000, mesh.vertices, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(normals, mesh.normals)
    np.testing.assert_array_equal(indices.reshape(-1, 3), mesh.triangles)
    # The inside is the same surface seen from the other side, dark.
    np.testing.assert_array_equal(inside.reshape(-1, 3), mesh.triangles[:, ::-1])
    (primitive,) = document["meshes"][0]["primitives"][1:]
    assert (primitive["indices"], primitive["attributes"]) == (4, {"POSITION": 0})
    material = document["materials"][primitive["material"]]
    assert max(material["pbrMetallicRoughness"]["baseColorFactor"][:3]) < 0.05
    assert not any(material.get("doubleSided") for material in document["materials"])
    bounds = document["accessors"][0]
    np.testing.assert_array_equal(bounds["min"], positions.min(0))
    np.testing.assert_array_equal(bounds["max"], positions.max(0))
    # Back from linear light: the inverse of the sRGB curve, written the other way round.
    linear = colors[:, :3] / 65535
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_array_equal(np.rint(255 * srgb), mesh.colors_u8)
    assert (colors[:, 3] == 65535).all()
    extras = document["asset"]["extras"]
    assert extras["license"] == "CC0-1.0"
    assert extras["coefficients"] == [0.5]
    assert extras["units"] == "meters"


def test_middle_gray_is_linear_in_glb() -> None:
    mesh = triangle()
    _, (_, _, colors, _, _) = read_glb(write_glb(mesh, {}))
    # sRGB 128 is 0.21586 of linear light (IEC 61966-2-1).
    assert colors[0, 0] / 65535 == pytest.approx(0.21586, abs=1e-5)


def test_trimesh_reads_glb() -> None:
    mesh = triangle()
    scene = trimesh.load(io.BytesIO(write_glb(mesh, {})), file_type="glb")
    loaded, _ = scene.geometry.values()
    np.testing.assert_allclose(loaded.vertices * 1000, mesh.vertices, atol=1e-4)
    np.testing.assert_array_equal(loaded.faces, mesh.triangles)
    # With a material, trimesh keeps vertex colors beside it.
    colors = loaded.visual.vertex_attributes["color"]
    assert colors.shape == (3, 4)
    assert colors[1, 0] == 65535


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # trimesh's, about unused vertices
@settings(max_examples=60, deadline=None)
@given(meshes())
def test_trimesh_reads_obj(mesh: Mesh) -> None:
    data = write_obj(mesh, {"license": "CC0-1.0"})
    loaded = trimesh.load(
        io.BytesIO(data), file_type="obj", force="mesh", process=False, maintain_order=True
    )
    # By corner, because trimesh drops vertices that no triangle uses.
    corners, colors = loaded.vertices[loaded.faces], loaded.visual.vertex_colors[loaded.faces]
    np.testing.assert_allclose(corners, mesh.vertices[mesh.triangles], rtol=0, atol=1e-3)
    np.testing.assert_array_equal(colors[..., :3], mesh.colors_u8[mesh.triangles])


@settings(max_examples=100, deadline=None)
@given(meshes())
def test_obj_text_is_what_python_would_format(mesh: Mesh) -> None:
    text = write_obj(mesh, {}).decode()
    lines = [line for line in text.splitlines() if not line.startswith(("#", "o "))]
    count = len(mesh.vertices)
    for line, vertex, color in zip(lines, mesh.vertices, mesh.colors_u8, strict=False):
        word, *numbers = line.split(" ")
        assert word == "v"
        expected = [f"{x:.4f}" for x in vertex.tolist()] + [f"{c / 255:.3f}" for c in color]
        for number, same in zip(numbers, expected, strict=True):
            # Halves may round either way, and zero has no sign here.
            assert len(number) == len(same) or float(same) == 0
            assert float(number) == pytest.approx(float(same), abs=1.01e-4)
        assert np.abs(np.array(numbers[:3], float) - vertex).max() <= 0.5001e-4
    for line, normal in zip(lines[count:], mesh.normals, strict=False):
        word, *numbers = line.split(" ")
        assert word == "vn"
        assert np.abs(np.array(numbers, float) - normal).max() <= 0.5001e-4
    faces = [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in (mesh.triangles + 1).tolist()]
    assert lines[2 * count :] == faces


def test_obj_of_the_widest_numbers() -> None:
    corners = np.full((3, 3), -999999.9, np.float32)
    mesh = Mesh(corners, np.array([[0, 1, 2]], np.int32), -np.eye(3, dtype=np.float32), white(3))
    text = write_obj(mesh, {}).decode()
    assert text.count("-999999.8750") == 9
    assert text.endswith("f 1//1 2//2 3//3\n")
    with pytest.raises(ValueError):
        write_obj(
            Mesh(
                2 * corners, np.array([[0, 1, 2]], np.int32), np.eye(3, dtype=np.float32), white(3)
            ),
            {},
        )


def test_obj_header_stays_a_comment() -> None:
    data = write_obj(triangle(), {"license": "CC0-1.0", "note": "two\nv 1 2 3\r\nlines"})
    lines = data.decode().splitlines()
    assert "# units: millimeters" in lines
    assert "# license: CC0-1.0" in lines
    assert sum(line.startswith("v ") for line in lines) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_mesh_refuses_what_is_not_a_mesh(bad: float) -> None:
    good = triangle()
    broken = good.vertices.copy()
    broken[1, 1] = bad
    parts = good.vertices, good.triangles, good.normals, good.colors_u8
    for position, value in (
        (0, broken),
        (0, good.vertices[:2]),
        (1, good.triangles + 1),
        (1, good.triangles - 1),
        (1, good.triangles[:0]),
        (2, broken),
        (3, good.colors_u8[:, :2]),
    ):
        changed = [*parts[:position], value, *parts[position + 1 :]]
        with pytest.raises(ValueError):
            Mesh(*changed)


@pytest.mark.parametrize("extras", [{"x": float("nan")}, {"x": float("inf")}])
def test_glb_refuses_extras_that_are_not_json(extras: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        write_glb(triangle(), extras)


def test_face_mesh_follows_expression_and_pose() -> None:
    rng = np.random.default_rng(0)
    model: Any = SimpleNamespace(
        triangles=np.array([[0, 1, 2], [0, 2, 3]], np.int32), behind_lips=np.zeros(0, np.intp)
    )
    rotation = rotation_matrix(np.array([[0.1, -0.3, 0.2]]))[0].astype(np.float32)
    reconstruction: Any = SimpleNamespace(
        vertices=rng.normal(size=(4, 3)).astype(np.float32),
        neutral_vertices=rng.normal(size=(4, 3)).astype(np.float32),
        albedo=np.array([[0, 0.5, 1], [-0.1, 1.1, 0.999], [0, 0, 0], [1, 1, 1]], np.float32),
        rotation_matrix=rotation,
        translation_mm=np.array([1, 2, 3], np.float32),
    )
    kept = face_mesh(model, reconstruction)
    np.testing.assert_array_equal(kept.vertices, reconstruction.vertices)
    np.testing.assert_array_equal(kept.colors_u8[:2], [[0, 128, 255], [0, 255, 255]])
    np.testing.assert_allclose(np.linalg.norm(kept.normals, axis=1), 1, atol=1e-6)
    neutral = face_mesh(model, reconstruction, expression="neutral")
    np.testing.assert_array_equal(neutral.vertices, reconstruction.neutral_vertices)
    posed = face_mesh(model, reconstruction, pose="camera")
    moved = [rotation @ v + [1, 2, 3] for v in reconstruction.vertices]
    np.testing.assert_allclose(posed.vertices, moved, atol=1e-5)
    np.testing.assert_allclose(posed.normals, kept.normals @ rotation.T, atol=1e-5)
    wrong: Any = "sideways"
    with pytest.raises(ValueError):
        face_mesh(model, reconstruction, pose=wrong)
    with pytest.raises(ValueError):
        face_mesh(model, reconstruction, expression=wrong)
    reconstruction.vertices[0, 0] = np.nan
    with pytest.raises(ValueError):
        face_mesh(model, reconstruction)


def textured() -> Mesh:
    """A triangle with a texture whose top left quarter is red and whose rest is blue."""
    pixels = np.full((64, 64, 3), (20, 40, 200), np.uint8)
    pixels[:32, :32] = (200, 40, 20)
    uv = np.array([[0.1, 0.9], [0.9, 0.9], [0.1, 0.123456]], np.float32)
    bare = triangle()
    return Mesh(bare.vertices, bare.triangles, bare.normals, white(3), MeshTexture(uv, pixels))


def test_glb_holds_the_texture() -> None:
    mesh = textured()
    document, (_, _, places, _, _) = read_glb(write_glb(mesh, {}))
    assert document["meshes"][0]["primitives"][0]["attributes"] == {
        "POSITION": 0,
        "NORMAL": 1,
        "TEXCOORD_0": 2,
    }
    assert mesh.texture is not None
    np.testing.assert_allclose(places, mesh.texture.uv * (1, -1) + (0, 1), atol=1e-6)
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]
    assert document["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}


def test_trimesh_finds_the_texture_where_it_belongs() -> None:
    mesh = textured()
    scene = trimesh.load(io.BytesIO(write_glb(mesh, {})), file_type="glb", process=False)
    loaded, _ = scene.geometry.values()
    image = loaded.visual.material.baseColorTexture
    assert image.format == "JPEG"
    colors = trimesh.visual.color.uv_to_color(loaded.visual.uv, image)[:, :3].astype(int)
    assert np.abs(colors - [(200, 40, 20), (20, 40, 200), (20, 40, 200)]).max() < 12


def test_trimesh_reads_obj_with_material_and_texture(tmp_path: Path) -> None:
    mesh = textured()
    assert mesh.texture is not None
    (tmp_path / "face 0.obj").write_bytes(write_obj(mesh, {"license": "CC0-1.0"}, "face 0.mtl"))
    (tmp_path / "face 0.mtl").write_bytes(write_mtl("face 0.png"))
    (tmp_path / "face 0.png").write_bytes(encode_picture(mesh.texture.rgb_u8, PNG))
    loaded = trimesh.load(tmp_path / "face 0.obj", force="mesh", process=False)
    np.testing.assert_allclose(loaded.visual.uv, mesh.texture.uv, atol=1e-6)
    image = loaded.visual.material.image
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), mesh.texture.rgb_u8)
    text = (tmp_path / "face 0.obj").read_text()
    assert "\nvt 0.100000 0.123456\n" in text
    assert "\nv 63.2500 0.0000 1.0000\n" in text
    assert text.endswith("f 1/1/1 2/2/2 3/3/3\n")


def test_a_material_needs_a_texture() -> None:
    with pytest.raises(ValueError, match="texture"):
        write_obj(triangle(), {}, "face.mtl")
    mesh = triangle()
    with pytest.raises(ValueError, match="texture"):
        Mesh(
            mesh.vertices,
            mesh.triangles,
            mesh.normals,
            mesh.colors_u8,
            MeshTexture(np.zeros((2, 2), np.float32), np.zeros((4, 4, 3), np.uint8)),
        )


def test_vertices_have_the_colors_of_the_texture() -> None:
    bare = textured()
    assert bare.texture is not None
    model: Any = SimpleNamespace(triangles=bare.triangles, uv=bare.texture.uv)
    reconstruction: Any = SimpleNamespace(vertices=bare.vertices, albedo=bare.vertices)
    mesh = face_mesh(model, reconstruction, texture_u8=bare.texture.rgb_u8)
    np.testing.assert_array_equal(mesh.colors_u8, [(200, 40, 20), (20, 40, 200), (20, 40, 200)])
    corners: Any = SimpleNamespace(
        triangles=bare.triangles, uv=np.array([[0, 1], [1, 0], [1, 1]], np.float32)
    )
    at_corners = face_mesh(corners, reconstruction, texture_u8=bare.texture.rgb_u8)
    np.testing.assert_array_equal(at_corners.colors_u8[0], (200, 40, 20))


def white(count: int) -> NDArray[np.uint8]:
    return np.full((count, 3), 255, np.uint8)


def triangle() -> Mesh:
    corners = np.array([[0, 0, 0], [63.25, 0, 1], [0, -42.0625, 2]], np.float32)
    normals = np.tile(np.array([[0, 0.6, 0.8]], np.float32), (3, 1))
    colors = np.array([[128, 128, 128], [255, 0, 1], [10, 20, 30]], np.uint8)
    return Mesh(corners, np.array([[0, 1, 2]], np.int32), normals, colors)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=40, deadline=None)
@given(meshes())
def test_trimesh_reads_ply(mesh: Mesh) -> None:
    data = write_ply(mesh, {"axes": "+Y up,\nand more"})
    assert b"comment axes: +Y up, and more\n" in data
    assert b"comment units: millimeters\n" in data
    loaded = trimesh.load(io.BytesIO(data), file_type="ply", process=False)
    np.testing.assert_array_equal(loaded.vertices, mesh.vertices)
    np.testing.assert_array_equal(loaded.faces, mesh.triangles)
    np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], mesh.colors_u8)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=40, deadline=None)
@given(meshes())
def test_trimesh_reads_stl(mesh: Mesh) -> None:
    data = write_stl(mesh)
    assert not data.startswith(b"solid")
    assert len(data) == 84 + 50 * len(mesh.triangles)
    loaded = trimesh.load(io.BytesIO(data), file_type="stl", process=False)
    np.testing.assert_array_equal(loaded.triangles, mesh.vertices[mesh.triangles])


def test_an_stl_facet_has_the_normal_of_its_plane() -> None:
    mesh = triangle()
    facet = np.frombuffer(write_stl(mesh)[84:], "<f4", 12).reshape(4, 3)
    sides = facet[2:] - facet[1]
    np.testing.assert_allclose(sides @ facet[0], 0, atol=1e-4)
    assert np.linalg.norm(facet[0]) == pytest.approx(1)
    expected = np.cross(
        *(mesh.vertices[mesh.triangles[0]][1:] - mesh.vertices[mesh.triangles[0][0]])
    )
    assert facet[0] @ expected > 0


def test_a_material_has_only_what_readers_know() -> None:
    lines = dict(line.split(" ", 1) for line in write_mtl("face0.png").decode().splitlines())
    assert set(lines) == {"#", "newmtl", "Ka", "Kd", "Ks", "d", "illum", "map_Kd"}
    assert lines["illum"] == "1"
