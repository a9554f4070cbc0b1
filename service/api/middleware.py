"""What surrounds every request: its id, its log entry, its metrics, and the last resort."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facewright.service.api.lifecycle import Lifecycle, State
from facewright.service.api.problems import internal_error_response
from facewright.service.telemetry.logging import choose_request_id, request_id
from facewright.service.telemetry.metrics import Metrics

REQUEST_ID_HEADER = "X-Request-ID"

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""On every answer that does not set them itself."""

_VIEWER = "/docs"
DESCRIPTIONS = frozenset({_VIEWER, "/openapi.json"})
"""What FastAPI serves without a route of its own."""
_VIEWER_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The viewer of the API's description comes with scripts and styles of its own."""

log = logging.getLogger("facewright.access")

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
PROGRESS = "/v1/progress/{identifier}"
"""What the page asks for several times a second while it waits."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMiddleware:
    """Gives requests an id, answers unforeseen exceptions, logs and counts.

    While the server drains, every answer asks the client to close its connection: one that is
    kept would lead the next request to a server that is gone.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, lifecycle: Lifecycle) -> None:
        self._app = app
        self._metrics = metrics
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = choose_request_id(Headers(scope=scope).get(REQUEST_ID_HEADER))
        token = request_id.set(identifier)
        scope.setdefault("state", {})["log"] = {}
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = identifier
                if scope["path"] == _VIEWER:
                    headers["Content-Security-Policy"] = _VIEWER_POLICY
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if self._lifecycle.state is State.DRAINING:
                    headers["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            log.exception("unexpected error", extra={"path": _route(scope)})
            if status:  # too late for another answer: the server will cut the connection
                raise
            await internal_error_response(scope["path"])(scope, receive, send_with_headers)
        finally:
            self._finish(scope, status, time.perf_counter() - started)
            request_id.reset(token)

    def _finish(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.request_seconds.labels(route, str(status)).observe(seconds)
        fields = {
            "method": method,
            "path": route,
            "status": status,
            "ms": round(1000 * seconds, 1),
            **scope["state"]["log"],
        }
        level = logging.DEBUG if route in PROBES or route == PROGRESS else logging.INFO
        log.log(level, "request", extra=fields)


class HeadMiddleware:
    """Answers HEAD as GET without its body, wherever GET is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        got = {**scope, "method": "GET"}
        try:
            await self._app(got, receive, send_head)
        finally:
            if "route" in got:  # for what counts and logs further out
                scope["route"] = got["route"]


def _route(scope: Scope) -> str:
    """The path as the API names it.

    Unknown ones share one name: anybody could make any number of series, and `curl -T` puts the
    name of a file into the path.
    """
    path: str = scope["path"]
    route: str | None = getattr(scope.get("route"), "path", None)
    return route or (path if path in DESCRIPTIONS else "unmatched")
