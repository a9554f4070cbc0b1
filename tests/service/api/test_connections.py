"""Clients that do not keep going, against the real server."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest

HEADER_TIMEOUT = 1.0
SLACK = 3.0
"""Seconds that a busy machine may need beyond a timeout."""

HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/reconstruct HTTP/1.1\r\nHost: x\r\n"
UNWANTED = [
    head + framing
    for head in (b"GET /livez HTTP/1.1\r\nHost: x\r\n", POST + b"Content-Type: text/plain\r\n")
    for framing in (
        b"Content-Length: 1000000000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n",
    )
]
HOSTILE = [
    b"\0" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),  # TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /livez\r\n\r\n",
    b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n\r\n",  # no host
    b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%ff%00%zz?%ff=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    HEAD + b"X: y\r\n" * 10_000 + b"\r\n",
    HEAD + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n",
    *(
        POST + b"Content-Type: image/jpeg\r\n" + framing + b"\r\n\r\n"
        for framing in (
            b"Content-Length: " + b"9" * 19,
            b"Content-Length: " + b"9" * 5000,
            b"Content-Length: -1",
            b"Content-Length: 1\r\nContent-Length: 2",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff",
            b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 1000 + b"1;" + b"x" * 70_000,
        )
    ),
]

Attacks = Sequence[Future[tuple[bytes, float]]]
"""Answers to heads that were all sent at once, and the seconds they took."""

pytestmark = pytest.mark.xdist_group("clock")


@pytest.fixture(scope="module")
def strict(start_server: Callable[..., Any]) -> Iterator[Any]:
    with start_server(
        header_timeout=HEADER_TIMEOUT, keep_alive_timeout=2, download_timeout=1.5, upload_timeout=4
    ) as server:
        yield server


@pytest.fixture(scope="module")
def hostile(strict: Any) -> Iterator[Attacks]:
    def attack(head: bytes) -> tuple[bytes, float]:
        with strict.connect() as connection:
            began = time.monotonic()
            connection.sendall(head)
            return read_to_end(connection), time.monotonic() - began

    with ThreadPoolExecutor(len(HOSTILE)) as pool:
        yield [pool.submit(attack, head) for head in HOSTILE]


@pytest.fixture(scope="module")
def unwanted(strict: Any) -> Iterator[Attacks]:
    def attack(head: bytes) -> tuple[bytes, float]:
        with strict.connect() as connection:
            began = time.monotonic()
            connection.sendall(head)
            answer = read_one(connection)
            trickle(connection, b"x" * 2000)
            return answer, time.monotonic() - began

    with ThreadPoolExecutor(len(UNWANTED)) as pool:
        yield [pool.submit(attack, head) for head in UNWANTED]


def read_to_end(connection: socket.socket) -> bytes:
    """What the server sends until it closes or resets the connection; fails after a minute."""
    connection.settimeout(60)
    received = b""
    while True:
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not data:
            return received
        received += data


def trickle(connection: socket.socket, data: bytes, every: float = 0.05) -> None:
    """Send byte by byte until everything is sent or the server has had enough."""
    for byte in data:
        try:
            connection.sendall(bytes([byte]))
        except OSError:
            return
        time.sleep(every)


def read_head(connection: socket.socket) -> tuple[bytes, int]:
    """The head of an answer, and how many bytes of its body are still to come."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(4096)
        assert data
        received += data
    head, _, begun = received.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
    return head, int(length) - len(begun)


def read_one(connection: socket.socket) -> bytes:
    """The head of an answer whose body is read as well."""
    head, rest = read_head(connection)
    while rest:
        rest -= len(connection.recv(rest))
    return head


def test_a_head_that_never_ends_is_cut_off(strict: Any) -> None:
    with strict.connect() as connection:
        began = time.monotonic()
        connection.sendall(HEAD)
        assert read_to_end(connection).startswith(b"HTTP/1.1 408 ")
        assert HEADER_TIMEOUT * 0.9 < time.monotonic() - began < HEADER_TIMEOUT + SLACK


PROBLEMS = {
    b"GET /livez\r\n\r\n": (400, "malformed_request"),
    b"\x16\x03\x01\x02\x00\x01": (400, "malformed_request"),
    HEAD: (408, "request_timeout"),
    HEAD + b"X: " + b"x" * 1_000_000: (431, "headers_too_large"),
    HEAD + b"X: y\r\n" * 200_000: (431, "headers_too_large"),
    POST + b"Content-Length: -1\r\n\r\n": (400, "malformed_request"),
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": (
        400,
        "malformed_request",
    ),
    POST + b"Transfer-Encoding: gzip\r\n\r\n": (501, "unsupported_transfer_encoding"),
}


