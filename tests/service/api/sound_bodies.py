"""Loaded by schemathesis (`SCHEMATHESIS_HOOKS`): photos where the document asks for photos."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st

from facewright.service.api.upload import ALBUM_PART, RAW_TYPES

photo = Path(os.environ["FUZZ_PHOTO"]).read_bytes()
for media_type in RAW_TYPES:
    schemathesis.openapi.media_type(media_type, st.just(photo))
in_json = base64.b64encode(photo).decode()
schemathesis.openapi.format("byte", st.just(in_json))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """What no schema can say: an album has two photos, and an option stands in one place.

    The small face model of the tests has no head and no other level of detail: its own are asked
    for.
    """
    parts = getattr(case.body, "body", case.body)
    for options in (case.query, parts):
        if isinstance(options, dict):
            if options.get("mesh") == "head":
                options["mesh"] = "face"
            if options.get("detail") in ("low", "medium"):
                options["detail"] = "high"
    if not isinstance(parts, dict):
        return
    if parts.get(ALBUM_PART) in (photo, [in_json]):
        parts[ALBUM_PART] = [photo, photo] if parts[ALBUM_PART] == photo else [in_json, in_json]
    for name in [name for name in parts if name in (case.query or {})]:
        del parts[name]
