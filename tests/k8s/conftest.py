"""The manifests as files, as settings, and as kustomize puts them together."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"

Manifest = dict[str, Any]


def load(path: Path) -> list[Manifest]:
    """All manifests of a file."""
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


@pytest.fixture(scope="session")
def base() -> dict[str, Manifest]:
    """The manifests of the base, by kind."""
    files = [path for path in (K8S / "base").glob("*.yaml") if path.name != "kustomization.yaml"]
    return {document["kind"]: document for path in files for document in load(path)}


@pytest.fixture(scope="session")
def pod(base: dict[str, Manifest]) -> Manifest:
    """The Deployment's pod specification."""
    specification: Manifest = base["Deployment"]["spec"]["template"]["spec"]
    return specification


@pytest.fixture(scope="session")
def container(pod: Manifest) -> Manifest:
    """The one container."""
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """The variables that an overlay, with components if any, sets."""

    def collect(overlay: str, *components: str) -> dict[str, str]:
        # The last one of a name counts.
        places = [K8S / "components" / name for name in components]
        return dict(
            pair for place in (K8S / "overlays" / overlay, *places) for pair in _pairs(place)
        )

    return collect


def _pairs(place: Path) -> Iterator[tuple[str, str]]:
    """What a kustomization generates: what it stands on first."""
    (kustomization,) = load(place / "kustomization.yaml")
    for resource in kustomization.get("resources", []):
        if (place / resource).is_dir():
            yield from _pairs(place / resource)
    for generator in kustomization.get("configMapGenerator", []):
        assert generator["name"] == "facewright"
        lines = list(generator.get("literals", []))
        for file in generator.get("envs", []):
            lines += (place / file).read_text("utf-8").splitlines()
        for line in lines:
            name, _, value = line.partition("=")
            yield name, value


@pytest.fixture(scope="session")
def patches() -> Callable[[Path], dict[str, Any]]:
    """What the kustomization of a directory adds to the Deployment: value by path."""

    def collect(directory: Path) -> dict[str, Any]:
        (kustomization,) = load(directory / "kustomization.yaml")
        operations = [
            operation
            for patch in kustomization["patches"]
            if patch["target"] == {"kind": "Deployment", "name": "facewright"}
            for operation in yaml.safe_load(patch["patch"])
        ]
        assert {operation["op"] for operation in operations} == {"add"}
        return {operation["path"]: operation["value"] for operation in operations}

    return collect


@pytest.fixture(scope="session")
def kustomize(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Manifest]]:
    """Build an overlay, with components if any, as `kubectl apply -k` does.

    Left out where there is neither kubectl nor kustomize, but not on GitHub, which has both.
    """
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build"]
    else:
        missing = pytest.fail if os.environ.get("GITHUB_ACTIONS") else pytest.skip
        missing("needs kubectl or kustomize")

    def build(overlay: str, *components: str) -> list[Manifest]:
        directory = tmp_path_factory.mktemp("kustomize").resolve()
        (directory / "kustomization.yaml").write_text(
            yaml.safe_dump(
                {
                    "resources": [os.path.relpath(K8S / "overlays" / overlay, directory)],
                    "components": [
                        os.path.relpath(K8S / "components" / name, directory) for name in components
                    ],
                }
            )
        )
        run = subprocess.run(
            [*command, str(directory)], capture_output=True, text=True, timeout=120
        )
        assert run.returncode == 0, run.stderr
        return [document for document in yaml.safe_load_all(run.stdout) if document]

    return build
