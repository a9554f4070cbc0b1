"""`GET /`: a page to try the service with."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter, Response

router = APIRouter()

_PAGE = (Path(__file__).parent.parent / "static" / "index.html").read_text("utf-8")


def _hashes(tag: str) -> str:
    """CSP sources that allow the page's own inline `tag` elements and no others."""
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", _PAGE, re.DOTALL)
    digests = (hashlib.sha256(body.encode()).digest() for body in bodies)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


_POLICY = (
    f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; "
    "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page: everything in one file, nothing from elsewhere."""
    return Response(
        _PAGE,
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"},
    )
