"""Connections of clients that do not keep going: cut off, so that they hold nothing.

The application bounds the time in which a body arrives and an answer is made.  What is left is
what no request's own time covers: a head that is never finished, the rest of a body that has been
refused already, and an answer that nobody takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from facewright.service.settings import Settings

_GRACE = 0.1
"""Seconds in which the event loop reads what came while it was held up."""


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with limits on the time that clients take.

    Args:
        header_timeout: seconds from the opening of a connection, or the first byte of a further
            request, to the end of the request's head; also for the rest of a body after its
            request has been answered.  Bytes that trickle in do not extend it.
        download_timeout: seconds for the client to take an answer.
        arguments: what uvicorn makes a protocol with.
    """

    def __init__(self, *, header_timeout: float, download_timeout: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._header_timeout = header_timeout
        self._download_timeout = download_timeout
        self._owed: asyncio.TimerHandle | None = None
        self._untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request's head."""
        super().connection_made(transport)
        self._expect_bytes()

    def data_received(self, data: bytes) -> None:
        """Read on; the time for a head ends with the head and no sooner."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE or self._has_refused_body():
            self._expect_bytes()
        else:
            self._expect_nothing()

    def on_response_complete(self) -> None:
        """Wait for the answer to be taken, and for the rest of a body that nobody asked for."""
        super().on_response_complete()
        if self._has_refused_body():
            self._expect_bytes()
        if self._untaken is not None:
            self._untaken.cancel()
        self._untaken = self.loop.call_later(self._download_timeout, self._cut_untaken)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        super().connection_lost(exc)
        self._expect_nothing()
        if self._untaken is not None:
            self._untaken.cancel()

    def _has_refused_body(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete

    def _expect_bytes(self) -> None:
        if self._owed is None:
            self._owed = self.loop.call_later(self._header_timeout, self._look_again)

    def _expect_nothing(self) -> None:
        if self._owed is not None:
            self._owed.cancel()
            self._owed = None

    def _look_again(self) -> None:
        # The bytes may be there, in a process that had no time for them.
        self._owed = self.loop.call_later(_GRACE, self._cut_silent)

    def _cut_silent(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            begun, _ = self.conn.trailing_data
            if begun:
                headers = [("Connection", "close"), ("Content-Length", "0")]
                answer = h11.Response(status_code=408, headers=headers, reason="Request Timeout")
                self.transport.write(self.conn.send(answer) or b"")
        self.transport.close()

    def _cut_untaken(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # closing would wait for the client


def guarded(settings: Settings) -> Callable[..., GuardedProtocol]:
    """What uvicorn makes its protocols with; goes to the processes of other workers as well."""
    return partial(
        GuardedProtocol,
        header_timeout=settings.header_timeout,
        download_timeout=settings.download_timeout,
    )
