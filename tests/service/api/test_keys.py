"""API keys, CORS and security headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from facewright.service.api.app import create_app
from facewright.service.api.keys import ApiKeys
from facewright.service.errors import ConfigurationError, NoFaceFound
from facewright.service.settings import Settings

PATH = "/v1/reconstruct"
ORIGIN = "https://example.org"


class FacelessEngine:
    """Sees no face in any photo."""

    alive = True
    call_seconds = 0.0

    def reconstruct(self, *_: Any, **__: Any) -> Any:
        raise NoFaceFound("No face.")

    def models(self) -> list[tuple[str, str, str, str]]:
        return []

    def close(self, timeout: float | None = None) -> None:
        """Nothing to close."""


def client_for(**settings: Any) -> TestClient:
    app = create_app(Settings(**settings), lambda told, observer: FacelessEngine())  # type: ignore[arg-type,return-value]
    return TestClient(app)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text("# of the first client\nfirst-key\n\n  second-key  \n")
    return file


def test_keys_open_the_api_and_nothing_else_needs_one(keys_file: Path) -> None:
    with client_for(api_keys_file=keys_file) as client:
        while client.get("/readyz").status_code != 200:
            pass
        for key in ("first-key", "second-key"):
            answer = client.post(PATH, files={"image": b"x"}, headers={"X-API-Key": key})
            assert answer.status_code == 422
        for headers in ({}, {"X-API-Key": "third"}, {"X-API-Key": ""}, {"X-API-Key": "# of the"}):
            answer = client.post(PATH, files={"image": b"x"}, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["code"] == "unauthorized"
            assert answer.headers["www-authenticate"] == "ApiKey"
            assert client.get("/v1/nothing", headers=headers).status_code == 401
        for path in ("/", "/livez", "/metrics", "/openapi.json"):
            assert client.get(path).status_code == 200


def test_without_a_file_no_key_is_asked_for() -> None:
    with client_for() as client:
        while client.get("/readyz").status_code != 200:
            pass
        assert client.post(PATH, files={"image": b"x"}).status_code == 422


@pytest.mark.parametrize("content", [None, b"", b"# only a comment\n", b"\xff\xfe"])
def test_a_file_without_keys_ends_the_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="keys"):
        ApiKeys(file)


def test_cors_is_off_by_default_and_for_named_origins_only() -> None:
    ask = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    with client_for() as client:
        assert "access-control-allow-origin" not in client.get("/livez", headers=ask).headers
        assert client.options(PATH, headers=ask).status_code == 405
    with client_for(cors_origins=f"{ORIGIN}, https://other.example") as client:
        assert client.options(PATH, headers=ask).headers["access-control-allow-origin"] == ORIGIN
        strange = {**ask, "Origin": "https://evil.example"}
        assert "access-control-allow-origin" not in client.options(PATH, headers=strange).headers


@pytest.mark.parametrize("origins", ["example.org", f"{ORIGIN}, foo", f"{ORIGIN}/page"])
def test_what_is_no_origin_ends_the_start(origins: str) -> None:
    with pytest.raises(ConfigurationError, match="is no origin such as"):
        client_for(cors_origins=origins)


def test_a_browser_asks_for_cors_without_a_key(keys_file: Path) -> None:
    ask = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-API-Key",
    }
    with client_for(cors_origins=ORIGIN, api_keys_file=keys_file) as client:
        assert client.options(PATH, headers=ask).status_code == 200
        refused = client.post(PATH, headers={"Origin": ORIGIN})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == ORIGIN


def test_every_answer_has_security_headers() -> None:
    with client_for() as client:
        for path in ("/livez", "/v1/nothing", "/metrics", "/", "/docs"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "script-src" in client.get("/").headers["content-security-policy"]
