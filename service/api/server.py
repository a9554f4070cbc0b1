"""Running the application with uvicorn."""

from __future__ import annotations

import errno
import math
import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from facewright.service.api.app import create_app, log_ready
from facewright.service.api.connections import guarded
from facewright.service.errors import ConfigurationError
from facewright.service.settings import Settings
from facewright.service.telemetry.logging import logging_config
from facewright.service.telemetry.metrics import MULTIPROCESS_VARIABLE

MODELS_UNUSABLE = 3
"""Exit code when the models cannot be loaded: the same as uvicorn's for a failed start."""


def run_server(overrides: Mapping[str, Any]) -> int:
    """Serve until a signal ends it; `overrides` are settings that precede the environment.

    Returns the exit code.  Raises `pydantic.ValidationError` for settings out of range,
    `ConfigurationError` for files that they name and an address that cannot be listened on.
    """
    settings = Settings(**overrides)
    _check_address(settings.host, settings.port)
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "log_config": logging_config(settings.log_level, settings.log_format),
        "log_level": settings.log_level,
        "access_log": False,  # the application logs requests itself, with their ids
        "server_header": False,
        "lifespan": "on",
        "http": guarded(settings),
        "ws": "none",
        "timeout_keep_alive": settings.keep_alive_timeout,
        # Whatever was accepted can still be uploaded and answered.
        "timeout_graceful_shutdown": math.ceil(settings.longest_request),
    }
    if settings.workers == 1:
        return _run_alone(settings, options)
    with tempfile.TemporaryDirectory(prefix="facewright-") as directory:
        os.environ[MULTIPROCESS_VARIABLE] = directory
        uvicorn.run(
            "facewright.service.api.app:create_app",
            factory=True,
            workers=settings.workers,
            **options,
        )
    return 0


def _check_address(host: str, port: int) -> None:
    """Raise `ConfigurationError` if the port is taken or not ours: uvicorn would load all first."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in places:
            with socket.create_server(address, family=family):
                pass
    except OSError as error:
        # Of a host with several addresses uvicorn leaves those out that the machine lacks.
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            named = isinstance(error, socket.gaierror)
            reason = error.strerror if named else os.strerror(error.errno or 0)
            raise ConfigurationError(f"cannot listen on {host}:{port}: {reason}") from error


class _Server(uvicorn.Server):
    """uvicorn's server, which knows the port that it was given."""

    port = 0
    _announce: Callable[[], None] | None = None

    def once_bound(self, announce: Callable[[], None]) -> None:
        """Call `announce` when connections are taken: now or soon."""
        if self.started:
            announce()
        else:
            self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the socket."""
        await super().startup(sockets)
        if self.started:
            self.port = self.servers[0].sockets[0].getsockname()[1]
            if self._announce is not None:
                self._announce()


def _run_alone(settings: Settings, options: dict[str, Any]) -> int:
    """Serve in this process, which ends when the models cannot be loaded.

    With several processes that is left to whoever watches the probes: the processes' parent
    would start them again and again.
    """
    failed = False

    def leave() -> None:
        nonlocal failed
        failed = server.should_exit = True

    def announce() -> None:
        log_ready(settings.host, server.port)

    app = create_app(settings, on_failure=leave, on_ready=lambda: server.once_bound(announce))
    server = _Server(uvicorn.Config(app, **options))
    server.run()
    return MODELS_UNUSABLE if failed or not server.started else 0
