"""The command line, in this process and as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from facewright.cli import app

ROOT = Path(__file__).parents[3]
Done = subprocess.CompletedProcess[str]


def run(*arguments: object, **environment: str) -> Done:
    """Run `facewright ...` here, where everything is imported; what it does not catch is raised."""
    result = CliRunner().invoke(
        app, list(map(str, arguments)), env={"COLUMNS": "200", **environment},
        catch_exceptions=False,
    )  # fmt: skip
    return Done(arguments, result.exit_code, result.stdout, result.stderr)


def run_program(*arguments: object, **environment: str) -> Done:
    """Run `facewright ...` as a user does, which takes seconds."""
    return subprocess.run(
        [sys.executable, "-m", "facewright", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
