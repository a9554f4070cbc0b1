"""Receiving photos over HTTP: streamed, limited, and only ever in memory.

Photos are biometric data.  The usual form parsers spool uploads to temporary files; this
one keeps the bytes in memory and stops at the limit, before the rest has arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from facewright.service.api.json_body import JsonBody
from facewright.service.api.parameters import invalid, merge_texts
from facewright.service.errors import (
    FacewrightError,
    InvalidParameter,
    MalformedRequest,
    PhotoTooLarge,
    UnsupportedMediaType,
    UploadTimeout,
)
from facewright.service.formats.media_types import JSON

FORM = "multipart/form-data"
PHOTO_TYPES = ("image/jpeg", "image/png", "image/webp", "image/heic", "image/heif", "image/avif")
RAW_TYPES = (*PHOTO_TYPES, "application/octet-stream")
PHOTO_PART = "image"
ALBUM_PART = "images"

Upload = bytes | PhotoTooLarge
"""A photo of an album, or what is wrong with it before anybody looks inside."""

Result = TypeVar("Result")

_FRAMING_BYTES = 16_384
"""Room for a form's boundaries, part headers and options beside each photo itself."""
_OPTION_BYTES = 1000
_NAME_SHOWN = 64


@dataclass(frozen=True)
class Received:
    """What a body held."""

    photos: list[Upload]
    options: dict[str, Any]
    texts: bool = True
    """Whether the values of `options` are texts, as a query's; else they are JSON's."""


@dataclass(frozen=True)
class _Limits:
    part: str
    """Name of the photos' parts, or of what holds them in JSON."""
    photos: int
    photo_bytes: int
    bytes: int

    @property
    def single(self) -> bool:
        return self.photos == 1

    def too_large(self) -> PhotoTooLarge:
        what = "photo" if self.single else "album"
        return PhotoTooLarge(f"The {what} has more than {self.bytes} bytes.")

    def photo_too_large(self) -> PhotoTooLarge:
        return PhotoTooLarge(f"The photo has more than {self.photo_bytes} bytes.")


async def read_photo(
    request: Request, options: type[BaseModel], max_bytes: int, timeout: float
) -> Received:
    """Return the photo that `request` carries, and the options in its body.

    The body is a form with a part named `image`, the photo's bytes alone, or a JSON object with
    the photo as `image` in base64 or a data URI.

    Args:
        request: its body must not have been read yet.
        options: what a form or JSON may hold besides.
        max_bytes: largest photo.
        timeout: seconds for the whole body to arrive.

    Raises:
        PhotoTooLarge: as soon as the length is announced, or when the limit is passed.
        UnsupportedMediaType: a body of another content type, or an encoded one.
        MalformedRequest: not a well-formed form or JSON, or the body ended early.
        InvalidParameter: there is no `image`, more than one, or parts of other names.
        UploadTimeout: the body did not arrive in time.
    """
    limits = _Limits(PHOTO_PART, 1, max_bytes, max_bytes)
    _check_encoding(request)
    content_type, _ = parse_options_header(request.headers.get("content-type"))
    if content_type.decode("latin-1") in RAW_TYPES:
        _check_length(request, max_bytes, limits)
        photo = await _arrive(_read_raw(request.stream(), limits), timeout, "photo")
        return Received([photo], {})
    received = await _read(request, options, limits, timeout)
    if received is None:
        raise UnsupportedMediaType(
            f"Send the photo as part `{PHOTO_PART}` of a {FORM} body, as base64 in {JSON}, or "
            f"alone as {', '.join(RAW_TYPES)}; {_what_came(content_type)}."
        )
    return received


