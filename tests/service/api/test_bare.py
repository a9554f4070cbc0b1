from __future__ import annotations

from fastapi.testclient import TestClient

from facewright.service.api.bare import bare_app


def test_the_bare_server_answers_what_it_is_told() -> None:
    bare = TestClient(bare_app(1000))
    assert bare.post("/v1/reconstruct", content=bytes(600_000)).content == bytes(1000)
