"""Who may call the API: optional keys in the header `X-API-Key`."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from facewright.service.api.problems import error_response
from facewright.service.errors import ConfigurationError, Unauthorized

API_KEY_HEADER = "X-API-Key"

_PROTECTED = "/v1/"
"""Probes and metrics are for the cluster, and the page and the documents hold no secret."""


class ApiKeys:
    """The keys that are accepted, kept as digests only.

    The file holds one key per line; empty lines and lines that begin with `#` are left out.
    Raises `ConfigurationError` when the file cannot be read or holds no key.
    """

    def __init__(self, file: Path) -> None:
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read the API keys in {file}: {error}") from None
        keys = [key for line in lines if (key := line.strip()) and not key.startswith("#")]
        if not keys:
            raise ConfigurationError(f"there is no API key in {file}")
        self._digests = [_digest(key) for key in keys]

    def accept(self, key: str) -> bool:
        """Whether `key` is one of them; takes as long for every key that is not."""
        given = _digest(key)
        # All are compared, so that the time does not tell which one came close.
        return any([hmac.compare_digest(given, digest) for digest in self._digests])


class ApiKeyMiddleware:
    """Answers calls of the API without a valid key with 401, before their body is read."""

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "http" and scope["path"].startswith(_PROTECTED):
            key = Headers(scope=scope).get(API_KEY_HEADER)
            if key is None or not self._keys.accept(key):
                error = Unauthorized(f"Send a valid key in the header {API_KEY_HEADER}.")
                await error_response(scope["path"], error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
