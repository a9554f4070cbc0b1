"""Running the application with uvicorn."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import uvicorn

from facewright.service.api.app import create_app
from facewright.service.api.connections import guarded
from facewright.service.settings import Settings
from facewright.service.telemetry.logging import logging_config
from facewright.service.telemetry.metrics import MULTIPROCESS_VARIABLE

MODELS_UNUSABLE = 3
"""Exit code when the models cannot be loaded: the same as uvicorn's for a failed start."""


def run_server(overrides: Mapping[str, Any]) -> int:
    """Serve until a signal ends it; `overrides` are settings that precede the environment.

    Returns the exit code.  Raises `pydantic.ValidationError` for settings out of range,
    `ConfigurationError` for files that they name.
    """
    settings = Settings(**overrides)
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


def _run_alone(settings: Settings, options: dict[str, Any]) -> int:
    """Serve in this process, which ends when the models cannot be loaded.

    With several processes that is left to whoever watches the probes: the processes' parent
    would start them again and again.
    """
    failed = False

    def leave() -> None:
        nonlocal failed
        failed = server.should_exit = True

    app = create_app(settings, on_failure=leave)
    server = uvicorn.Server(uvicorn.Config(app, **options))
    server.run()
    return MODELS_UNUSABLE if failed or not server.started else 0
