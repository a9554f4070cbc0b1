"""What the calls share: made once by the application, handed to each call by FastAPI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from facewright.service.api.lifecycle import Lifecycle
from facewright.service.api.progress import Progress
from facewright.service.runtime.admission import Slots, WorkerPool
from facewright.service.settings import Settings
from facewright.service.telemetry.metrics import Metrics


@dataclass(frozen=True)
class State:
    """The parts of one server process."""

    settings: Settings
    metrics: Metrics
    lifecycle: Lifecycle
    uploads: Slots
    """For photos that are arriving."""
    photos: WorkerPool
    albums: WorkerPool
    progress: Progress


async def _state(request: Request) -> State:
    state: State = request.app.state.server
    return state


Server = Annotated[State, Depends(_state)]
"""As the type of a call's parameter: the state of the server that runs it."""
