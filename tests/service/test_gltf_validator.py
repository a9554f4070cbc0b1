"""The Khronos validator's verdict on the GLB files."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from service.meshes.glb import write_glb
from service.meshes.mesh import Mesh

SCRIPT = Path(__file__).with_name("gltf_validate.mjs")

needs_validator = pytest.mark.skipif(
    shutil.which("node") is None
    or not (SCRIPT.parents[1] / "node_modules" / "gltf-validator").is_dir(),
    reason="needs node and `npm ci` in tests/",
)


def sphere(points: int, triangles: int) -> Mesh:
    rng = np.random.default_rng(points)
    normals = rng.normal(size=(points, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    indices = np.arange(3 * triangles).reshape(-1, 3) % points
    colors = rng.integers(0, 256, (points, 3)).astype(np.uint8)
    return Mesh(100 * normals, indices.astype(np.int32), normals, colors)


@needs_validator
@pytest.mark.parametrize(
    ("points", "triangles"), [(3, 1), (500, 999), (65535, 70000), (65536, 70000)]
)
def test_validator_has_nothing_to_say(tmp_path: Path, points: int, triangles: int) -> None:
    file = tmp_path / "face.glb"
    file.write_bytes(write_glb(sphere(points, triangles), {"licence": "CC0-1.0", "n": [1, 2.5]}))
    issues = validate(file)
    assert issues["messages"] == []


@needs_validator
def test_validator_would_notice(tmp_path: Path) -> None:
    file = tmp_path / "face.glb"
    data = write_glb(sphere(30, 10), {})
    file.write_bytes(data.replace(b'"VEC4"', b'"VEC3"'))
    assert validate(file)["numErrors"] > 0


def validate(file: Path) -> dict:
    run = subprocess.run(
        ["node", str(SCRIPT), str(file)], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(run.stdout)
