"""The command line, in this process and as a program of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from facewright.cli import app

ROOT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]


def run(*arguments: object, **environment: str) -> Done:
    """Run `facewright ...` here, where everything is imported; what it does not catch is raised."""
    result = CliRunner().invoke(
        app, list(map(str, arguments)), env={"COLUMNS": "200", **environment},
        catch_exceptions=False,
    )  # fmt: skip
    return Done(arguments, result.exit_code, result.stdout, result.stderr)


def start_program(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start `facewright ...` as a user does, which takes seconds."""
    return subprocess.Popen(
        [sys.executable, "-m", "facewright", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs deaf to Ctrl-C, and so their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run_program(*arguments: object, **environment: str) -> Done:
    """Run `facewright ...` as a user does, to its end."""
    with start_program(*arguments, **environment) as process:
        try:
            out, told = process.communicate(timeout=240)
        finally:
            process.kill()
    return Done(arguments, process.returncode, out, told)
