"""Fault injection: networks that fail, hang or run out of memory, clients that leave, SIGTERM."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from facewright.service.networks.image_networks import ImageNetwork
from facewright.service.networks.regression import Regressor
from tests.service.running import ROOT, Local, metric, until

pytestmark = [pytest.mark.xdist_group("clock"), pytest.mark.slow]

PATH = "/v1/reconstruct"
ALBUM = "/v1/albums/reconstruct"
LONG = int(os.environ.get("FAULT_ROUNDS", "1"))
"""How often the faults with chance in them are tried: more for the long form (`make faults`)."""


def post(server: Local, photo: bytes) -> httpx.Response:
    return httpx.post(server.url + PATH, files={"image": photo}, timeout=60)


@pytest.fixture(scope="module")
def local(serve_here: Callable[..., Any]) -> Iterator[Local]:
    with serve_here(request_timeout=8, stall_seconds=3) as server:
        yield server


@pytest.mark.parametrize(("network", "name"), [(ImageNetwork, "look"), (Regressor, "regress_each")])
def test_a_network_that_raises_is_a_500_and_no_more(
    local: Local, portrait_jpeg: bytes, monkeypatch: pytest.MonkeyPatch, network: type, name: str
) -> None:
    def fail(self: Any, images: Sequence[Any]) -> Any:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(network, name, fail)
        response = post(local, portrait_jpeg)
        assert response.status_code == 500
        assert response.json()["code"] == "internal_error"
        assert "broken" not in response.text
    assert post(local, portrait_jpeg).status_code == 200


def test_a_network_that_hangs_is_a_504_and_not_ready(
    local: Local, portrait_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    real = local.engine.regressor.regress_each

    def hang(crops: Any) -> Any:
        assert gate.wait(20)
        return real(crops)

    with monkeypatch.context() as patch:
        patch.setattr(local.engine.regressor, "regress_each", hang)
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(post, [local] * 3, [portrait_jpeg] * 3))
        assert [answer.status_code for answer in answers] == [504] * 3
        assert httpx.get(local.url + "/readyz").status_code == 503
        assert httpx.get(local.url + "/livez").status_code == 200
    gate.set()
    until(lambda: httpx.get(local.url + "/readyz").status_code == 200)
    assert post(local, portrait_jpeg).status_code == 200
    with local.client() as client:
        assert metric(client, "facewright_photos_in_flight") == 0


def test_out_of_memory_on_a_batch_costs_time_only(
    local: Local, group_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = local.engine.regressor.regress_each
    sizes: list[int] = []

    def tight(crops: Any) -> Any:
        sizes.append(len(crops))
        if len(crops) > 1:
            raise RuntimeError("[ONNXRuntimeError] : Failed to allocate memory")
        return real(crops)

    monkeypatch.setattr(local.engine.regressor, "regress_each", tight)
    response = post(local, group_jpeg)
    assert response.status_code == 200
    assert len(response.json()["faces"]) == 3
    assert sizes == [3, 1, 2, 1, 1]


def test_clients_that_leave_take_nothing_with_them(local: Local, portrait_jpeg: bytes) -> None:
    head = (
        "POST /v1/reconstruct?include=mesh,overlay HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(portrait_jpeg)}\r\n\r\n"
    ).encode()
    port = int(local.url.rpartition(":")[2])
    for sent in [len(head) // 2, len(head), len(head) + 5000, len(head + portrait_jpeg)] * LONG:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall((head + portrait_jpeg)[:sent])
            # A reset, in the middle of the upload or of the work.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(head + portrait_jpeg)
        assert client.recv(500).startswith(b"HTTP/1.1 200")  # and away, in mid-answer
    with local.client() as client:
        for series in ("facewright_photos_in_flight", "facewright_uploads_in_flight"):
            until(lambda series=series: metric(client, series) == 0)  # type: ignore[misc]
    assert post(local, portrait_jpeg).status_code == 200


def probe(url: str, times: int) -> set[tuple[str, int]]:
    """Statuses of the probes, asked for again and again."""
    paths = ("/livez", "/readyz") * times
    return {(path, httpx.get(url + path, timeout=5).status_code) for path in paths}


def test_a_full_house_refuses_at_once_and_tells_when_to_come_back(
    serve_here: Callable[..., Any], portrait_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_here(concurrency=1, max_waiting=2) as server:
        real = ImageNetwork.look

        def slow(self: ImageNetwork, images: Any) -> Any:
            time.sleep(0.2)
            return real(self, images)

        monkeypatch.setattr(ImageNetwork, "look", slow)
        post(server, portrait_jpeg)

        def timed(_: int) -> tuple[httpx.Response, float]:
            began = time.monotonic()
            return post(server, portrait_jpeg), time.monotonic() - began

        with ThreadPoolExecutor(13) as pool:
            probing = pool.submit(probe, server.url, 20)
            answers = list(pool.map(timed, range(24)))
        assert probing.result() == {("/livez", 200), ("/readyz", 200)}  # load is no illness
        refused = [(r, s) for r, s in answers if r.status_code == 429]
        answered = [(r, s) for r, s in answers if r.status_code == 200]
        assert len(refused) + len(answered) == 24
        assert refused
        assert len(answered) >= 3
        # Each photo takes 0.4 s at least, and three are in the house.
        assert all(1 <= int(r.headers["retry-after"]) <= 60 for r, _ in refused)
        assert np.median([s for _, s in refused]) < np.median([s for _, s in answered])


@pytest.mark.parametrize("round_", range(LONG))
def test_sigterm_under_load_answers_all_that_was_accepted(
    start_server: Callable[..., Any], portrait_jpeg: bytes, round_: int
) -> None:
    """Clients behave like a load balancer: they look away when the server is not ready."""
    with start_server(drain_seconds=1.5) as server:
        statuses: list[int] = []
        away = threading.Event()

        def hammer() -> None:
            while not away.is_set():
                response = httpx.post(server.url + PATH, files={"image": portrait_jpeg}, timeout=60)
                statuses.append(response.status_code)

        with ThreadPoolExecutor(6) as pool:
            hammering = [pool.submit(hammer) for _ in range(6)]
            until(lambda: len(statuses) > 6)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: httpx.get(server.url + "/readyz").status_code == 503)
            away.set()
            for one in hammering:
                one.result(60)  # raises if a request was left without an answer
        server.process.wait(30)
        assert '"stopped"' in server.log()
        assert set(statuses) == {200}


def test_logs_hold_nothing_of_the_photos(
    start_server: Callable[..., Any],
    portrait_jpeg: bytes,
    mirrored_jpeg: bytes,
    faceless_jpeg: bytes,
) -> None:
    name = "jane-doe-passport.jpg"
    with start_server(log_level="debug") as server, server.client() as client:
        secret = {"image": (name, portrait_jpeg, "image/jpeg")}
        answer = client.post(PATH + "?include=mesh,confidences", files=secret).json()
        for broken in (portrait_jpeg[:5000], faceless_jpeg, b"jane-doe" * 100):
            client.post(PATH, files={"image": (name, broken)})
        client.post(PATH + "?faces=jane-doe", files=secret)
        client.post(PATH, files={"jane-doe": (name, portrait_jpeg)})

        photos = [portrait_jpeg, mirrored_jpeg, faceless_jpeg, portrait_jpeg[:5000], b"jane-doe"]
        files = [("images", (name, photo)) for photo in photos]
        album = client.post(ALBUM + "?include=mesh,overlay,confidences", files=files).json()
        assert [photo["status"] for photo in album["photos"]] == ["used"] * 2 + ["failed"] * 3
        assert client.post(ALBUM + "?min_photos=3", files=files).status_code == 422
        client.post(ALBUM + "?strategy=jane-doe", files=files)
        client.post(ALBUM, files=[("jane-doe", (name, portrait_jpeg))] * 2)

        client.put(f"/v1/{name}", content=portrait_jpeg)  # what `curl -T` does
        client.request("JANE-DOE", "/livez")
        client.get("/v1/models", headers={"X-API-Key": "jane-doe", "User-Agent": "jane-doe"})
        log = server.log()
    assert log.count('"request"') >= 12
    assert "jane-doe" not in log.lower()
    for numbers in (answer["faces"], album["identity"], album["photos"]):
        assert not [number for number in _long_numbers(numbers) if number in log]
    for photo in (portrait_jpeg, mirrored_jpeg):
        for data in (photo, base64.b64encode(photo)):
            for start in range(0, len(data), 5000):
                assert repr(data[start : start + 12])[2:-1] not in log
    for mesh in (answer["faces"][0]["mesh"], album["identity"]["mesh"]):
        assert mesh["data"][1000:1020] not in log


def _long_numbers(part: Any) -> Iterator[str]:
    """The numbers of an answer that are too long to be found in a log by chance."""
    if isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _long_numbers(inner)
    elif isinstance(part, float) and len(json.dumps(part)) > 7:
        yield json.dumps(part)


def test_a_full_disk_stops_the_log_and_not_the_service(assets: Any, portrait_jpeg: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, **assets.environment, "FACEWRIGHT_DRAIN_SECONDS": "0"}
    command = [sys.executable, "-m", "facewright", "serve", "--port", str(port)]
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=full, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: _ready(url), 180)  # it may have kernels to compile
        response = httpx.post(url + PATH, files={"image": portrait_jpeg}, timeout=60)
        assert response.status_code == 200
        assert json.loads(response.content)["faces"]
    finally:
        process.terminate()
        process.wait(20)


def _ready(url: str) -> bool:
    try:
        return httpx.get(url + "/readyz").status_code == 200
    except httpx.TransportError:
        return False
