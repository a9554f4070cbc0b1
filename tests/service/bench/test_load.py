"""The benchmark's clients."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from facewright.service.bench.load import Client, closed_load, open_load

BODY = bytes(600_000)


class Handler(BaseHTTPRequestHandler):
    """Answers every other photo of a connection, and ends it when it is told to."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self) -> None:
        photo = self.rfile.read(int(self.headers["Content-Length"]))
        if photo == b"gone":
            self.close_connection = True
            return
        self.asked += 1
        refused = self.asked % 2 == 0
        self.send_response(429 if refused else 200)
        self.send_header("Content-Length", str(0 if refused else len(BODY)))
        if not refused:
            self.send_header("Server-Timing", "decode;dur=1.5, mesh;dur=2.0")
        if photo == b"last":
            self.send_header("Connection", "close")
        self.end_headers()
        if not refused:
            self.wfile.write(BODY)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def client(url: str, photo: bytes) -> Client:
    return Client(url, photo, "model/gltf-binary", "albedo")


def test_answers_are_read_to_their_end_on_one_connection(url: str) -> None:
    one = client(url, b"photo")
    timing = "decode;dur=1.5, mesh;dur=2.0"
    assert [one.send() for _ in range(4)] == [(200, timing), (429, ""), (200, timing), (429, "")]
    assert one.answer_bytes == 0
    one.close()


def test_a_connection_that_ends_is_opened_again(url: str) -> None:
    last = client(url, b"last")
    assert [last.send()[0] for _ in range(3)] == [200, 200, 200]
    assert client(url, b"gone").send() == (0, "")


def test_loads_send_what_they_are_told(url: str) -> None:
    answers = closed_load(lambda: client(url, b"last"), 2, 0.05)
    assert len(answers) >= 2
    assert {answer.status for answer in answers} == {200}
    arrived = open_load(lambda: client(url, b"last"), 100.0, 0.1)
    assert {answer.status for answer in arrived} == {200}
    assert all(answer.seconds > 0 for answer in arrived)
