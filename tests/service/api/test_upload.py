"""Receiving photos: limits while streaming, hostile forms, and nothing on the disk."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import tempfile
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from facewright.service.api.upload import Received, Upload, read_album, read_photo
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
from facewright.service.options import AlbumOptions, ReconstructOptions

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
) -> Upload:
    (photo,) = read_all(body, content_type, limit, **headers).photos
    return photo


def read_all(
    body: bytes | Body, content_type: str | None = FORM_TYPE, limit: int = 1000, **headers: str
) -> Received:
    asked = request(body, content_type, **headers)
    return asyncio.run(read_photo(asked, ReconstructOptions, limit, timeout=0.5))


def read_photos(
    body: bytes | Body, content_type: str | None = FORM_TYPE, **headers: str
) -> list[Upload]:
    """At most 4 photos of 1000 bytes, 3000 in all."""
    reading = read_album(
        request(body, content_type, **headers),
        AlbumOptions,
        max_photos=4,
        max_bytes=3000,
        max_photo_bytes=1000,
        timeout=0.5,
    )
    return asyncio.run(reading).photos


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
        (form(("image", b"x"), ("faces", b"all"), ("faces", b"all")), FORM_TYPE, InvalidParameter),
        (form(("image", b"x"), ("faces", b"a" * 1001)), FORM_TYPE, InvalidParameter),
        (form(("faces", b"largest")), FORM_TYPE, InvalidParameter),
        (b"x" + form(("image", b"x")), FORM_TYPE, InvalidParameter),
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


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("preamble", [b"\r\n", b"A preamble.\r\n", b"--other\r\n\r\n--\r\n"])
def test_a_preamble_and_an_epilogue_mean_nothing(preamble: bytes, size: int) -> None:
    body = preamble + form(("image", b"photo")) + b"An epilogue\r\n--" + BOUNDARY.encode()
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    assert read(Body(chunks)) == b"photo"


def test_an_endless_preamble_is_refused() -> None:
    body = Body([b"x" * 1000] * 1000)
    with pytest.raises(MalformedRequest):
        read(body, limit=10_000_000)
    assert body.taken < 20_000


def test_options_may_stand_in_the_form() -> None:
    received = read_all(
        form(("faces", b"largest"), ("image", b"photo"), ("include", b"mesh"), ("include", b"a,b"))
    )
    assert received == Received([b"photo"], {"faces": "largest", "include": ["mesh", "a,b"]})


@pytest.mark.parametrize("name", ["photo", "images", "Gesicht ü", "x" * 300, "a\x1bb"])
def test_a_wrong_name_of_a_part_is_repeated(name: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        read(form((name, b"x")))
    shown = name[:64].replace("\x1b", "\ufffd")
    assert f"named '{shown}" in raised.value.detail
    assert "named `image`" in raised.value.detail
    assert len(raised.value.detail) < 400


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "GZIP", "x" * 500])
@pytest.mark.parametrize("kind", [FORM_TYPE, "image/png", "application/json"])
def test_encoded_bodies_are_refused_by_name(kind: str, encoding: str) -> None:
    body = Body([b"x"])
    with pytest.raises(UnsupportedMediaType, match=encoding[:64]):
        read(body, kind, content_encoding=encoding)
    assert body.taken == 0
    with pytest.raises(UnsupportedMediaType, match=encoding[:64]):
        read_photos(b"x", kind, content_encoding=encoding)


def test_identity_is_no_encoding() -> None:
    assert read(b"photo", "image/png", content_encoding="Identity") == b"photo"


@pytest.mark.parametrize(("kind", "shown"), [("text/plain; a=b", "text/plain"), (None, "no Cont")])
def test_the_message_names_the_type_that_came(kind: str | None, shown: str) -> None:
    for reading in (read, read_photos):
        with pytest.raises(UnsupportedMediaType, match=shown):
            reading(b"x", kind)


# --- JSON -------------------------------------------------------------------------------------

JSON_TYPE = "application/json; charset=utf-8"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def in_chunks(text: str, size: int) -> Body:
    data = text.encode()
    return Body([data[i : i + size] for i in range(0, len(data), size)])


def slashes(text: str) -> str:
    """As PHP writes them."""
    return text.replace("/", "\\/")


def escaped(text: str) -> str:
    """As .NET writes them, and worse."""
    return text.replace("+", "\\u002B").replace("/", "\\u002f").replace("=", "\\u003D")


def lines(text: str) -> str:
    """As MIME writes them."""
    return "\\r\\n".join(text[i : i + 76] for i in range(0, len(text), 76))


@given(
    data=st.one_of(st.binary(max_size=900), st.binary(min_size=2000, max_size=5000)),
    size=st.integers(1, 3000),
    head=st.sampled_from(["", "data:image/jpeg;base64,", "DATA:;Base64,"]),
    write=st.sampled_from([str, slashes, escaped, lines]),
)
def test_json_arrives_however_it_is_cut(data: bytes, size: int, head: str, write: Any) -> None:
    text = f' {{"faces" : "largest",\n"image":"{write(head + b64(data))}", "landmarks":true}} '
    received = read_all(in_chunks(text, size), JSON_TYPE, 5000)
    assert received == Received([data], {"faces": "largest", "landmarks": True}, texts=False)


@given(photos=st.lists(st.binary(max_size=1000), min_size=2, max_size=3), size=st.integers(1, 999))
def test_an_album_arrives_as_json(photos: list[bytes], size: int) -> None:
    text = json.dumps({"images": [b64(photo) for photo in photos], "outliers": "drop"})
    assert read_photos(in_chunks(text, size), JSON_TYPE) == photos


def test_the_limits_hold_in_json() -> None:
    def text(count: int) -> bytes:
        return json.dumps({"image": b64(bytes(count))}).encode()

    assert len(read(text(1000), JSON_TYPE)) == 1000  # type: ignore[arg-type]
    with pytest.raises(PhotoTooLarge):
        read(text(1001), JSON_TYPE)
    with pytest.raises(PhotoTooLarge):
        read(text(20_000_000), JSON_TYPE, content_length="27000000")
    endless = Body([b'{"image": "', *[b"A" * 100] * 10_000])
    with pytest.raises(PhotoTooLarge):
        read(endless, JSON_TYPE)
    assert endless.taken < 2600
    spaces = Body([b"{", *[b" " * 1000] * 10_000])
    with pytest.raises((MalformedRequest, PhotoTooLarge)):
        read(spaces, JSON_TYPE)
    assert spaces.taken < 20_000
    album = {"images": [b64(b"a"), b64(bytes(1001)), b64(bytes(1000))]}
    photos = read_photos(json.dumps(album).encode(), JSON_TYPE)
    assert (photos[0], photos[2]) == (b"a", bytes(1000))
    assert isinstance(photos[1], PhotoTooLarge)
    with pytest.raises(PhotoTooLarge, match="album"):
        read_photos(json.dumps({"images": [b64(bytes(990))] * 4}).encode(), JSON_TYPE)
    with pytest.raises(InvalidParameter, match="at most 4"):
        read_photos(json.dumps({"images": ["AAAA"] * 5}).encode(), JSON_TYPE)


def test_a_photo_in_json_is_held_once() -> None:
    data = bytes(range(256)) * 40_000
    body = json.dumps({"image": b64(data)}).encode()
    chunks = (body[i : i + 65_536] for i in range(0, len(body), 65_536))

    async def peak() -> int:
        tracemalloc.start()
        asked = request(Body(chunks), JSON_TYPE)
        received = await read_photo(asked, ReconstructOptions, 20_000_000, timeout=30)
        assert received.photos == [data]
        return tracemalloc.get_traced_memory()[1]

    try:
        assert asyncio.run(peak()) < 2.3 * len(data)  # growing, and the result
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", MalformedRequest, "JSON object"),
        ("[]", MalformedRequest, "JSON object"),
        ('"x"', MalformedRequest, "JSON object"),
        ('{"image": "AAAA"', MalformedRequest, "JSON object"),
        ('{"image": "AAAA', MalformedRequest, "JSON object"),
        ('{"image": "AAAA\\', MalformedRequest, "JSON object"),
        ('{"image": "' + "AAAA" * 500 + '\n"}', MalformedRequest, "JSON object"),
        ('{"image": "' + "AAAA" * 500 + '\\x"}', MalformedRequest, "JSON object"),
        ('{"image": "AAAA\\x"}', MalformedRequest, "JSON object"),
        ('{"image": "AAAA\n"}', MalformedRequest, "JSON object"),
        ('{"image": "AAAA",}', MalformedRequest, "JSON object"),
        ("{'image': 'AAAA'}", MalformedRequest, "JSON object"),
        ('{"image": "AAAA", "image": "AAAA"}', MalformedRequest, "once"),
        ('{"image": "AAAA"} {}', MalformedRequest, "JSON object"),
        ('{"image": "AAAA", "min": NaN}', MalformedRequest, "JSON object"),
        ('{"image": ' + "[" * 5000 + "]" * 5000 + "}", MalformedRequest, "JSON object"),
        ("{" + '"a' * 5000, MalformedRequest, "JSON"),
        ('{"' + "A" * 2000 + '": 1}', MalformedRequest, "JSON object"),
        ("{}", InvalidParameter, "no `image`"),
        ('{"images": ["AAAA"]}', InvalidParameter, "no `image`"),
        ('{"image": null}', InvalidParameter, "image must be text"),
        ('{"image": ["AAAA"]}', InvalidParameter, "image must be text"),
        ('{"image": "AAA"}', InvalidParameter, "image is not base64"),
        ('{"image": "AA=A"}', InvalidParameter, "image is not base64"),
        ('{"image": "AAAA====AAAA"}', InvalidParameter, "image is not base64"),
        ('{"image": "' + "AAA=" * 600 + '"}', InvalidParameter, "image is not base64"),
        ('{"image": "' + "ü" * 900 + '"}', InvalidParameter, "image is not base64"),
        ('{"image": "\\ud800"}', InvalidParameter, "image is not base64"),
        ('{"image": "photo.jpg"}', InvalidParameter, "image is not base64"),
        ('{"image": "https://example.org/a.jpg"}', InvalidParameter, "URLs are never fetched"),
        ('{"image": "file:///etc/passwd"}', InvalidParameter, "URLs are never fetched"),
        ('{"image": "http://a/' + "b" * 2000 + '"}', InvalidParameter, "URLs are never fetched"),
        ('{"image": "data:image/png,AAAA"}', InvalidParameter, "image is not base64"),
    ],
)
@pytest.mark.parametrize("size", [3, 100_000])
def test_json_that_cannot_be_taken(
    text: str, error: type[FacewrightError], message: str, size: int
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        read(in_chunks(text, size), JSON_TYPE, 10_000)


@pytest.mark.parametrize(
    ("images", "message"),
    [("AAAA", "must be a list"), ([], "2 photos"), (["AAAA"], "2 photos"),
     (["AAAA", "x"], "images[1] is not base64"), (["AAAA", 3], "images[1] must be text")],
)  # fmt: skip
def test_json_that_is_no_album(images: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=re.escape(message)):
        read_photos(json.dumps({"images": images}).encode(), JSON_TYPE)


@given(st.text(alphabet='{}[]",:\\u0a image', max_size=60), st.integers(1, 60))
def test_json_is_read_as_the_standard_library_does_or_refused(text: str, size: int) -> None:
    body = '{"image": "AAAA", "faces": ' + text + "}"
    try:
        expected = json.loads(body)
    except ValueError:
        expected = None
    try:
        received = read_all(in_chunks(body, size), JSON_TYPE)
    except BadRequest:
        return
    assert expected == {"image": "AAAA", **received.options}


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
        (["landmark", "images", "images"], InvalidParameter),
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
