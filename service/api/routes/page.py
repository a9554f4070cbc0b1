"""`GET /`: a page to try the service with."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter, Response

from facewright.service.api.state import Server

router = APIRouter()

_PAGE = (Path(__file__).parent.parent / "static" / "index.html").read_text("utf-8")

# Without a name, so that it is none of the form's options; browsers shall not keep it.
_KEY_FIELD = """<label>API key
    <input type="password" id="key" autocomplete="off" spellcheck="false" required>
  </label>"""


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
async def page(server: Server) -> Response:
    """The page: everything in one file, nothing from elsewhere."""
    return Response(
        _PAGE.replace("<!-- key -->", _KEY_FIELD if server.settings.api_keys_file else ""),
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"},
    )
