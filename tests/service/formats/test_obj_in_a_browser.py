"""OBJ files in three.js, in a real browser: they have the colors that they were written with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals
from facewright.service.formats.mesh import Mesh, MeshTexture
from facewright.service.formats.obj import write_mtl, write_obj
from tests.service.api.browser import Page
from tests.service.formats.three import three_page

pytestmark = pytest.mark.slow

SIDE = 64


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    """The mean face, whose texture has another color in each of 4 x 4 squares."""
    model = MorphableModel.load(asset_path(FACE_MODEL))
    vertices = model.mean_vertices
    chance = np.random.default_rng(5)
    squares = chance.integers(30, 220, (4, 4, 3)).astype(np.uint8)
    image = squares.repeat(SIDE // 4, 0).repeat(SIDE // 4, 1)
    # Vertex colors change slowly, so that a pixel has those of the vertex beside it
    plain = np.clip(vertices + 128, 0, 255).astype(np.uint8)
    return Mesh(
        vertices,
        model.triangles,
        vertex_normals(vertices[None], model.triangles)[0],
        plain,
        MeshTexture(model.uv, image),
    )


@pytest.fixture(scope="module")
def page(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    root = tmp_path_factory.mktemp("obj")
    assert mesh.texture is not None
    (root / "textured.obj").write_bytes(write_obj(mesh, {}, "textured.mtl"))
    (root / "textured.mtl").write_bytes(write_mtl("textured.png"))
    Image.fromarray(mesh.texture.rgb_u8).save(root / "textured.png")
    (root / "colored.obj").write_bytes(write_obj(replace(mesh, texture=None), {}))
    with three_page(root, tmp_path_factory.mktemp("profile")) as page:
        yield page


def seen(page: Page, mesh: Mesh, vertices: list[int]) -> np.ndarray:
    """Colors of the pixels on which vertices lie, under light from everywhere alike."""
    page.run("show({})")
    points = (mesh.vertices[vertices] / 1000).tolist()
    return np.array([page.run(f"colorAt({point})") for point in points], np.float64)


def test_the_texture_lies_where_its_coordinates_say(page: Page, mesh: Mesh) -> None:
    page.run("loadObj('/textured.obj', '/textured.mtl')")
    assert mesh.texture is not None
    texels = mesh.texture.uv * [SIDE, -SIDE] + [0, SIDE]
    # Vertices of the front that lie well inside of a square
    inside = np.abs(texels % (SIDE // 4) - SIDE // 8).max(axis=1) < SIDE // 16
    chosen = np.flatnonzero(inside & (mesh.normals[:, 2] > 0.8))[::400]
    column, row = texels[chosen].astype(int).T
    expected = mesh.texture.rgb_u8[row, column].astype(np.float64)
    assert len({*map(tuple, expected)}) >= 4
    difference = np.abs(seen(page, mesh, chosen.tolist()) - expected).max(axis=1)
    assert np.median(difference) <= 3  # as it is, whatever way the surface looks
    assert (difference < 10).mean() > 0.9  # some of them are hidden


def test_colors_of_vertices_are_shown(page: Page, mesh: Mesh) -> None:
    page.run("loadObj('/colored.obj')")
    chosen = np.flatnonzero(mesh.normals[:, 2] > 0.8)[::800]
    expected = mesh.colors_u8[chosen].astype(np.float64)
    assert np.ptp(expected, axis=0).max() > 30
    difference = np.abs(seen(page, mesh, chosen.tolist()) - expected).max(axis=1)
    assert np.median(difference) <= 3
