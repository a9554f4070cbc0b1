"""Loaded by schemathesis (`SCHEMATHESIS_HOOKS`): photos where the document asks for photos."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st

from facewright.service.api.upload import ALBUM_PART, RAW_TYPES

photo = Path(os.environ["FUZZ_PHOTO"]).read_bytes()
for media_type in RAW_TYPES:
    schemathesis.openapi.media_type(media_type, st.just(photo))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """An album of two, where schemathesis sends one photo in place of an array.

    The small face model of the tests has no head and no other level of detail, which no schema can
    say: its own are asked for.
    """
    query = case.query or {}
    for name, refused, taken in (
        ("mesh", ("head",), "face"),
        ("detail", ("low", "medium"), "high"),
    ):
        if query.get(name) in refused:
            query[name] = taken
    parts = getattr(case.body, "body", case.body)
    if isinstance(parts, dict) and parts.get(ALBUM_PART) == photo:
        parts[ALBUM_PART] = [photo, photo]
