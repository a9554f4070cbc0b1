"""Receiving photos: limits while streaming, hostile forms, and nothing on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from facewright.service.api.upload import Upload, read_album, read_photo
from facewright.service.errors import (
    BadPhoto,
    BadRequest,
    FacewrightError,
    InvalidParameter,
    MalformedRequest,
    PhotoTooLarge,
    UnsupportedMediaType,
    UploadTimeout,
)

BOUNDARY = "----f3a1"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def form(*parts: tuple[str, bytes], end: bool = True) -> bytes:
    body = b""
    for name, data in parts:
        body += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="x.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        body += data + b"\r\n"
    return body + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


class Body:
    """An ASGI body that comes in chunks and counts how much of it was taken."""

    def __init__(self, chunks: Iterable[bytes], then: str = "end") -> None:
        self._chunks = iter(chunks)
        self._then = then
        self.taken = 0

    async def receive(self) -> dict[str, Any]:
        chunk = next(self._chunks, None)
        if chunk is not None:
            self.taken += len(chunk)
            return {"type": "http.request", "body": chunk, "more_body": True}
        if self._then == "hang":
            await asyncio.sleep(60)
        if self._then == "disconnect":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}


def request(body: bytes | Body, content_type: str | None, **headers: str) -> Request:
    source = body if isinstance(body, Body) else Body([body])
    if content_type is not None:
        headers["content-type"] = content_type
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }
    return Request(scope, source.receive)


def read(
    body: bytes | Body, content_type: str | None = FORM_TYPE, limit: int = 1000, **headers: str
) -> bytes:
    return asyncio.run(read_photo(request(body, content_type, **headers), limit, timeout=0.5))


def read_photos(
    body: bytes | Body, content_type: str | None = FORM_TYPE, **headers: str
) -> list[Upload]:
    """At most 4 photos of 1000 bytes, 3000 in all."""
    reading = read_album(
        request(body, content_type, **headers),
        max_photos=4,
        max_bytes=3000,
        max_photo_bytes=1000,
        timeout=0.5,
    )
    return asyncio.run(reading)


@given(data=st.binary(max_size=900), size=st.integers(1, 400), raw=st.booleans())
def test_the_bytes_arrive_however_they_are_cut(data: bytes, size: int, raw: bool) -> None:
    body = data if raw else form(("image", data))
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    assert read(Body(chunks), "image/png" if raw else FORM_TYPE) == data


def test_a_boundary_inside_the_photo_is_data() -> None:
    data = b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n\r\n--"
    assert read(form(("image", data))) == data


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/webp", "application/octet-stream"])
def test_a_bare_photo_is_accepted(content_type: str) -> None:
    assert read(b"photo", content_type) == b"photo"


def test_the_limit_is_on_the_photo_to_the_byte() -> None:
    assert len(read(form(("image", bytes(1000))))) == 1000
    assert len(read(bytes(1000), "image/png")) == 1000
    for body, kind in ((form(("image", bytes(1001))), FORM_TYPE), (bytes(1001), "image/png")):
        with pytest.raises(PhotoTooLarge):
            read(body, kind)


def test_an_announced_length_is_refused_before_anything_is_read() -> None:
    body = Body([b"x"])
    with pytest.raises(PhotoTooLarge):
        read(body, "image/png", content_length="1001")
    assert body.taken == 0


@pytest.mark.parametrize("kind", [FORM_TYPE, "image/png"])
def test_an_endless_body_is_left_at_the_limit(kind: str) -> None:
    def endless() -> Iterable[bytes]:
        if kind == FORM_TYPE:
            yield form(("image", b""), end=False)[:-2]
        while True:
            yield bytes(100)

    body = Body(endless())
    with pytest.raises(PhotoTooLarge):
        read(body, kind)
    assert body.taken < 1500


def test_endless_part_headers_are_refused() -> None:
    head = f"--{BOUNDARY}\r\nX-Long: ".encode()
    with pytest.raises(MalformedRequest):
        read(Body([head, *[b"a" * 4096] * 100]), limit=10_000_000)


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b"x", None, UnsupportedMediaType),
        (b"x", "text/plain", UnsupportedMediaType),
        (b"x", "application/x-www-form-urlencoded", UnsupportedMediaType),
        (b"x", "image/gif", UnsupportedMediaType),
        (b"x", "multipart/form-data", MalformedRequest),
        (b"x", FORM_TYPE, MalformedRequest),
        (b"", FORM_TYPE, MalformedRequest),
        (b"x", f"multipart/form-data; boundary={'b' * 300}", MalformedRequest),
        (form(("image", b"x"), end=False), FORM_TYPE, MalformedRequest),
        (form(("photo", b"x")), FORM_TYPE, InvalidParameter),
        (form(("image", b"x"), ("image", b"y")), FORM_TYPE, InvalidParameter),
        (form(("image", b"x"), ("faces", b"largest")), FORM_TYPE, InvalidParameter),
        (form(("faces", b"largest"), ("image", b"x")), FORM_TYPE, InvalidParameter),
    ],
)
def test_bodies_that_cannot_be_taken(
    body: bytes, kind: str | None, error: type[FacewrightError]
) -> None:
    with pytest.raises(error):
        read(body, kind)


def test_a_slow_or_broken_upload_is_given_up() -> None:
    with pytest.raises(UploadTimeout):
        read(Body([b"x"], then="hang"), "image/png")
    with pytest.raises(MalformedRequest):
        read(Body([b"x"], then="disconnect"), "image/png")


@given(st.binary(max_size=300))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadPhoto, BadRequest):
        read(body)


def test_no_upload_touches_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a temporary file was opened")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, forbidden)
    data = bytes(5_000_000)
    chunks = [data[i : i + 65536] for i in range(0, len(data), 65536)]
    assert read(Body(chunks), "image/png", limit=10_000_000) == data
    assert read(form(("image", data)), limit=10_000_000) == data


# --- albums -----------------------------------------------------------------------------------


@given(photos=st.lists(st.binary(max_size=300), min_size=2, max_size=4), size=st.integers(1, 400))
def test_the_photos_of_an_album_arrive_in_order(photos: list[bytes], size: int) -> None:
    body = form(*(("images", photo) for photo in photos))
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    assert read_photos(Body(chunks)) == photos


def test_a_photo_that_is_too_large_does_not_cost_the_others() -> None:
    photos = read_photos(form(("images", b"a"), ("images", bytes(1001)), ("images", bytes(1000))))
    assert photos[0] == b"a"
    assert isinstance(photos[1], PhotoTooLarge)
    assert photos[2] == bytes(1000)


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([], InvalidParameter),
        (["images"], InvalidParameter),
        (["images"] * 5, InvalidParameter),
        (["images", "image"], InvalidParameter),
        (["strategy", "images", "images"], InvalidParameter),
    ],
)
def test_forms_that_are_no_album(parts: list[str], error: type[FacewrightError]) -> None:
    with pytest.raises(error):
        read_photos(form(*((name, b"x") for name in parts)))


def test_an_album_has_a_limit_as_a_whole() -> None:
    announced = Body([b"x"])
    with pytest.raises(PhotoTooLarge, match="album"):
        read_photos(announced, content_length="1000000")
    assert announced.taken == 0
    endless = Body([form(("images", b""), end=False)[:-2], *[bytes(1000)] * 1000])
    with pytest.raises(PhotoTooLarge, match="album"):
        read_photos(endless)
    assert endless.taken < 80_000  # four times the room for framing


@pytest.mark.parametrize("kind", ["image/jpeg", None, "application/octet-stream"])
def test_an_album_is_a_form(kind: str | None) -> None:
    with pytest.raises(UnsupportedMediaType):
        read_photos(b"photo", kind)
