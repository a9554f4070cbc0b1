"""Errors as answers: RFC 9457 problem details for everything that can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from facewright.service import errors
from facewright.service.telemetry.logging import request_id

PROBLEM_JSON = "application/problem+json"

CLIENT_CLOSED_REQUEST = 499
"""The client went away before its answer (a status of the logs only, after nginx)."""

_HTTP_CODES = {404: ("not_found", "Not found"), 405: ("method_not_allowed", "Method not allowed")}


class FieldProblem(BaseModel):
    """What is wrong with one parameter."""

    parameter: str = Field(description="Name of the parameter.", examples=["faces"])
    message: str = Field(
        description="What is wrong with it.", examples=["must be one of all, largest"]
    )


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable and made for programs, `detail` for people."""

    type: str = Field(
        description="URI of the kind of problem; ends with `code`.",
        examples=["urn:facewright:problem:no_face_found"],
    )
    title: str = Field(description="The kind of problem in words.", examples=["No face found"])
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str = Field(
        description="What happened this time.",
        examples=["No face was found in the photo, in any orientation."],
    )
    instance: str = Field(description="Path of the call that failed.", examples=["/v1/reconstruct"])
    code: str = Field(description="Stable name of the problem.", examples=["no_face_found"])
    request_id: str = Field(
        description="Id of this request, as in the header X-Request-ID and in the logs.",
        examples=["5f0c2d6e4a6b4b0c9b6b6d7f8c1e2a3b"],
    )
    errors: list[FieldProblem] | None = Field(
        default=None, description="With `invalid_parameter`: the parameters that are wrong."
    )


def problem_response(
    path: str,
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    fields: list[FieldProblem] | None = None,
) -> Response:
    """The answer that tells about one problem, with the id of the current request."""
    problem = Problem(
        type=f"urn:facewright:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        instance=path,
        code=code,
        request_id=request_id.get(),
        errors=fields,
    )
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=status,
        headers={**(headers or {}), "Cache-Control": "no-store"},
        media_type=PROBLEM_JSON,
    )


def error_response(path: str, error: errors.FacewrightError) -> Response:
    """The answer to one of the service's own errors."""
    headers = {}
    if isinstance(error, errors.Unavailable) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = "ApiKey"
    fields = None
    if isinstance(error, errors.InvalidParameter) and error.fields:
        fields = [FieldProblem(parameter=name, message=text) for name, text in error.fields]
    return problem_response(
        path,
        error.status,
        error.code,
        error.title,
        error.detail,
        headers=headers,
        fields=fields,
    )


def internal_error_response(path: str) -> Response:
    """The answer to an exception that nobody foresaw: the log has the rest."""
    detail = "An unexpected error; the server's log has an entry with this request id."
    return error_response(path, errors.FacewrightError(detail))


def install_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer its errors and those of the framework with problem details."""

    async def on_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.FacewrightError)
        return error_response(request.url.path, error)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, title = _HTTP_CODES.get(error.status_code, ("http_error", "HTTP error"))
        headers = dict(error.headers or {})
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"
        return problem_response(
            request.url.path, error.status_code, code, title, error.detail, headers=headers
        )

    async def on_disconnect(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)  # for the log: nobody reads it

    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(errors.FacewrightError, on_error)
    app.add_exception_handler(HTTPException, on_http_error)


def problem_responses(
    *kinds: tuple[type[errors.FacewrightError], str], instance: str = "/v1/reconstruct"
) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for the errors a call at `instance` can give, with example details."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind, detail in kinds:
        response = responses.setdefault(
            kind.status,
            {
                "description": "",
                "content": {
                    PROBLEM_JSON: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        if kind.status in (errors.QueueFull.status, errors.NotReady.status):
            response["headers"] = {
                "Retry-After": {
                    "description": "Seconds to wait before the next try.",
                    "schema": {"type": "integer", "minimum": 1},
                }
            }
        response["description"] = " / ".join(
            filter(None, [response["description"], f"{kind.title} (`{kind.code}`)"])
        )
        response["content"][PROBLEM_JSON]["examples"][kind.code] = {
            "value": {
                "type": f"urn:facewright:problem:{kind.code}",
                "title": kind.title,
                "status": kind.status,
                "detail": detail,
                "instance": instance,
                "code": kind.code,
                "request_id": "5f0c2d6e4a6b4b0c9b6b6d7f8c1e2a3b",
            }
        }
    return responses


def add_problem_schema(app: FastAPI) -> None:
    """Add the schema that `problem_responses` refers to; call it after adding the routes."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            parts = problem.pop("$defs", {})
            schema["components"]["schemas"].update(parts, Problem=problem)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
