"""Running the application with uvicorn."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import uvicorn

from service.logging import logging_config
from service.metrics import MULTIPROCESS_VARIABLE
from service.settings import Settings


def run_server(overrides: Mapping[str, Any]) -> int:
    """Serve until a signal ends it; `overrides` are settings that precede the environment.

    Raises `pydantic.ValidationError` for settings out of range.
    """
    settings = Settings(**overrides)
    with contextlib.ExitStack() as stack:
        if settings.workers > 1:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="facewright-"))
            os.environ[MULTIPROCESS_VARIABLE] = directory
        uvicorn.run(
            "service.app:create_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            log_config=logging_config(settings.log_level, settings.log_format),
            log_level=settings.log_level,
            access_log=False,  # the application logs requests itself, with their ids
            server_header=False,
            lifespan="on",
            # Whatever was accepted can still be uploaded and answered.
            timeout_graceful_shutdown=math.ceil(settings.longest_request),
        )
    return 0
