"""The span around a request."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facewright.service.api.middleware import METHODS, PROBES, PROGRESS
from facewright.service.telemetry.logging import request_id
from facewright.service.telemetry.stages import stage_span
from facewright.service.telemetry.tracing import Tracing


class TracingMiddleware:
    """A span for every request but probes and the page's questions; a caller's trace goes on."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http" or scope["path"] in PROBES or _of_progress(scope["path"]):
            await self._app(scope, receive, send)
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, StatusCode

        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        status = 500  # what an exception becomes further out

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracing.span(
            method,
            context=extract(Headers(scope=scope)),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.scheme": scope["scheme"],
                "facewright.request_id": request_id.get(),
            },
        ) as span:
            entry = scope["state"]["log"]
            entry["trace_id"] = f"{span.get_span_context().trace_id:032x}"
            token = stage_span.set(self._tracing.span)
            try:
                await self._app(scope, receive, watch)
            except Exception as error:
                span.set_attribute("error.type", type(error).__name__)
                raise
            finally:
                stage_span.reset(token)
                if (route := getattr(scope.get("route"), "path", None)) is not None:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", status)
                for name, value in entry.items():
                    if isinstance(value, int):
                        span.set_attribute(f"facewright.{name}", value)
                if status >= 500:
                    span.set_status(StatusCode.ERROR)


def _of_progress(path: str) -> bool:
    return path.startswith(PROGRESS.partition("{")[0])
