"""`GET /livez`, `GET /readyz`, `GET /metrics`: for orchestrators and monitoring."""

from __future__ import annotations

from fastapi import APIRouter, Response

from facewright.service.api.problems import problem_responses
from facewright.service.api.state import Server
from facewright.service.errors import NotReady
from facewright.service.results.schemas import Health
from facewright.service.telemetry.metrics import CONTENT_TYPE

router = APIRouter(tags=["operation"])


@router.get(
    "/livez",
    summary="Is the process of use?",
    responses=problem_responses((NotReady, "The models cannot be loaded."), instance="/livez"),
)
async def livez(server: Server) -> Health:
    """Answer 200 unless the models could not be loaded or the network's queue is no longer served.

    Only a restart can mend either.
    """
    server.lifecycle.check_alive()
    return Health()


@router.get(
    "/readyz",
    summary="May requests be sent here?",
    responses=problem_responses((NotReady, "The models are being loaded."), instance="/readyz"),
)
async def readyz(server: Server) -> Health:
    """Answer 200 once the models are loaded and warmed up, and until draining begins."""
    server.lifecycle.check_ready()
    return Health()


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(server: Server) -> Response:
    """Requests, stage times, batch sizes and queues in the text format of Prometheus."""
    return Response(server.metrics.render(), media_type=CONTENT_TYPE)
