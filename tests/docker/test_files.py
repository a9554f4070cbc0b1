"""The image's recipe and the compose file, as far as they can be held to the code unbuilt."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from facewright import __version__
from facewright.service.api.app import create_app
from facewright.service.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = (ROOT / "Dockerfile", DOCKER / "Dockerfile.gpu")
BULK = DOCKER / "Dockerfile.bulk"
"""Built on the image of the service."""
PINNED = re.compile(r"[\w.-]+(/[\w.-]+)+:[\w.-]+@sha256:[0-9a-f]{64}")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    services = load(DOCKER / "compose.yaml")["services"]
    assert isinstance(services, dict)
    return services


def environment(dockerfile: str) -> dict[str, str]:
    """What ENV sets."""
    return dict(re.findall(r"^(?:ENV|   ) ([A-Z][A-Z_]*)=(\S+)", dockerfile, re.MULTILINE))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_hold_what_the_service_expects(path: Path) -> None:
    dockerfile = path.read_text("utf-8")
    (base,) = re.findall(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    assert PINNED.fullmatch(base)
    assert f"ARG VERSION={__version__}\n" in dockerfile
    variables = {k: v for k, v in environment(dockerfile).items() if k.startswith(ENV_PREFIX)}
    settings = Settings(**{k.removeprefix(ENV_PREFIX).lower(): v for k, v in variables.items()})  # type: ignore[arg-type]
    assert settings.host == "0.0.0.0"
    assert f"EXPOSE {settings.port}\n" in dockerfile
    (probe,) = re.findall(r"'(/\w+)', timeout=2", dockerfile)
    assert probe in create_app(Settings()).openapi()["paths"]
    # The signal reaches the service: no shell in between.
    assert 'ENTRYPOINT ["/usr/bin/tini", "--", "facewright"]\nCMD ["serve"]\n' in dockerfile


def test_the_two_images_differ_where_they_must_only() -> None:
    cpu, gpu = (environment(path.read_text("utf-8")) for path in DOCKERFILES)
    assert gpu.pop("FACEWRIGHT_DEVICE") == "cuda"
    assert {k: v for k, v in gpu.items() if not k.startswith("NVIDIA_")} == cpu


def test_the_gpu_lock_is_the_other_lock_with_another_runtime() -> None:
    cpu, gpu = (
        set((ROOT / "requirements" / name).read_text("utf-8").splitlines())
        for name in ("serve.txt", "serve-gpu.txt")
    )
    assert all(line.startswith("onnxruntime==") for line in cpu - gpu)
    assert all(line.startswith("onnxruntime-gpu==") for line in gpu - cpu)
    assert not any(line.startswith("torch") for line in cpu | gpu)


def test_the_bulk_image_is_the_service_with_more_packages() -> None:
    dockerfile = BULK.read_text("utf-8")
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${BASE}"}
    assert environment(dockerfile)["RAY_USAGE_STATS_ENABLED"] == "0"
    packages = [
        dict(line.split("==", 1) for line in lines if not line.startswith("#"))
        for lines in (
            (ROOT / "requirements" / name).read_text("utf-8").splitlines()
            for name in ("serve.txt", "bulk.txt")
        )
    ]
    assert packages[0].keys() <= packages[1].keys()


def test_what_the_recipes_copy_is_not_ignored() -> None:
    kept = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for path in (*DOCKERFILES, BULK)
        for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text("utf-8"), re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


def test_compose_fits_its_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    run = subprocess.run(
        [*command, str(DOCKER / "compose.yaml")], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_compose_names_pinned_images_and_files_that_exist(compose: dict[str, Any]) -> None:
    for name in ("prometheus", "grafana"):
        assert PINNED.fullmatch(compose[name]["image"])
        for volume in compose[name]["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (DOCKER / source).is_dir()
    assert compose["facewright"]["image"] == f"facewright:{__version__}"
    assert (DOCKER / compose["facewright"]["build"]["context"] / "Dockerfile").is_file()


def test_compose_lets_the_service_finish(
    compose: dict[str, Any], longest_shutdown: Callable[[Mapping[str, str]], float]
) -> None:
    grace = int(compose["facewright"]["stop_grace_period"].removesuffix("s"))
    assert grace >= longest_shutdown(compose["facewright"]["environment"]) + 5


def test_prometheus_scrapes_the_service_and_grafana_asks_prometheus(
    compose: dict[str, Any],
) -> None:
    (scrape,) = load(DOCKER / "prometheus" / "prometheus.yml")["scrape_configs"]
    assert scrape["metrics_path"] in create_app(Settings()).openapi()["paths"]
    assert scrape["static_configs"] == [{"targets": [f"facewright:{Settings().port}"]}]
    assert compose["facewright"]["ports"] == [f"8000:{Settings().port}"]
    provisioning = DOCKER / "grafana" / "provisioning"
    (source,) = load(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = load(provisioning / "dashboards" / "facewright.yaml")["providers"]
    mounts = dict(volume.split(":")[:2][::-1] for volume in compose["grafana"]["volumes"])
    assert (DOCKER / mounts[provider["options"]["path"]]).is_dir()
