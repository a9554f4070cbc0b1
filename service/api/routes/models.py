"""`GET /v1/models`: what is loaded."""

from __future__ import annotations

from fastapi import APIRouter, Request

from facewright import __version__
from facewright.service.api.lifecycle import Lifecycle
from facewright.service.api.problems import problem_responses
from facewright.service.errors import FacewrightError, NotReady, Unauthorized
from facewright.service.results.answers import describe_models
from facewright.service.results.schemas import ModelsResult

router = APIRouter(prefix="/v1", tags=["reconstruction"])


@router.get(
    "/models",
    summary="What is loaded",
    responses=problem_responses(
        (Unauthorized, "Send a valid key in the header X-API-Key."),
        (FacewrightError, "An unexpected error; the server's log has an entry."),
        (NotReady, "The models are being loaded."),
        instance="/v1/models",
    ),
)
async def models(request: Request) -> ModelsResult:
    """Names, versions, licences, checksums and topology of the loaded models."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    return describe_models(lifecycle.engine, __version__)
