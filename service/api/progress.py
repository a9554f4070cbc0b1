"""Which stages the requests at work have begun: what a client may ask for while it waits.

Each server process knows its own requests only, and a request is forgotten with its answer.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from facewright.service.api.middleware import REQUEST_ID_HEADER
from facewright.service.telemetry.logging import request_id
from facewright.service.telemetry.stages import stage_span


class Progress:
    """The stages of the requests at work, by request id; thread safe."""

    def __init__(self) -> None:
        self._begun: dict[str, Counter[str]] = {}
        self._lock = threading.Lock()

    def of(self, identifier: str) -> Mapping[str, int]:
        """How often each stage has begun (an album begins them for every photo).

        Empty when no such request is at work.
        """
        with self._lock:
            return dict(self._begun.get(identifier, {}))

    @contextmanager
    def watch(self, identifier: str) -> Iterator[None]:
        """Count the stages that begin inside the `with` block, in its threads as well."""
        begun: Counter[str] = Counter()
        surround = stage_span.get()

        @contextmanager
        def count(name: str) -> Iterator[None]:
            with self._lock:
                begun[name] += 1
            with surround(name):
                yield

        with self._lock:
            self._begun[identifier] = begun
        token = stage_span.set(count)
        try:
            yield
        finally:
            stage_span.reset(token)
            with self._lock:
                if self._begun.get(identifier) is begun:  # another may have come by its name
                    del self._begun[identifier]


class ProgressMiddleware:
    """Watches the requests that clients have named, as nobody can ask for others."""

    def __init__(self, app: ASGIApp, progress: Progress) -> None:
        self._app = app
        self._progress = progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        named = scope["type"] == "http" and scope["method"] == "POST"
        if named and REQUEST_ID_HEADER in Headers(scope=scope):
            with self._progress.watch(request_id.get()):
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)
