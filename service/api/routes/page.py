"""`GET /`: a page to try the service with; `GET /v1/progress/{identifier}`: the steps it names."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from facewright.models.assets import HEAD_RIG, asset_path, sha256
from facewright.models.head_rig import face_model_of
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
    return Response(
        body.replace("<!-- heads -->", "yes" if _has_head(server.settings.face_model) else "no"),
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"},
    )


@cache
def _has_head(face_model: Path | None) -> bool:
    """Whether the shipped head belongs to a face model (None: the shipped one).

    The page is there before the models are loaded; that a file is missing is said by their loading.
    """
    if face_model is None:
        return True
    return face_model.is_file() and sha256(face_model) == face_model_of(asset_path(HEAD_RIG))


@router.get(PROGRESS, include_in_schema=False)
async def progress(identifier: str, server: Server) -> Response:
    """How often each stage of the request that its client named so has begun, as JSON."""
    stages = server.progress.of(identifier)
    return JSONResponse(stages, headers={"Cache-Control": "no-store"})
