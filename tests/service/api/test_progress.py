"""What a client can ask for while it waits."""

from __future__ import annotations

import contextvars
import threading
import time
from typing import Any

from facewright.service.api.progress import Progress
from facewright.service.telemetry.stages import SharedClock, StageClock


def test_stages_are_counted_as_they_begin() -> None:
    progress = Progress()
    with progress.watch("a"):
        assert progress.of("a") == {}
        clock = StageClock()
        with clock.stage("decode"):
            assert progress.of("a") == {"decode": 1}
        with clock.stage("detect"), clock.stage("decode"):
            assert progress.of("a") == {"decode": 2, "detect": 1}
        assert progress.of("b") == {}
    assert progress.of("a") == {}


def test_photos_of_an_album_are_counted_from_their_threads() -> None:
    progress, clock = Progress(), SharedClock()

    def photo() -> None:
        with clock.child() as own, own.stage("detect"):
            pass

    with progress.watch("album"):
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(photo,)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert progress.of("album") == {"detect": 8}


def test_another_request_of_the_same_name_does_not_end_the_first() -> None:
    progress = Progress()
    with progress.watch("a"):
        with progress.watch("a"), StageClock().stage("mesh"):
            pass
        assert progress.of("a") == {}  # the later one took the name, and is over
    assert progress.of("a") == {}


def test_the_server_tells_the_stages_of_a_request_at_work(
    server: Any, portrait_jpeg: bytes
) -> None:
    told: list[dict[str, int]] = []
    over = threading.Event()

    def ask() -> None:
        with server.client() as client:
            while not over.is_set():
                told.append(client.get("/v1/progress/mine").json())
                time.sleep(0.005)

    asking = threading.Thread(target=ask)
    asking.start()
    with server.client() as client:
        photo = {"image": portrait_jpeg}
        query = {"texture": "photo", "texture_size": "2048", "include": "mesh,overlay"}
        while not any("detect" in stages for stages in told):
            answer = client.post(
                "/v1/reconstruct", files=photo, params=query, headers={"X-Request-ID": "mine"}
            )
            assert answer.status_code == 200
        over.set()
        asking.join()
        over_now = client.get("/v1/progress/mine")
    assert over_now.json() == {}
    assert over_now.headers["cache-control"] == "no-store"
