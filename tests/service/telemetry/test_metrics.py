"""The numbers of several server processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from facewright.service.telemetry.metrics import forget_ended_processes


def test_only_the_present_of_ended_processes_is_forgotten(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = {
        f"{kind}_{pid}.db"
        for kind in ("gauge_livesum", "counter", "histogram")
        for pid in (ended.pid, os.getpid())
    }
    for name in names:
        (tmp_path / name).touch()
    forget_ended_processes(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert names - left == {f"gauge_livesum_{ended.pid}.db"}
