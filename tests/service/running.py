"""The command line and the server, in this process and as programs of their own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from typer.testing import CliRunner

from facewright.cli import app
from facewright.service.api.app import create_app
from facewright.service.api.connections import guarded
from facewright.service.pipeline.engine import Engine
from facewright.service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
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


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Wait until something is true."""
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.02)


def metric(client: httpx.Client, series: str) -> float:
    """The value of a series of `/metrics`; 0 where there is none."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@dataclass
class Listening:
    """A server and how to reach it."""

    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **options)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@dataclass
class Local(Listening):
    """A server in this process, so that its engine can be spoiled."""

    engine: Engine


@contextmanager
def serving(settings: Settings) -> Iterator[Local]:
    """The server in a thread, on a free port, once it is ready."""
    engines: list[Engine] = []

    def load(told: Settings, observer: Any) -> Engine:
        engines.append(Engine(told, observer))
        return engines[0]

    application = create_app(settings, load)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            application,
            log_config=None,
            lifespan="on",
            http=guarded(settings),  # type: ignore[arg-type]
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            until(lambda: server.started and httpx.get(url + "/readyz").status_code == 200, 90)
            yield Local(url, engines[0])
        finally:
            server.should_exit = True
            thread.join(30)
