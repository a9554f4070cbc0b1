"""The library gives the same faces as the service, from files, bytes and pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydantic
import pytest
import trimesh
from scipy.spatial import cKDTree

import facewright
from facewright.service.options import AlbumOptions, ReconstructOptions

pytestmark = pytest.mark.slow

PORTRAITS = Path(__file__).parents[2] / "docs" / "images" / "portraits"
CALM = PORTRAITS / "3_calm.png"


@pytest.fixture(scope="module")
def engine() -> Iterator[facewright.Engine]:
    with facewright.Engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def face(engine: facewright.Engine) -> facewright.Reconstruction:
    (face,) = engine.reconstruct(CALM)
    return face


@pytest.fixture(scope="module")
def album(engine: facewright.Engine) -> facewright.Album:
    return engine.album([CALM, CALM])


def pixels() -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(CALM)), cv2.COLOR_BGR2RGB)


def test_a_path_its_bytes_and_its_pixels_are_the_same_photo(
    engine: facewright.Engine, face: facewright.Reconstruction
) -> None:
    data = CALM.read_bytes()
    for photo in (str(CALM), data, bytearray(data), memoryview(data), pixels()):
        (again,) = engine.reconstruct(photo)
        np.testing.assert_allclose(again.coefficients, face.coefficients, atol=1e-4)


def test_a_face_says_where_it_is(face: facewright.Reconstruction) -> None:
    height, width = pixels().shape[:2]
    assert ((face.landmarks > 0) & (face.landmarks < (width, height))).all()
    x0, y0, x1, y1 = face.box
    middle = face.landmarks.mean(axis=0)
    assert x0 < middle[0] < x1
    assert y0 < middle[1] < y1
    assert 0.5 < face.score <= 1.0
    assert face.coefficients.shape == (239,)
    assert face.confidences.shape == (80,)
    # The documented equation places the mesh on the photo: the nose's tip is landmark 30.
    posed = face.vertices @ face.rotation_matrix.T + face.translation
    camera = np.stack([posed[:, 0], -posed[:, 1], 1000 - posed[:, 2]], axis=1)
    projected = camera @ face.intrinsics.T
    places = projected[:, :2] / projected[:, 2:]
    assert np.linalg.norm(places - face.landmarks[30], axis=1).min() < 2.0


def test_meshes_and_files_agree(
    face: facewright.Reconstruction, engine: facewright.Engine, tmp_path: Path
) -> None:
    mesh = face.mesh(expression="neutral", pose="camera")
    face.write_glb(tmp_path / "face.glb", expression="neutral", pose="camera")
    face.write_obj(tmp_path / "face.obj", expression="neutral", pose="camera")
    assert mesh.vertices.shape == (engine.model.n_vertices, 3)
    for name, unit in (("face.glb", 1e-3), ("face.obj", 1.0)):
        loaded = trimesh.load(tmp_path / name, force="mesh", process=False)
        low, high = unit * mesh.vertices.min(axis=0), unit * mesh.vertices.max(axis=0)
        np.testing.assert_allclose(loaded.bounds, [low, high], atol=1e-3 * unit)


def test_meshes_have_the_detail_that_is_asked_for(
    face: facewright.Reconstruction, album: facewright.Album, tmp_path: Path
) -> None:
    for whole in (face, album):
        full = whole.mesh(texture="albedo")
        low = whole.mesh(texture="albedo", detail="low")
        assert len(low.triangles) < len(full.triangles) / 10
        assert (cKDTree(full.vertices).query(low.vertices)[0] == 0).all()
        whole.write_glb(tmp_path / "low.glb", texture="albedo", detail="low")
        outside, _ = trimesh.load(tmp_path / "low.glb", process=False).geometry.values()
        np.testing.assert_allclose(outside.vertices, 1e-3 * low.vertices, atol=1e-6)
        assert len(outside.faces) == len(low.triangles)
    medium = face.mesh(texture_size=256, detail="medium")
    assert medium.texture is not None
    assert len(medium.texture.uv) == len(medium.vertices)


def test_a_head_is_written_with_the_faces_expression(
    face: facewright.Reconstruction,
    album: facewright.Album,
    engine: facewright.Engine,
    tmp_path: Path,
) -> None:
    face.write_head(tmp_path / "head.glb", texture_size=256)
    data = (tmp_path / "head.glb").read_bytes()
    length = int.from_bytes(data[12:16], "little")
    skin = json.loads(data[20 : 20 + length])["meshes"][0]
    names = skin["extras"]["targetNames"]
    assert len(names) == 67
    assert names[:52] == list(face.blendshapes)
    weights = dict(zip(names, skin["weights"], strict=True))
    for name, weight in face.blendshapes.items():
        assert weights[name] == pytest.approx(weight, abs=1e-4)
    assert 0.0 <= min(face.blendshapes.values()) <= max(face.blendshapes.values()) <= 1.0

    # Without targets the vertices have the expression, and the face is the face's mesh.
    plain = {"detail": "high", "targets": "none", "compression": "none", "texture": "albedo"}
    face.write_head(tmp_path / "still.glb", **plain)
    scene = trimesh.load(tmp_path / "still.glb", process=False)
    mesh = face.mesh()
    off, _ = cKDTree(scene.geometry["Skin"].vertices * 1000).query(mesh.vertices)
    skin_vertices = engine.model.parts == 0
    assert np.quantile(off[skin_vertices], 0.98) < 0.01

    album.write_head(tmp_path / "album.glb", detail="low", targets="arkit", texture="albedo")
    assert (tmp_path / "album.glb").read_bytes()[:4] == b"glTF"


def test_a_texture_comes_from_the_photo(face: facewright.Reconstruction) -> None:
    assert face.mesh(texture="albedo").texture is None
    texture = face.mesh(texture_size=256).texture
    assert texture is not None
    assert texture.rgb_u8.shape == (256, 256, 3)


def test_the_overlay_changes_the_face_and_nothing_else(face: facewright.Reconstruction) -> None:
    changed = (face.overlay() != pixels()).any(axis=2)
    assert changed[tuple(face.landmarks[30].astype(int)[::-1])]
    assert not changed[0].any()


def test_a_photo_without_a_face_has_none(engine: facewright.Engine) -> None:
    assert engine.reconstruct(np.full((300, 300, 3), 127, np.uint8)) == []


@pytest.mark.parametrize("photo", [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3))])
def test_other_arrays_are_refused(engine: facewright.Engine, photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        engine.reconstruct(photo)


def test_what_is_no_photo_is_refused_in_words(engine: facewright.Engine) -> None:
    with pytest.raises(facewright.FacewrightError):
        engine.reconstruct(b"no photo")
    for thing in (None, 7, [CALM]):
        with pytest.raises(TypeError, match="path or bytes, or an array of pixels, not a"):
            engine.reconstruct(thing)
        with pytest.raises(TypeError, match="path or bytes, or an array of pixels, not a"):
            engine.album([CALM, thing])


@pytest.mark.parametrize("photo", [str(CALM), CALM, b"photo", bytearray(2), memoryview(b"photo")])
def test_one_photo_is_no_album(engine: facewright.Engine, photo: Any) -> None:
    with pytest.raises(TypeError, match="a list of photos, not a single"):
        engine.album(photo)


def test_an_album_has_one_identity(
    engine: facewright.Engine, face: facewright.Reconstruction, tmp_path: Path
) -> None:
    blank = np.full((300, 300, 3), 127, np.uint8)
    album = engine.album([CALM, blank, pixels()], strategy="mean")
    assert album.photos_used == 2
    assert len(album.photos) == 3
    np.testing.assert_allclose(album.identity, face.coefficients[:80], atol=1e-3)
    album.write_glb(tmp_path / "album.glb")
    loaded = trimesh.load(tmp_path / "album.glb", force="mesh", process=False)
    np.testing.assert_allclose(loaded.extents, 1e-3 * np.ptp(album.mesh().vertices, axis=0), 1e-3)


def test_mistakes_are_told(engine: facewright.Engine) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        engine.album([CALM])
    with pytest.raises(pydantic.ValidationError):
        engine.album([CALM, CALM], strategy="loudest")
    with pytest.raises(AttributeError, match="no attribute"):
        facewright.nonsense  # noqa: B018


def test_words_that_are_none_are_refused(
    engine: facewright.Engine,
    face: facewright.Reconstruction,
    album: facewright.Album,
    tmp_path: Path,
) -> None:
    path = tmp_path / "face.glb"
    for call in (
        lambda: engine.reconstruct(CALM, faces="some"),
        lambda: face.mesh(texture="picture"),
        lambda: face.mesh(texture_size=300),
        lambda: face.mesh(expression="none"),
        lambda: face.mesh(detail="highest"),
        lambda: face.overlay(landmarks="maybe"),
        lambda: face.write_glb(path, texture="picture"),
        lambda: face.write_obj(path, pose="photo"),
        lambda: face.write_head(path, detail="highest"),
        lambda: face.write_head(path, targets="some"),
        lambda: face.write_head(path, compression="zip"),
        lambda: face.write_head(path, expression="none"),
        lambda: album.write_glb(path, texture="picture"),
        lambda: album.write_head(path, detail="highest"),
    ):
        with pytest.raises(pydantic.ValidationError):
            call()
    assert not path.exists()


HEAD_ONLY = ("targets", "compression")
PHOTO_ONLY = ("expression", "pose")


@pytest.mark.parametrize(
    ("call", "refused"),
    [
        ("face.mesh", HEAD_ONLY),
        ("face.write_glb", HEAD_ONLY),
        ("face.write_obj", HEAD_ONLY),
        ("face.write_head", ()),
        ("album.mesh", HEAD_ONLY + PHOTO_ONLY),
        ("album.write_glb", HEAD_ONLY + PHOTO_ONLY),
        ("album.write_head", PHOTO_ONLY),
        ("engine.album", ("texture", "texture_size", "detail", *HEAD_ONLY, *PHOTO_ONLY)),
    ],
)
def test_options_of_other_methods_are_refused(
    request: pytest.FixtureRequest, tmp_path: Path, call: str, refused: tuple[str, ...]
) -> None:
    owner, name = call.split(".")
    method = getattr(request.getfixturevalue(owner), name)
    given = [[CALM, CALM]] if owner == "engine" else []
    given += [tmp_path / "mesh"] if name.startswith("write") else []
    strange = ["mesh", "include", "mesh_format", "landmarks", "textur", *refused]
    strange += [] if owner == "engine" else ["strategy", "faces", "outliers", "min_photos"]
    defaults = ReconstructOptions().model_dump() | AlbumOptions().model_dump()
    for option in strange:
        with pytest.raises(pydantic.ValidationError, match=option):
            method(*given, **{option: defaults.get(option)})
    assert not list(tmp_path.iterdir())
