"""HTTP alone: a server that takes what is sent and answers so many bytes, without any work.

`python -m facewright.service.api.bare PORT BYTES`, as the benchmark starts it.
"""

from __future__ import annotations

import sys

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from facewright.service.api.connections import guarded
from facewright.service.settings import Settings


def bare_app(answer_bytes: int) -> ASGIApp:
    """An application that answers every request with so many zeros once it has arrived."""
    body = bytes(answer_bytes)
    length = [(b"content-length", str(answer_bytes).encode("ascii"))]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body})

    return app


if __name__ == "__main__":
    uvicorn.run(
        bare_app(int(sys.argv[2])),
        port=int(sys.argv[1]),
        http=guarded(Settings()),  # type: ignore[arg-type]
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
