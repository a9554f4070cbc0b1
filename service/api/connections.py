"""Connections of clients that do not keep going: cut off, so that they hold nothing.

The application bounds the time in which a body arrives and an answer is made.  What is left is
what no request's own time covers: a head that is never finished, the rest of a body that has been
refused already, and an answer that nobody takes.

Requests that are not well-formed HTTP never reach the application; their problems are told here.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import h11
from h11._connection import DEFAULT_MAX_INCOMPLETE_EVENT_SIZE
from uvicorn.protocols.http.h11_impl import H11Protocol

from facewright.service import errors
from facewright.service.api.middleware import REQUEST_ID_HEADER, SECURITY_HEADERS
from facewright.service.api.problems import error_response
from facewright.service.settings import Settings
from facewright.service.telemetry.logging import choose_request_id, request_id

_GRACE = 0.1
"""Seconds in which the event loop reads what came while it was held up."""


_LINGER = 0.5
"""Seconds in which what a refused client still sends is dropped: closing at once would take the
answer back from it."""


class TwoLengths(h11.RemoteProtocolError):
    """A request says twice how long its body is."""


class StrictConnection(h11.Connection):
    """h11's, which also refuses a body of two lengths: two servers may cut it differently."""

    def next_event(self) -> Any:
        """Return the next event; raises as h11 does."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:
                raise TwoLengths("Content-Length beside Transfer-Encoding")
        return event


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
        limit = self.config.h11_max_incomplete_event_size or DEFAULT_MAX_INCOMPLETE_EVENT_SIZE
        self.conn = StrictConnection(h11.SERVER, limit)
        self._refused = False
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
        if self._refused:
            return
        super().data_received(data)
        if self._refused:
            return
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

    def send_400_response(self, msg: str) -> None:
        """Tell what is wrong with a request that the parser refuses; called as it raises."""
        error = sys.exc_info()[1]
        hint = getattr(error, "error_status_hint", HTTPStatus.BAD_REQUEST)
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # in the middle of an answer
        elif hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            self._refuse(errors.HeadersTooLarge("The head of the request is too large."))
        elif hint == HTTPStatus.NOT_IMPLEMENTED:
            self._refuse(
                errors.UnsupportedTransferEncoding("The only Transfer-Encoding taken is chunked.")
            )
        elif isinstance(error, TwoLengths):
            self._refuse(
                errors.MalformedRequest("Content-Length and Transfer-Encoding exclude each other.")
            )
        else:  # the parser's messages may repeat what was sent
            self._refuse(errors.MalformedRequest("The request is not well-formed HTTP/1.1."))

    def _refuse(self, error: errors.FacewrightError) -> None:
        """Answer with a problem in place of the application, and close the connection."""
        self._refused = True
        self._expect_nothing()
        identifier = choose_request_id(None)
        token = request_id.set(identifier)
        response = error_response("", error)
        request_id.reset(token)
        response.headers.update(SECURITY_HEADERS)
        response.headers.update({REQUEST_ID_HEADER: identifier, "Connection": "close"})
        answer = h11.Response(
            status_code=error.status,
            headers=response.raw_headers,
            reason=HTTPStatus(error.status).phrase,
        )
        for event in (answer, h11.Data(bytes(response.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.loop.call_later(_LINGER, self.transport.close)
        with suppress(OSError):  # the client may be gone
            self.transport.write_eof()

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
                self._refuse(
                    errors.RequestTimeout(
                        "The head of the request did not arrive within "
                        f"{self._header_timeout:g} seconds."
                    )
                )
                return
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
