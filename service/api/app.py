"""The HTTP application: settings in, a FastAPI application out."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Security
from fastapi.security import APIKeyHeader
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from facewright import __version__
from facewright.service.api.keys import API_KEY_HEADER, ApiKeyMiddleware, ApiKeys
from facewright.service.api.lifecycle import Lifecycle, drain_before_exit
from facewright.service.api.middleware import (
    REQUEST_ID_HEADER,
    HeadMiddleware,
    RequestMiddleware,
)
from facewright.service.api.problems import add_problem_schema, install_problem_handlers
from facewright.service.api.progress import Progress, ProgressMiddleware
from facewright.service.api.routes import albums, models, page, probes, reconstruct
from facewright.service.api.state import State
from facewright.service.api.tracing import TracingMiddleware
from facewright.service.errors import ConfigurationError
from facewright.service.pipeline.engine import Engine
from facewright.service.runtime.admission import Slots, WorkerPool
from facewright.service.runtime.batch_events import BatchObserver
from facewright.service.settings import Settings
from facewright.service.telemetry.metrics import Metrics
from facewright.service.telemetry.tracing import Tracing, tracing_from

log = logging.getLogger(__name__)

_DESCRIPTION = """\
A photo of a face in, a 3D mesh out; photos of one person in, one identity out. Errors are
problem details (RFC 9457) with a stable `code`; every answer carries `X-Request-ID`, the
client's own if it sent one.
"""

LoadEngine = Callable[[Settings, BatchObserver], Engine]


def log_ready(host: str, port: int) -> None:
    """Tell whoever started the server where it is, now that it can be used."""
    name = f"[{host}]" if ":" in host else host
    log.info("ready: http://%s:%d", name, port)


def _origins(text: str) -> list[str]:
    """The origins in a list; raises `ConfigurationError` for what no browser would send."""
    origins = [origin.strip() for origin in text.split(",")]
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
            raise ConfigurationError(
                f"cors_origins: {origin!r} is no origin such as https://example.org"
            )
    return origins


def create_app(
    settings: Settings | None = None,
    load: LoadEngine = Engine,
    on_failure: Callable[[], None] = lambda: None,
    on_ready: Callable[[], None] | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """Make the application.

    Args:
        settings: from the environment when left out.
        load: makes the engine, in a thread, once the application starts.
        on_failure: called when the engine cannot be made.
        on_ready: called once requests are welcome; without it the log tells the address.
        tracing: from the environment when left out.

    Raises `ConfigurationError` when the file of API keys or an origin is unusable, and as
    `tracing_from`.
    """
    settings = settings or Settings()
    tracing = tracing or tracing_from(os.environ)
    metrics = Metrics()
    lifecycle = Lifecycle(
        lambda: load(settings, metrics),
        metrics,
        settings.stall_seconds,
        on_ready or (lambda: log_ready(settings.host, settings.port)),
        on_failure,
    )
    uploads = Slots(settings.max_uploads, "Too many photos are arriving.", metrics.uploads.set)
    photos = WorkerPool(settings.concurrency, settings.max_waiting, metrics.in_flight.set)
    album_pool = WorkerPool(settings.max_albums, 0, metrics.albums.set, of="albums")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        changed = {name: str(getattr(settings, name)) for name in settings.model_fields_set}
        log.info("starting", extra={"version": __version__, "settings": changed})
        restore_signal = drain_before_exit(lifecycle, settings.drain_seconds)
        loading = asyncio.create_task(lifecycle.start())
        yield
        restore_signal()
        lifecycle.drain()
        await loading
        await asyncio.to_thread(album_pool.close)  # albums put their photos into the other
        await asyncio.to_thread(photos.close)
        await asyncio.to_thread(lifecycle.close)
        if tracing is not None:
            await asyncio.to_thread(tracing.close)
        log.info("stopped")

    # FastAPI with the viewer of `/docs` from a package: its own loads it from a CDN.
    app = FastAPIOffline(
        title="facewright",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        static_url="/docs/static",
        # A redirect would name this server's own scheme: behind a proxy that ends TLS, clients
        # would send the photo again in the clear.
        redirect_slashes=False,
        # The framework's own would send paths, queries and exceptions' messages out.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    progress = Progress()
    app.state.server = State(settings, metrics, lifecycle, uploads, photos, album_pool, progress)
    app.add_middleware(ProgressMiddleware, progress=progress)
    app.add_middleware(HeadMiddleware)
    described = []
    if settings.api_keys_file is not None:
        app.add_middleware(ApiKeyMiddleware, keys=ApiKeys(settings.api_keys_file))
        # The middleware checks; this only tells those who read the OpenAPI document.
        described = [Security(APIKeyHeader(name=API_KEY_HEADER, auto_error=False))]
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=_origins(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=[API_KEY_HEADER, REQUEST_ID_HEADER],
            expose_headers=[
                reconstruct.FACE_COUNT_HEADER,
                albums.PHOTO_COUNT_HEADER,
                REQUEST_ID_HEADER,
                "Server-Timing",
                "Retry-After",
            ],
        )
    if tracing is not None:
        app.add_middleware(TracingMiddleware, tracing=tracing)
    app.add_middleware(RequestMiddleware, metrics=metrics, lifecycle=lifecycle)
    install_problem_handlers(app)
    for module in (reconstruct, albums, models):
        app.include_router(module.router, dependencies=described)
    for module in (probes, page):
        app.include_router(module.router)
    add_problem_schema(app)
    return app
