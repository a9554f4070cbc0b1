"""What the wheel brings, and that it is enough for a program of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PARTS = ("facewright", "service", "models", "training", "pyproject.toml", "README.md", "LICENSE")

PROGRAM = """
import sys
from pathlib import Path

import facewright

assert Path(facewright.__file__).is_relative_to(sys.argv[1]), facewright.__file__
assert "numpy" not in sys.modules  # nothing heavy before it is asked for
with facewright.Engine() as engine:
    assert isinstance(engine.model, facewright.MorphableModel)
    (face,) = engine.reconstruct(sys.argv[2])
    face.write_glb("face.glb")
    assert face.overlay().shape[2] == 3
    album = engine.album([sys.argv[2], Path(sys.argv[2]).read_bytes()])
    album.write_glb("album.glb", texture="photo", texture_size=256)
    assert isinstance(face, facewright.Reconstruction) and isinstance(album, facewright.Album)
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"torch", "fastapi", "uvicorn", "typer", "service", "models"}, loaded
"""

TYPED = """
import facewright

with facewright.Engine() as engine:
    (face,) = engine.reconstruct("photo.jpg")
    face.write_glb("face.glb", texture="photo", detail="low")
    face.write_glb("face.glb", textur="photo")
    engine.album(["a.jpg", b""], min_photos=2, strategy="loudest")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as pip builds it, in a copy: the build leaves files beside the sources."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (ROOT / part).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(ROOT / part, source / part)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", build, out], cwd=source, check=True, capture_output=True)
    (built,) = out.glob("facewright-*.whl")
    return built


def bring_kernels(site: Path) -> None:
    """Take over what the checkout has compiled of the same sources, as far as it lies there."""
    for package in ("models", "service"):
        for source in (ROOT / package).rglob("*"):
            copy = site / "facewright" / source.relative_to(ROOT)
            if source.suffix == ".py":  # compiled kernels belong to a time of change
                os.utime(copy, ns=(source.stat().st_mtime_ns,) * 2)
            elif source.suffix in (".nbi", ".nbc"):
                copy.parent.mkdir(exist_ok=True)
                shutil.copy(source, copy)


def test_it_brings_one_name_and_everything_below_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"facewright"}
    for package in ("service", "models", "training"):
        for path in (ROOT / package).rglob("*.py"):
            assert f"facewright/{path.relative_to(ROOT)}" in names
    for data in (
        "py.typed",
        "models/assets/face_model.npz",
        "models/assets/rnet_v4.onnx",
        "models/assets/segmentation_v2.onnx",
        "service/api/static/index.html",
        "service/api/static/page.js",
        "service/api/static/samples/calm.jpg",
        "service/results/static/album.html",
        "service/results/static/viewer.js",
        "training/photos/label_convention.json",
        "training/experiments/cnet/shape.yaml",
    ):
        assert f"facewright/{data}" in names, data


def test_a_program_needs_nothing_else(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    bring_kernels(site)
    portrait = ROOT / "docs" / "images" / "portraits" / "3_calm.png"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, site, portrait],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ("face.glb", "album.glb"):
        assert (tmp_path / name).read_bytes()[:4] == b"glTF"


def test_type_checkers_know_the_options(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    (tmp_path / "program.py").write_text(TYPED)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    errors = [line for line in checked.stdout.splitlines() if " error: " in line]
    assert len(errors) == 2, checked.stdout + checked.stderr
    assert 'Unexpected keyword argument "textur"' in errors[0]
    assert "incompatible type \"Literal['loudest']\"" in errors[1]