async def read_album(
    request: Request,
    options: type[BaseModel],
    *,
    max_photos: int,
    max_bytes: int,
    max_photo_bytes: int,
    timeout: float,
) -> Received:
    """Return the photos that `request` carries, and the options in its body.

    The body is a form with parts named `images`, or a JSON object with a list `images`.

    Args:
        request: its body must not have been read yet.
        options: what the body may hold besides.
        max_photos: most photos.
        max_bytes: of the whole album.
        max_photo_bytes: of one photo.  A larger one is not kept: a `PhotoTooLarge` is in its
            place.
        timeout: seconds for the whole body to arrive.

    Raises:
        PhotoTooLarge: the album as a whole is too large; as soon as its length is announced, or
            when the limit is passed.
        UnsupportedMediaType: the body is neither a form nor JSON, or encoded.
        MalformedRequest: not a well-formed form or JSON, or the body ended early.
        InvalidParameter: parts of other names, too many photos, or fewer than 2.
        UploadTimeout: the body did not arrive in time.
    """
    _check_encoding(request)
    received = await _read(
        request, options, _Limits(ALBUM_PART, max_photos, max_photo_bytes, max_bytes), timeout
    )
    if received is None:
        content_type, _ = parse_options_header(request.headers.get("content-type"))
        raise UnsupportedMediaType(
            f"Send the photos as parts `{ALBUM_PART}` of a {FORM} body, or as base64 in {JSON}; "
            f"{_what_came(content_type)}."
        )
    if len(received.photos) < 2:
        raise InvalidParameter(
            "An album has at least 2 photos; for one photo there is /v1/reconstruct."
        )
    return received


def _check_encoding(request: Request) -> None:
    encodings = ", ".join(request.headers.getlist("content-encoding"))
    if encodings.strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType(
            f"The body has the Content-Encoding {_shown(encodings)}; send it without."
        )


def _check_length(request: Request, limit: int, limits: _Limits) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise limits.too_large()


def _what_came(content_type: bytes) -> str:
    return (
        f"the body is {_shown(content_type.decode('latin-1'))}"
        if content_type
        else ("the request has no Content-Type")
    )


def _shown(text: str) -> str:
    """What a client sent, to be repeated in a message: short, and without control characters."""
    cut = text if len(text) <= _NAME_SHOWN else text[:_NAME_SHOWN] + "…"
    return "".join(c if c.isprintable() else "�" for c in cut)


async def _read(
    request: Request, options: type[BaseModel], limits: _Limits, timeout: float
) -> Received | None:
    """A form or JSON; None for other content types."""
    content_type, parameters = parse_options_header(request.headers.get("content-type"))
    framing = limits.photos * _FRAMING_BYTES
    what = "photo" if limits.single else "album"
    if content_type == FORM.encode():
        most = limits.bytes + framing
        _check_length(request, most, limits)
        parts = _PhotoParts(limits, options)
        await _arrive(_read_form(request.stream(), parameters, parts, most), timeout, what)
        return parts.received()
    if content_type == JSON.encode():
        # Four characters for three bytes, and some of them escaped.
        most = limits.bytes * 3 // 2 + framing
        _check_length(request, most, limits)
        body = JsonBody(limits.photo_bytes, framing)
        await _arrive(_read_json(request.stream(), body, limits, most), timeout, what)
        return _photos_of(body, limits)
    return None


async def _arrive(reading: Awaitable[Result], timeout: float, what: str) -> Result:
    try:
        return await asyncio.wait_for(reading, timeout)
    except asyncio.TimeoutError:
        raise UploadTimeout(f"The {what} did not arrive within {timeout:g} seconds.") from None
    except ClientDisconnect:
        raise MalformedRequest("The body ended early.") from None


async def _limited(
    chunks: AsyncIterator[bytes], most: int, limits: _Limits
) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > most:
            raise limits.too_large()
        yield chunk


async def _read_raw(chunks: AsyncIterator[bytes], limits: _Limits) -> bytes:
    photo = bytearray()
    async for chunk in _limited(chunks, limits.bytes, limits):
        photo += chunk
    return bytes(photo)


async def _read_json(
    chunks: AsyncIterator[bytes], body: JsonBody, limits: _Limits, most: int
) -> None:
    async for chunk in _limited(chunks, most, limits):
        body.feed(chunk)
        if limits.single and body.too_large:
            raise limits.too_large()


def _photos_of(body: JsonBody, limits: _Limits) -> Received:
    """The photos of a complete JSON body; what else is in it are options."""
    document = body.finish()
    if limits.part not in document:
        raise InvalidParameter(f"The JSON has no `{limits.part}`.")
    held = document.pop(limits.part)
    if not limits.single and not isinstance(held, list):
        raise invalid([(limits.part, "must be a list of photos in base64")])
    values = [held] if limits.single else held
    if len(values) > limits.photos:
        raise invalid([(limits.part, f"may have at most {limits.photos} photos")])
    photos: list[Upload] = []
    total = 0
    for index, value in enumerate(values):
        photo = body.photo(value)
        if photo.problem is not None:
            name = limits.part if limits.single else f"{limits.part}[{index}]"
            raise invalid([(name, photo.problem)])
        total += len(photo.data)
        if total > limits.bytes or (limits.single and photo.too_large):
            raise limits.too_large()
        photos.append(limits.photo_too_large() if photo.too_large else bytes(photo.data))
    return Received(photos, document, texts=False)


