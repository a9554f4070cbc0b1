"""Who may import whom: arrows never point back up."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def imported(path: Path) -> Iterator[str]:
    """Top-level names of everything a module imports, wherever in it that is."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
            if node.module == "models":
                # `from models import x_torch` brings torch along.
                yield from ("torch" for alias in node.names if alias.name.endswith("_torch"))
                yield from ("scipy" for alias in node.names if alias.name == "basel")
            elif node.module.endswith("_torch"):
                yield "torch"
            elif node.module == "facewright.models.basel":
                yield "scipy"


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("service", {"torch", "training"}),
        ("models", {"service", "training"}),
        ("training", {"service"}),
    ],
)
def test_packages_import_downwards_only(package: str, forbidden: set[str]) -> None:
    for path in modules(package):
        assert not forbidden & set(imported(path)), path.relative_to(ROOT)


def test_models_need_torch_only_where_their_name_says_so() -> None:
    for path in modules("models"):
        if not path.stem.endswith("_torch"):
            assert "torch" not in set(imported(path)), path.relative_to(ROOT)


def test_serving_does_without_scipy() -> None:
    """Only training and the reader of MATLAB files have it; no image does."""
    for path in (*modules("service"), *modules("models")):
        if path.stem != "basel":
            assert "scipy" not in set(imported(path)), path.relative_to(ROOT)


@pytest.mark.parametrize(
    "module",
    ["service", "facewright.service.api.app", "facewright.cli", "facewright.service.bench"],
)
def test_serving_never_loads_torch_or_training(module: str) -> None:
    code = f"import sys, {module}; print(*(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "training"} & set(done.stdout.split())


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    code = "import sys, service.cli; print(*(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"numpy", "cv2", "numba", "onnxruntime", "fastapi"}
    assert not heavy & set(done.stdout.split())


def test_the_batcher_is_one_file_without_http() -> None:
    path = ROOT / "service" / "batching.py"
    assert len(path.read_text("utf-8").splitlines()) < 250
    assert not {"fastapi", "starlette", "uvicorn", "asyncio"} & set(imported(path))


def test_versions_agree() -> None:
    import facewright.service

    assert f'\nversion = "{service.__version__}"\n' in (ROOT / "pyproject.toml").read_text()
