"""The Khronos validator's verdict on the GLB files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facewright.service.formats.glb import write_glb
from facewright.service.formats.mesh import Mesh, MeshTexture

Validate = Callable[[Path], dict[str, Any]]


def sphere(points: int, triangles: int) -> Mesh:
    rng = np.random.default_rng(points)
    normals = rng.normal(size=(points, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    indices = np.arange(3 * triangles).reshape(-1, 3) % points
    colors = rng.integers(0, 256, (points, 3)).astype(np.uint8)
    return Mesh(100 * normals, indices.astype(np.int32), normals, colors)


@pytest.mark.parametrize(
    ("points", "triangles"), [(3, 1), (500, 999), (65535, 70000), (65536, 70000)]
)
def test_validator_has_nothing_to_say(
    tmp_path: Path, validate_gltf: Validate, points: int, triangles: int
) -> None:
    file = tmp_path / "face.glb"
    file.write_bytes(write_glb(sphere(points, triangles), {"license": "CC0-1.0", "n": [1, 2.5]}))
    assert validate_gltf(file)["messages"] == []


@pytest.mark.parametrize("size", [256, 1024])
def test_validator_has_nothing_to_say_about_textures(
    tmp_path: Path, validate_gltf: Validate, size: int
) -> None:
    bare = sphere(500, 999)
    rng = np.random.default_rng(size)
    texture = MeshTexture(
        rng.random((500, 2), dtype=np.float32), rng.integers(0, 256, (size, size, 3), np.uint8)
    )
    mesh = Mesh(bare.vertices, bare.triangles, bare.normals, bare.colors_u8, texture)
    file = tmp_path / "face.glb"
    file.write_bytes(write_glb(mesh, {}))
    assert validate_gltf(file)["messages"] == []


def test_validator_would_notice(tmp_path: Path, validate_gltf: Validate) -> None:
    file = tmp_path / "face.glb"
    data = write_glb(sphere(30, 10), {})
    file.write_bytes(data.replace(b'"VEC3"', b'"VEC4"'))
    assert validate_gltf(file)["numErrors"] > 0