async def _read_form(
    chunks: AsyncIterator[bytes], parameters: dict[bytes, bytes], parts: _PhotoParts, most: int
) -> None:
    """Read a form of at most `most` bytes into `parts`."""
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise MalformedRequest("The form's content type names no boundary.")
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.header_name,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_headers_finished": parts.headers_finished,
                "on_part_data": parts.data,
                "on_part_end": parts.part_end,
                "on_end": parts.end,
            },
        )
        limited = _limited(chunks, most, parts.limits)
        async for chunk in _without_preamble(limited, b"--" + boundary):
            if chunk:
                parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise _malformed_form() from None


async def _without_preamble(chunks: AsyncIterator[bytes], delimiter: bytes) -> AsyncIterator[bytes]:
    """The form from its first delimiter on: lines before it mean nothing (RFC 2046, 5.1.1)."""
    preamble: bytes | None = b"\r\n"
    async for chunk in chunks:
        if preamble is None:
            yield chunk
            continue
        preamble += chunk
        at = preamble.find(b"\r\n" + delimiter)
        if at >= 0:
            yield preamble[at + 2 :]
            preamble = None
        elif len(preamble) > _FRAMING_BYTES:
            break
    if preamble is not None:
        raise _malformed_form()


def _malformed_form() -> MalformedRequest:
    return MalformedRequest(f"The body is not well-formed {FORM}.")


class _PhotoParts:
    """Collects the parts of a form, photos and options, as the parser finds them.

    A photo that is too large ends a form of one photo; of an album it is left out.
    """

    def __init__(self, limits: _Limits, options: type[BaseModel]) -> None:
        self.limits = limits
        self._options = options
        self._complete = False
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._part = ""
        self._photos: list[Upload] = []
        self._texts: list[tuple[str, str]] = []
        self._body = bytearray()
        self._too_large = False

    def begin(self) -> None:
        self._disposition = b""
        self._body = bytearray()
        self._too_large = False

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def headers_finished(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        self._part = parameters.get(b"name", b"").decode("utf-8", "replace")
        if self._is_photo:
            if len(self._photos) == self.limits.photos:
                raise self._unexpected(f"The form has more than {_photos(self.limits.photos)}")
        elif self._part not in self._options.model_fields:
            named = f"named {_shown(self._part)!r}" if self._part else "without a name"
            raise self._unexpected(f"The form has a part {named}")

    def data(self, data: bytes, start: int, end: int) -> None:
        size = len(self._body) + end - start
        if not self._is_photo:
            if size > _OPTION_BYTES:
                raise invalid([(self._part, "is too long")])
        elif self._too_large or size > self.limits.photo_bytes:
            if self.limits.single:
                raise self.limits.too_large()
            self._too_large = True
            self._body.clear()
            return
        self._body += data[start:end]

    def part_end(self) -> None:
        if self._is_photo:
            photo = self.limits.photo_too_large() if self._too_large else bytes(self._body)
            self._photos.append(photo)
        else:
            self._texts.append((self._part, self._body.decode("utf-8", "replace")))
        self._body = bytearray()

    def end(self) -> None:
        self._complete = True

    def received(self) -> Received:
        if not self._complete:
            raise MalformedRequest("The form ended before its last boundary.")
        if not self._photos:
            raise InvalidParameter(f"The form has no part named `{self.limits.part}`.")
        return Received(self._photos, merge_texts(self._options, self._texts))

    @property
    def _is_photo(self) -> bool:
        return self._part == self.limits.part

    def _unexpected(self, what: str) -> FacewrightError:
        return InvalidParameter(
            f"{what}; it may have {_photos(self.limits.photos)} named `{self.limits.part}`, and "
            f"the options {', '.join(self._options.model_fields)}."
        )


def _photos(most: int) -> str:
    return "one part" if most == 1 else f"{most} parts"
