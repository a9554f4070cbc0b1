"""The page of the command line's album in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facewright.models.normals import vertex_normals
from facewright.service.formats.glb import write_glb
from facewright.service.formats.mesh import Mesh
from facewright.service.results.album_page import PhotoRow, album_page
from facewright.service.results.schemas import (
    AlbumIdentity,
    AlbumPhoto,
    AlbumResult,
    Likeness,
    ModelReference,
    PhotoProblem,
)
from tests.service.api.browser import Page, find_browser

TITLE = 'Anna & "Bo" <script src="viewer.js"></script>$scripts'


@pytest.fixture(scope="module")
def written(assets: Any, tmp_path_factory: pytest.TempPathFactory, portrait_jpeg: bytes) -> Path:
    """The page of an album with a stranger and a failed photo."""
    model = assets.model
    vertices = model.mean_shape.astype(np.float32)
    normals = vertex_normals(vertices[None], model.triangles)[0]
    colors = np.full(vertices.shape, (190, 140, 120), np.uint8)
    mesh = write_glb(Mesh(vertices, model.triangles, normals, colors), {})
    reference = ModelReference(name="m", version="1", sha256="0")
    photos = [
        AlbumPhoto(index=0, name="<a>.jpg", status="used", share=0.75),
        AlbumPhoto(
            index=1,
            name="b.jpg",
            status="used",
            share=0.25,
            likeness=Likeness(distance=4.0, stranger=True),
        ),
        AlbumPhoto(
            index=2,
            name="c.jpg",
            status="failed",
            problem=PhotoProblem(code="no_face_found", title="No face found", detail="None."),
        ),
    ]
    result = AlbumResult(
        face_model=reference,
        weights=reference,
        detector="centerface",
        strategy="confidence",
        faces="largest",
        outliers="flag",
        judged_by="shape",
        stranger_distance=3.0,
        mesh="face",
        texture="albedo",
        identity=AlbumIdentity(coefficients=[0.0] * 80, albedo=[0.0] * 80, photos_used=2),
        photos=photos,
    )
    rows = [PhotoRow(photo, portrait_jpeg, None) for photo in photos]
    path = tmp_path_factory.mktemp("page") / "album.html"
    path.write_text(album_page(TITLE, result, rows, mesh), "utf-8")
    return path


def test_the_face_stands_in_3d_above_its_photos(written: Path, tmp_path: Path) -> None:
    browser = find_browser()
    if browser is None:
        pytest.skip("needs Chromium or Chrome")
    with Page(browser, tmp_path) as page:
        page.emulate(375, 700, phone=True, still=True)
        page.open(written.as_uri())
        assert page.run("document.querySelector('h1').textContent") == TITLE
        assert page.run("document.documentElement.scrollWidth") == 375
        page.run("document.querySelector('canvas').scrollIntoView()")
        shot = cv2.imdecode(np.frombuffer(page.picture(whole=False), np.uint8), cv2.IMREAD_COLOR)
        face = shot[425:625, 275:475].reshape(-1, 3).astype(int)
        assert (face[:, 2] > face[:, 0] + 15).mean() > 0.9  # skin is red rather than blue
        kinds = page.run("[...document.querySelectorAll('article')].map((one) => one.className)")
        assert kinds == ["card used", "card stranger", "card failed"]
        widths = "[...document.querySelectorAll('.share rect')].map((r) => r.width.baseVal.value)"
        assert page.run(widths) == pytest.approx([100, 33.3], abs=0.1)
        assert page.run("document.querySelectorAll('article img').length") == 3
        assert not page.complaints
