"""A server of the settings at hand in a process of its own, and what can be seen of it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from facewright.service.errors import ModelError
from facewright.service.settings import ENV_PREFIX

_PATIENCE = 180.0
_BUCKET = re.compile(r'facewright_batch_size_bucket\{le="([^"]+)",stage="([^"]+)"\} (\S+)')


class BenchServer:
    """A running server process."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self._pid = pid

    def cpu_seconds(self) -> float:
        """Processor time that it has used, all threads together (Linux)."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Memory that it holds (Linux)."""
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def batches(self) -> dict[str, dict[str, int]]:
        """For each network: how many batches there were up to each size."""
        found: dict[str, dict[str, int]] = {}
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            for size, stage, count in _BUCKET.findall(answer.read().decode()):
                found.setdefault(stage, {})[size] = int(float(count))
        return found


def bench_server() -> AbstractContextManager[BenchServer]:
    """Run a server until the `with` block ends.  Raises `ModelError` when it does not start."""
    return _running(lambda port: ["facewright", "serve", "--port", str(port)])


def bare_server(answer_bytes: int) -> AbstractContextManager[BenchServer]:
    """The same of `facewright.service.api.bare`."""
    module = "facewright.service.api.bare"
    return _running(lambda port: [module, str(port), str(answer_bytes)])


@contextmanager
def _running(module: Callable[[int], list[str]]) -> Iterator[BenchServer]:
    """A server of a module and its arguments, given the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, f"{ENV_PREFIX}DRAIN_SECONDS": "0", f"{ENV_PREFIX}WORKERS": "1"}
    environment[f"{ENV_PREFIX}LOG_LEVEL"] = "warning"
    process = subprocess.Popen([sys.executable, "-m", *module(port)], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        patience = time.monotonic() + _PATIENCE
        while not _ready(url):
            if process.poll() is not None or time.monotonic() > patience:
                raise ModelError("the server did not start")
            time.sleep(0.1)
        yield BenchServer(url, process.pid)
    finally:
        process.terminate()
        process.wait()


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
