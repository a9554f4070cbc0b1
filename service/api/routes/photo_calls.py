"""What the calls that take photos have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from facewright.service.api.parameters import body_properties, query_parameters
from facewright.service.api.upload import FORM, PHOTO_TYPES
from facewright.service.formats.media_types import JPEG, JSON, PNG
from facewright.service.results.writer import FORMS, Answer
from facewright.service.telemetry.stages import StageClock

Result = TypeVar("Result")

BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
BASE64: dict[str, Any] = {"type": "string", "format": "byte", "contentEncoding": "base64"}


def request_body(
    options: type[BaseModel],
    part: str,
    in_form: dict[str, Any],
    in_json: dict[str, Any],
    title: str,
    raw_types: Sequence[str] = (),
) -> dict[str, Any]:
    """OpenAPI's `parameters` and `requestBody` for photos and options.

    Args:
        options: what stands in the query, in the form or in the JSON.
        part: name of the photos in the form and in the JSON.
        in_form: their schema in the form.
        in_json: their schema in the JSON.
        title: of the JSON's schema.
        raw_types: media types of bodies that are nothing but a photo.
    """

    def holding(photos: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": [part],
            "additionalProperties": False,
            "properties": {part: photos, **body_properties(options)},
        }

    encoding = {part: {"contentType": ", ".join(PHOTO_TYPES)}}
    content: dict[str, Any] = {
        FORM: {"schema": holding(in_form), "encoding": encoding},
        JSON: {"schema": {"title": title, **holding(in_json)}},
        **{media_type: {"schema": BINARY} for media_type in raw_types},
    }
    return {
        "parameters": query_parameters(options),
        "requestBody": {"required": True, "content": content},
    }


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
            "content": {form: {"schema": BINARY} for form in FORMS if form != JSON},
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
