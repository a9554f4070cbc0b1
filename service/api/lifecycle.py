"""The life of a server: starting, ready, draining, and what each state answers."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from enum import Enum
from types import FrameType

from facewright.service.errors import ModelError, NotReady
from facewright.service.pipeline.engine import Engine
from facewright.service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


_HOPELESS = 5
"""How many times the patience for a call until the server is given up."""


class State(str, Enum):
    """What the server is doing."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Lifecycle:
    """Holds the engine once it is loaded, and tells the probes.

    Args:
        load: makes the engine; called in a thread.
        metrics: is told whether the server is ready.
        stall_seconds: after one call of a network has taken that long, nothing more is welcome.
        on_ready: called in the event loop once requests are welcome.
        on_failure: called in the event loop when the engine cannot be made.
    """

    def __init__(
        self,
        load: Callable[[], Engine],
        metrics: Metrics,
        stall_seconds: float = 60.0,
        on_ready: Callable[[], None] = lambda: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._load = load
        self._metrics = metrics
        self._stall_seconds = stall_seconds
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._engine: Engine | None = None
        self.state = State.STARTING

    async def start(self) -> None:
        """Load the engine in a thread, so that the probes answer meanwhile."""
        try:
            self._engine = await asyncio.to_thread(self._load)
        except Exception as error:
            self.state = State.FAILED
            if isinstance(error, ModelError):  # says all there is to say: one line
                log.error("the models cannot be loaded", extra={"reason": error.detail})
            else:
                log.exception("the models cannot be loaded")
            self._on_failure()
            return
        for loaded in self._engine.models():
            self._metrics.model_loaded(*loaded)
        if self.state is State.STARTING:
            self._enter(State.READY)
            self._on_ready()

    @property
    def engine(self) -> Engine:
        """The loaded engine, also while draining. Raises `NotReady` before it is loaded."""
        if self._engine is None:
            raise self._not_ready()
        return self._engine

    def check_ready(self) -> None:
        """Raise `NotReady` unless new work is welcome."""
        if self.state is not State.READY:
            raise self._not_ready()
        if self._stalled_for(self._stall_seconds):
            raise NotReady("A network does not answer.")

    def check_alive(self) -> None:
        """Raise `NotReady` if the server will never be of use and should be replaced."""
        if self.state is State.FAILED:
            raise self._not_ready()
        if self._engine is None:
            return
        if not self._engine.alive or self._stalled_for(_HOPELESS * self._stall_seconds):
            raise NotReady("The server no longer answers; it has to be started anew.")

    def drain(self) -> None:
        """Tell the load balancers to look away."""
        self._enter(State.DRAINING)

    def close(self) -> None:
        """Finish the work in hand."""
        self.drain()
        if self._engine is not None:
            # What is not done by then hangs, and would keep the process from ending.
            self._engine.close(self._stall_seconds)

    def _stalled_for(self, seconds: float) -> bool:
        return self._engine is not None and self._engine.call_seconds > seconds

    def _enter(self, state: State) -> None:
        self.state = state
        self._metrics.ready.set(state is State.READY)

    def _not_ready(self) -> NotReady:
        details = {
            State.STARTING: "The models are being loaded.",
            State.READY: "The models are being loaded.",
            State.DRAINING: "The server is shutting down.",
            State.FAILED: "The models cannot be loaded; the server's log says why.",
        }
        return NotReady(details[self.state])


def drain_before_exit(lifecycle: Lifecycle, seconds: float) -> Callable[[], None]:
    """Put a pause of `seconds` between SIGTERM and the server's own reaction to it.

    During the pause requests are served and `/readyz` answers 503: a load balancer needs a
    moment to notice, and the web server closes its socket as soon as it gets the signal.
    Call it in the running event loop, once the web server has its handler in place; returns
    a function that takes the pause out again.  Does nothing outside the main thread, where
    Python allows no signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    exit_handler = signal.getsignal(signal.SIGTERM)
    if not callable(exit_handler):
        return lambda: None

    def on_term(number: int, frame: FrameType | None) -> None:
        def begin() -> None:
            log.info("draining", extra={"seconds": seconds})
            lifecycle.drain()
            loop.call_later(seconds, exit_handler, number, None)

        signal.signal(signal.SIGTERM, exit_handler)  # a second signal does not wait
        loop.call_soon_threadsafe(begin)

    def restore() -> None:
        signal.signal(signal.SIGTERM, exit_handler)

    signal.signal(signal.SIGTERM, on_term)
    return restore