@pytest.mark.parametrize("sent", PROBLEMS, ids=range(len(PROBLEMS)))
@pytest.mark.parametrize("kept", [False, True])
def test_what_the_parser_refuses_is_told(strict: Any, sent: bytes, kept: bool) -> None:
    """Also to a client that sends on, and on a connection that has been used."""
    status, code = PROBLEMS[sent]
    with strict.connect() as connection:
        if kept:
            connection.sendall(HEAD + b"\r\n")
            read_one(connection)
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        answer = read_to_end(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nconnection: close" in head.lower()
    assert b"\r\ncontent-type: application/problem+json" in head.lower()
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert b"\r\nx-request-id: " + problem["request_id"].encode() in head.lower()


def test_bytes_that_trickle_in_gain_no_time(strict: Any) -> None:
    with strict.connect() as connection:
        began = time.monotonic()
        trickle(connection, HEAD + b"X-Padding: " + b"x" * 2000)
        assert time.monotonic() - began < HEADER_TIMEOUT + SLACK


def test_a_connection_without_a_request_is_closed(strict: Any) -> None:
    with strict.connect() as connection:
        began = time.monotonic()
        assert read_to_end(connection) == b""
        assert HEADER_TIMEOUT * 0.9 < time.monotonic() - began < HEADER_TIMEOUT + SLACK


def test_a_head_in_two_pieces_is_no_offense(strict: Any) -> None:
    with strict.connect() as connection:
        connection.sendall(HEAD)
        time.sleep(HEADER_TIMEOUT / 3)
        connection.sendall(b"\r\n")
        assert read_one(connection).startswith(b"HTTP/1.1 200 ")


def test_a_kept_connection_may_be_idle_and_no_longer_than_told(strict: Any) -> None:
    with strict.connect() as connection:
        connection.sendall(HEAD + b"\r\n")
        assert read_one(connection).startswith(b"HTTP/1.1 200 ")
        time.sleep(HEADER_TIMEOUT + 0.3)  # longer than a head may take
        connection.sendall(HEAD + b"\r\n")
        assert read_one(connection).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        assert read_to_end(connection) == b""
        assert 1.8 < time.monotonic() - began < 2 + SLACK


def test_a_second_head_has_no_more_time_than_the_first(strict: Any) -> None:
    with strict.connect() as connection:
        connection.sendall(HEAD + b"\r\n")
        assert read_one(connection).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        trickle(connection, HEAD + b"X-Padding: " + b"x" * 2000)
        assert time.monotonic() - began < HEADER_TIMEOUT + SLACK


@pytest.mark.parametrize("number", range(len(UNWANTED)))
def test_a_body_that_nobody_wants_is_not_received_for_ever(unwanted: Attacks, number: int) -> None:
    assert unwanted[number].result()[1] < HEADER_TIMEOUT + SLACK


def test_a_photo_that_trickles_in_has_the_time_for_uploads(strict: Any) -> None:
    with strict.connect() as connection:
        began = time.monotonic()
        connection.sendall(POST + b"Content-Type: image/jpeg\r\nContent-Length: 1000000\r\n\r\n")
        trickle(connection, b"x" * int(2.0 / 0.05))  # twice what a head may take
        assert time.monotonic() - began < 3.5
        received = read_to_end(connection)
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b"upload_timeout" in received
        assert 4 * 0.9 < time.monotonic() - began < 4 + HEADER_TIMEOUT + SLACK


def test_an_answer_that_nobody_takes_is_dropped(strict: Any, portrait_jpeg: bytes) -> None:
    portrait = cv2.imdecode(np.frombuffer(portrait_jpeg, np.uint8), cv2.IMREAD_COLOR)
    photo = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), np.uint8)
    photo[:512, :512] = portrait
    body = cv2.imencode(".jpg", photo)[1].tobytes()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", strict.port))
        connection.sendall(
            POST + b"Content-Type: image/jpeg\r\nAccept: image/png\r\nContent-Length: "
            + str(len(body)).encode() + b"\r\n\r\n" + body
        )  # fmt: skip
        connection.settimeout(30)
        head, rest = read_head(connection)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert rest > 2_000_000
        time.sleep(2.5)
        assert len(read_to_end(connection)) < rest
    with strict.client() as client:
        assert client.get("/livez").status_code == 200


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_head_is_refused(strict: Any, hostile: Attacks, number: int) -> None:
    answer, seconds = hostile[number].result()
    # Upload, or head, and then the connection is idle.
    assert seconds < 4 + HEADER_TIMEOUT + SLACK
    assert re.match(rb"HTTP/1\.1 ([24]\d\d|501) ", answer)
    with strict.client() as client:
        assert client.get("/livez").status_code == 200
    assert "Traceback" not in strict.log()


def test_clients_that_do_not_keep_going_do_not_keep_a_server_from_ending(
    start_server: Callable[..., Any],
) -> None:
    with start_server(header_timeout=60) as server:
        with server.connect() as silent, server.connect() as half:
            half.sendall(HEAD)
            with server.client() as client:
                assert client.get("/livez").status_code == 200
                began = time.monotonic()
                server.process.terminate()
                server.process.wait(30)
                assert time.monotonic() - began < 10
            assert silent.recv(1) == b""
        assert '"stopped"' in server.log()
