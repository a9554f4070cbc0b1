"""What the calls that take photos have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from facewright.service.formats.media_types import GLB, JPEG, JSON, OBJ, PLY, PNG, STL, ZIP
from facewright.service.results.answers import Answer
from facewright.service.telemetry.stages import StageClock

Result = TypeVar("Result")

BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
BASE64: dict[str, Any] = {"type": "string", "format": "byte", "contentEncoding": "base64"}


def success(description: str, counter: str, counted: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for an answer in any form, with a header `counter`."""
    return {
        200: {
            "description": description,
            "headers": {
                counter: {"description": counted, "schema": {"type": "integer", "minimum": 1}},
                "Server-Timing": {
                    "description": "Milliseconds per stage.",
                    "schema": {"type": "string"},
                },
            },
            "content": {
                media_type: {"schema": BINARY}
                for media_type in (GLB, OBJ, PLY, STL, JPEG, PNG, ZIP)
            },
        }
    }


def respond(answer: Answer, clock: StageClock, headers: Mapping[str, str]) -> Response:
    """Send a finished answer."""
    shown = "inline" if answer.media_type in (JSON, JPEG, PNG) else "attachment"
    return Response(
        answer.body,
        media_type=answer.media_type,
        headers={
            **headers,
            "Server-Timing": clock.server_timing(),
            "Content-Disposition": f'{shown}; filename="{answer.filename}"',
            "Cache-Control": "no-store",
            "Vary": "Accept",
        },
    )


def stages_ms(clock: StageClock) -> dict[str, float]:
    """Milliseconds per stage, for the log."""
    return {name: round(1000 * seconds, 1) for name, seconds in clock.seconds.items()}


async def unless_disconnected(request: Request, work: Awaitable[Result]) -> Result:
    """Await `work`, but give it up when the client goes away (then raise ClientDisconnect)."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, watching):
            if not task.done():
                task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    """Return when the client has closed the connection; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
