"""Textures of albums: which photos are taken, and the files that come of them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from facewright.models.layout import LAYOUT_239
from facewright.service.errors import NoFaceFound
from facewright.service.networks.detection import DetectedFace
from facewright.service.pipeline.album import Album, AlbumFace, FailedPhoto
from facewright.service.pipeline.album_texture import MOST_VIEWS, choose_views
from facewright.service.pipeline.reconstruction import ObservedFace

PATH = "/v1/albums/reconstruct"


def face(yaw_degrees: float, confidence: float, used: bool = True) -> AlbumFace:
    coefficients = np.zeros(239, np.float32)
    coefficients[LAYOUT_239.rotation.start + 1] = np.radians(yaw_degrees)
    found = DetectedFace(np.array([0, 0, 9, 9.0]), np.zeros((5, 2)), 0.9)
    confidences = np.full(80, confidence, np.float32)
    observed = ObservedFace(found, np.eye(2, 3), coefficients, confidences)
    return AlbumFace(640, 480, observed, 1, None, None, False, used, 0.5)


def album(*photos: AlbumFace | FailedPhoto) -> Album:
    return Album(list(photos), np.zeros(80, np.float32), np.zeros(80, np.float32))


def test_every_side_has_its_turn_before_the_second_of_any() -> None:
    frontal = [face(0, 0.9 - k / 100) for k in range(20)]
    chosen = choose_views(album(*frontal, face(50, 0.2), face(-50, 0.1)))
    assert len(chosen) == MOST_VIEWS
    assert {0, 20, 21} <= set(chosen)
    assert set(chosen) - {20, 21} == set(range(MOST_VIEWS - 2))


def test_photos_that_are_not_used_are_not_taken() -> None:
    failed = FailedPhoto(NoFaceFound("None."))
    photos = album(failed, face(0, 0.1), face(0, 0.9, used=False), face(0, 0.5))
    assert choose_views(photos) == [3, 1]


@pytest.fixture(scope="module")
def client(serve_here: Callable[..., Any], telling_weights: Any) -> Iterator[httpx.Client]:
    with serve_here(weights=telling_weights) as server, server.client() as client:
        yield client


@pytest.fixture(scope="module")
def files(portrait_jpeg: bytes, mirrored_jpeg: bytes) -> list[tuple[str, bytes]]:
    return [("images", portrait_jpeg), ("images", mirrored_jpeg)]


def test_the_glb_carries_the_texture(client: httpx.Client, files: list[tuple[str, bytes]]) -> None:
    query = {"texture": "photo", "texture_size": "256"}
    response = client.post(PATH, params=query, files=files, headers={"Accept": "model/gltf-binary"})
    assert response.status_code == 200, response.text
    length = struct.unpack_from("<I", response.content, 12)[0]
    gltf = json.loads(response.content[20 : 20 + length])
    attributes = gltf["meshes"][0]["primitives"][0]["attributes"]
    assert "TEXCOORD_0" in attributes
    assert "COLOR_0" not in attributes
    assert gltf["images"][0]["mimeType"] == "image/jpeg"
    assert gltf["asset"]["extras"]["texture"] == "photo"


def test_the_archive_has_material_and_picture(
    client: httpx.Client, files: list[tuple[str, bytes]]
) -> None:
    query = {"texture": "photo", "texture_size": "256"}
    response = client.post(PATH, params=query, files=files, headers={"Accept": "application/zip"})
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert {"identity.glb", "identity.obj", "identity.mtl", "identity.png"} <= set(
            archive.namelist()
        )
        assert b"mtllib identity.mtl" in archive.read("identity.obj")
        assert b"identity.png" in archive.read("identity.mtl")
        texture = cv2.imdecode(np.frombuffer(archive.read("identity.png"), np.uint8), 1)
        result = json.loads(archive.read("result.json"))
    assert texture.shape == (256, 256, 3)
    assert texture.std() > 5  # a face, not one color
    assert result["texture"] == "photo"
