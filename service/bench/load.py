"""Load on a server in another process: as many clients as told, or as many requests a second."""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from facewright.service.options import Texture

PATH = "/v1/reconstruct?faces=largest&texture="
_GIVE_UP = 300.0
_MOST_CLIENTS = 256
_BUFFER_BYTES = 1 << 18
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_TIMING = re.compile(rb"\r\nserver-timing: ([^\r]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Answered:
    """One request and its answer; times in seconds, from the beginning of the load."""

    began: float
    """When it was sent."""
    ended: float
    status: int
    server_timing: str

    @property
    def seconds(self) -> float:
        """How long the client waited."""
        return self.ended - self.began


class Client:
    """One keep-alive connection that sends one photo over and over.

    On a socket of its own: `http.client` would take more of the processors that client and server
    share than the server takes to refuse a request.
    """

    def __init__(self, url: str, photo: bytes, accept: str, texture: Texture) -> None:
        place = urlsplit(url)
        self._address = place.hostname, place.port or 80
        head = (
            f"POST {PATH}{texture} HTTP/1.1\r\nHost: {place.netloc}\r\nAccept: {accept}\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n"
        )
        self._request = head.encode("ascii") + photo
        self._connection: socket.socket | None = None
        self.answer_bytes = 0
        """Length of the last answer's body."""
        self._buffer = bytearray(_BUFFER_BYTES)

    def send(self) -> tuple[int, str]:
        """Status and `Server-Timing` of one request; the whole answer has been read.

        The status is 0 when the connection ended before: a server that refuses a photo before it
        is there may do that.
        """
        try:
            if self._connection is None:
                self._connection = socket.create_connection(self._address, _GIVE_UP)
            self._connection.sendall(self._request)
            head = self._read_head(self._connection)
        except ConnectionError:
            self.close()
            return 0, ""
        if b"connection: close" in head.lower():
            self.close()
        timing = _TIMING.search(head)
        return int(head.split(maxsplit=2)[1]), timing[1].decode("ascii") if timing else ""

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read_head(self, connection: socket.socket) -> bytes:
        """Read an answer and return its head; what follows is counted and forgotten."""
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._some(connection)
        head, _, body = answer.partition(b"\r\n\r\n")
        announced = _LENGTH.search(head)
        self.answer_bytes = int(announced[1]) if announced else 0
        missing = self.answer_bytes - len(body)
        while missing > 0:
            missing -= len(self._some(connection))
        return head

    def _some(self, connection: socket.socket) -> memoryview:
        """Bytes that have arrived; they are overwritten by the next ones."""
        count = connection.recv_into(self._buffer)
        if not count:
            raise ConnectionResetError("the connection ended before the answer")
        return memoryview(self._buffer)[:count]


NewClient = Callable[[], Client]


def closed_load(new_client: NewClient, clients: int, seconds: float) -> list[Answered]:
    """Answers to `clients` that each send their next request when the last one is answered.

    Only requests that began within `seconds` are sent; each client sends one at least.
    """
    answers: list[Answered] = []
    start = time.perf_counter()

    def one(_: int) -> None:
        client = new_client()
        while True:
            began = time.perf_counter() - start
            status, timing = client.send()
            answers.append(Answered(began, time.perf_counter() - start, status, timing))
            if time.perf_counter() - start >= seconds:
                break
        client.close()

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(clients)))
    return answers


def open_load(new_client: NewClient, rate: float, seconds: float, seed: int = 0) -> list[Answered]:
    """Answers to requests that arrive on their own account, `rate` a second (Poisson)."""
    dice = random.Random(seed)
    arrivals, at = [], 0.0
    while (at := at + dice.expovariate(rate)) < seconds:
        arrivals.append(at)
    answers: list[Answered] = []
    mine = threading.local()
    start = time.perf_counter()

    def one() -> None:
        if not hasattr(mine, "client"):
            mine.client = new_client()
        began = time.perf_counter() - start
        status, timing = mine.client.send()
        answers.append(Answered(began, time.perf_counter() - start, status, timing))

    with ThreadPoolExecutor(_MOST_CLIENTS) as pool:
        for arrival in arrivals:
            time.sleep(max(0.0, arrival - (time.perf_counter() - start)))
            pool.submit(one)
    return answers
