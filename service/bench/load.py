"""Load on a server in another process: as many clients as told, or as many requests a second."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

PATH = "/v1/reconstruct?faces=largest"
PLAIN = "&texture=albedo"
"""Makes an answer without a texture."""
_GIVE_UP = 300.0
_MOST_CLIENTS = 256


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
    """One keep-alive connection that sends one photo over and over."""

    def __init__(self, url: str, photo: bytes, accept: str, query: str = "") -> None:
        self._path = PATH + query
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_GIVE_UP)
        self._photo = photo
        self._headers = {"Content-Type": "image/jpeg", "Accept": accept}

    def send(self) -> tuple[int, str]:
        """Status and `Server-Timing` of one request; the whole answer has been read."""
        try:
            self._connection.request("POST", self._path, self._photo, self._headers)
            response = self._connection.getresponse()
            response.read()
        except (ConnectionError, http.client.HTTPException):
            # A server that refuses before the photo is there may end the connection.
            self._connection.close()
            return 0, ""
        return response.status, response.headers.get("Server-Timing", "")

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


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
