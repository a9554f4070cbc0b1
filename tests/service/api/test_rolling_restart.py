"""Servers replaced under load, the way Kubernetes does it: no client may notice."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.xdist_group("clock")

Start = Callable[..., Any]

READINESS_PERIOD = 0.2
"""Seconds between two looks at `/readyz`."""

PAUSE = 0.15
"""Seconds from an answer to the same client's next request: connections must be idle at times."""


class Router:
    """Passes TCP connections on to the servers that are in service, in turn, as kube-proxy does.

    A connection stays with its server, whatever becomes of that.
    """

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._turn = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self._connect(self._listener.accept()[0])

    def _connect(self, client: socket.socket) -> None:
        ports = self.ports
        self._turn += 1
        try:
            server = socket.create_connection(("127.0.0.1", ports[self._turn % len(ports)]))
        except (OSError, ZeroDivisionError):  # nobody there: the client shall see it
            client.close()
            return
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(1 << 16):
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Readiness:
    """Keeps the router's list: servers that are ready, and not called off."""

    def __init__(self, router: Router) -> None:
        self.watched: list[Any] = []
        self._router = router
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(READINESS_PERIOD):
            self._router.ports = [server.port for server in self.watched if _is_ready(server.url)]


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Load:
    """Clients that post a photo over and over; what went wrong, and how much went well."""

    url: str
    photo: bytes
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        # Clients that keep their connection, and clients that make a new one every time.
        threads = [
            threading.Thread(target=self._post, args=(keep,)) for keep in (True, True, False)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _post(self, keep_connection: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if keep_connection else 0)
        with httpx.Client(base_url=self.url, timeout=60, limits=limits) as client:
            while not self._ended.wait(PAUSE):
                try:
                    response = client.post("/v1/reconstruct", files={"image": self.photo})
                    problem = "" if response.status_code == 200 else response.text
                except httpx.TransportError as error:
                    problem = repr(error)
                with self._lock:
                    self.answers += not problem
                    if problem:
                        self.failures.append(problem)


def test_no_request_fails_while_every_server_is_replaced(
    start_server: Start, portrait_jpeg: bytes
) -> None:
    """The first as Kubernetes does it; the second by a router that only looks at `/readyz`."""
    with contextlib.ExitStack() as stack:
        router = Router()
        stack.callback(router.close)

        def start() -> Any:
            return stack.enter_context(start_server(drain_seconds=3))

        old = [start(), start()]
        readiness = Readiness(router)
        stack.callback(readiness.close)
        readiness.watched = list(old)
        _wait_until(lambda: len(router.ports) == 2)

        load = Load(router.url, portrait_jpeg)
        with load.running():
            _wait_until(lambda: load.answers >= 6)
            for server, called_off_before, pre_stop in zip(
                old, (True, False), (0.8, 0.0), strict=True
            ):
                if called_off_before:
                    readiness.watched = [each for each in readiness.watched if each is not server]
                time.sleep(pre_stop)
                server.process.send_signal(signal.SIGTERM)
                server.process.wait(30)
                readiness.watched = [each for each in readiness.watched if each is not server]
                new = start()
                readiness.watched = [*readiness.watched, new]
                _wait_until(lambda new=new: new.port in router.ports)
            before = load.answers
            _wait_until(lambda: load.answers >= before + 6)

        assert load.failures == []
        assert {server.port for server in old}.isdisjoint(router.ports)


def test_a_draining_server_asks_clients_to_connect_elsewhere(
    start_server: Start, portrait_jpeg: bytes
) -> None:
    with start_server(drain_seconds=30) as server, server.client() as client:
        assert "connection" not in client.get("/livez").headers
        server.process.send_signal(signal.SIGTERM)
        _wait_until(lambda: not _is_ready(server.url))
        response = client.post("/v1/reconstruct", files={"image": portrait_jpeg})
        assert response.status_code == 200
        assert response.headers["connection"] == "close"
        server.process.send_signal(signal.SIGTERM)  # a second one ends the pause
        server.process.wait(30)


def _wait_until(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.05)
