"""`GET /v1/models`: what is loaded."""

from __future__ import annotations

from fastapi import APIRouter

from facewright import __version__
from facewright.service.api.problems import problem_responses
from facewright.service.api.state import Server
from facewright.service.errors import FacewrightError, NotReady, Unauthorized
from facewright.service.results.descriptions import describe_models
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
async def models(server: Server) -> ModelsResult:
    """Names, versions, licenses, checksums and topology of the loaded models."""
    return describe_models(server.lifecycle.engine, __version__)
