"""Who may import whom: arrows never point back up."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import facewright

ROOT = Path(__file__).parents[1]

GROUND = {"errors", "settings", "options"}
MAY_IMPORT = {
    "runtime": GROUND,
    "networks": GROUND | {"runtime"},
    "telemetry": GROUND | {"runtime"},
    "formats": GROUND | {"runtime"},
    "pipeline": GROUND | {"runtime", "networks", "telemetry", "formats"},
    "results": GROUND | {"runtime", "networks", "telemetry", "formats", "pipeline"},
    "api": GROUND | {"runtime", "networks", "telemetry", "formats", "pipeline", "results"},
    "commands": GROUND | {"runtime", "networks", "telemetry", "formats", "pipeline", "results"},
    "bench": GROUND | {"runtime", "networks", "telemetry", "formats", "pipeline", "results"},
    "bulk": GROUND | {"runtime", "networks", "telemetry", "formats", "pipeline", "results"},
}
"""What each package of `service` may import from the others."""


TRAINING_GROUND = {"experiment_files", "drawing", "contact_sheets"}
TRAINING_ROWS = (
    {"appearance", "data", "render", "skin", "trainer"},
    {"onnx", "photos"},
    {"recognition", "evaluation"},
    {"losses", "face_model"},
    {"cnet", "rnet", "synthetic"},
    {"identity_branch", "segmentation"},
    {"commands"},
)
"""Packages of `training`; each row may import the rows before it, and those of one row not
each other."""


def modules(place: str) -> list[Path]:
    found = sorted((ROOT / place).rglob("*.py"))
    assert found
    return found


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Full names of everything a module imports, wherever in it that is."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            # `from facewright.models import x_torch` brings torch along.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def libraries(path: Path) -> set[str]:
    """Packages that a module needs besides the project's own, torch also through `*_torch`."""
    needed = set()
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "facewright":
            needed.add(parts[0])
        elif any(part.endswith("_torch") for part in parts):
            needed.add("torch")
    return needed


def own(path: Path) -> set[str]:
    """Which of the project's three packages a module imports."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("facewright.")}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("service", {"training"}),
        ("models", {"service", "training"}),
        ("training", {"service"}),
    ],
)
def test_packages_import_downwards_only(package: str, forbidden: set[str]) -> None:
    for path in modules(package):
        assert not forbidden & own(path), path.relative_to(ROOT)


def test_models_need_torch_only_where_their_name_says_so() -> None:
    for path in modules("models"):
        if not path.stem.endswith("_torch"):
            assert "torch" not in libraries(path), path.relative_to(ROOT)


def test_serving_does_without_torch_and_scipy() -> None:
    """Only training has SciPy; no image does."""
    for path in (*modules("service"), *modules("models")):
        if not path.stem.endswith("_torch"):
            assert not {"torch", "scipy"} & libraries(path), path.relative_to(ROOT)


def test_service_has_a_room_for_everything() -> None:
    entries = {path.name.removesuffix(".py") for path in (ROOT / "service").iterdir()}
    assert entries - {"__pycache__"} == {*MAY_IMPORT, *GROUND, "__init__"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_of_the_service_import_downwards_only(room: str) -> None:
    for path in modules(f"service/{room}"):
        for name in imported(path):
            if name.startswith("facewright.service."):
                assert name.split(".")[2] in MAY_IMPORT[room] | {room}, path.relative_to(ROOT)


def test_the_ground_stands_on_nothing() -> None:
    for name in GROUND:
        path = ROOT / "service" / f"{name}.py"
        rooms = {n.split(".")[2] for n in imported(path) if n.startswith("facewright.service.")}
        assert rooms <= GROUND, path.relative_to(ROOT)


def test_training_has_a_room_for_everything() -> None:
    found = {path.name.removesuffix(".py") for path in (ROOT / "training").iterdir()}
    known = TRAINING_GROUND.union(*TRAINING_ROWS) | {"cli", "experiments", "__init__", "__main__"}
    assert found - {"__pycache__"} == known


@pytest.mark.parametrize("number", range(len(TRAINING_ROWS)))
def test_rooms_of_training_import_downwards_only(number: int) -> None:
    below = TRAINING_GROUND.union(*TRAINING_ROWS[:number])
    for room in TRAINING_ROWS[number]:
        for path in modules(f"training/{room}"):
            for name in imported(path):
                if name.startswith("facewright.training."):
                    assert name.split(".")[2] in below | {room}, path.relative_to(ROOT)


def test_the_ground_of_training_stands_on_nothing() -> None:
    for name in TRAINING_GROUND:
        for needed in imported(ROOT / "training" / f"{name}.py"):
            assert not needed.startswith("facewright.training."), name


@pytest.mark.parametrize("room", sorted(set().union(*TRAINING_ROWS) - {"commands", "face_model"}))
def test_only_commands_know_the_command_line(room: str) -> None:
    """The builder of the face model has its two commands beside it."""
    for path in modules(f"training/{room}"):
        assert "typer" not in libraries(path), path.relative_to(ROOT)


@pytest.mark.parametrize("room", [room for room in MAY_IMPORT if room != "api"])
def test_only_the_api_knows_http(room: str) -> None:
    for path in modules(f"service/{room}"):
        web = {"fastapi", "starlette", "uvicorn", "typer"}
        assert not web & libraries(path), path.relative_to(ROOT)


@pytest.mark.parametrize("room", [room for room in MAY_IMPORT if room != "bulk"])
def test_only_bulk_knows_ray_and_its_tables(room: str) -> None:
    for path in modules(f"service/{room}"):
        assert not {"ray", "pyarrow", "fsspec"} & libraries(path), path.relative_to(ROOT)


def test_ray_is_behind_one_module() -> None:
    """What a part is made of can be used and tested without it."""
    users = {path.name for path in modules("service") if "ray" in libraries(path)}
    assert users == {"cluster.py"}


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["facewright.service.api.app", "facewright.cli", "facewright.service.bench.run"]
)
def test_serving_never_loads_torch_or_training(module: str) -> None:
    assert not {"torch", "facewright.training"} & loaded_by(module)


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    assert not {"numpy", "cv2", "numba", "onnxruntime", "fastapi", "ray"} & loaded_by(
        "facewright.cli"
    )


def test_the_batcher_knows_no_event_loop() -> None:
    path = ROOT / "service" / "runtime" / "batching.py"
    assert "asyncio" not in libraries(path)


def test_versions_agree() -> None:
    assert f'\nversion = "{facewright.__version__}"\n' in (ROOT / "pyproject.toml").read_text()
