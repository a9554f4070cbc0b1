"""`GET /`: a page to try the service with; `GET /v1/progress/{identifier}`: the steps it names."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from facewright.service.api.middleware import PROGRESS
from facewright.service.api.state import Server
from facewright.service.options import MESH_FORMATS
from facewright.service.results.single_file import SHARED, hashes, single_file

router = APIRouter()

_STATIC = Path(__file__).parent.parent / "static"
_PAGE = single_file((_STATIC / "index.html").read_text("utf-8"), [_STATIC, SHARED]).replace(
    "<!-- formats -->", " ".join(MESH_FORMATS)
)

# Without a name, so that it is none of the form's options; browsers shall not keep it.
_KEY_FIELD = """<label class="key">API key
    <input type="password" id="key" autocomplete="off" spellcheck="false" required>
  </label>"""

_POLICY = (
    f"default-src 'none'; script-src {hashes(_PAGE, 'script')}; "
    f"style-src {hashes(_PAGE, 'style')}; img-src blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/", include_in_schema=False)
async def page(server: Server) -> Response:
    """The page: everything in one file, nothing from elsewhere."""
    body = _PAGE.replace("<!-- key -->", _KEY_FIELD if server.settings.api_keys_file else "")
    own_face_model = server.settings.face_model is not None
    return Response(
        body.replace("<!-- heads -->", "no" if own_face_model else "yes"),
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"},
    )


@router.get(PROGRESS, include_in_schema=False)
async def progress(identifier: str, server: Server) -> Response:
    """How often each stage of the request that its client named so has begun, as JSON."""
    stages = server.progress.of(identifier)
    return JSONResponse(stages, headers={"Cache-Control": "no-store"})
