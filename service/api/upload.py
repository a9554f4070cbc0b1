"""Receiving photos over HTTP: streamed, limited, and only ever in memory.

Photos are biometric data.  The usual form parsers spool uploads to temporary files; this
one keeps the bytes in memory and stops at the limit, before the rest has arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from facewright.service.errors import (
    FacewrightError,
    InvalidParameter,
    MalformedRequest,
    PhotoTooLarge,
    UnsupportedMediaType,
    UploadTimeout,
)

FORM = "multipart/form-data"
PHOTO_TYPES = ("image/jpeg", "image/png", "image/webp")
RAW_TYPES = (*PHOTO_TYPES, "application/octet-stream")
PHOTO_PART = "image"
ALBUM_PART = "images"

Upload = bytes | PhotoTooLarge
"""A photo of an album, or what is wrong with it before anybody looks inside."""

Result = TypeVar("Result")

_FRAMING_BYTES = 16_384
"""Room for a form's boundaries and part headers beside each photo itself."""


async def read_photo(request: Request, max_bytes: int, timeout: float) -> bytes:
    """Return the photo that `request` carries.

    The body is either a form with one part named `image`, or the photo's bytes alone.

    Args:
        request: its body must not have been read yet.
        max_bytes: largest photo.
        timeout: seconds for the whole body to arrive.

    Raises:
        PhotoTooLarge: as soon as the length is announced, or when the limit is passed.
        UnsupportedMediaType: a body of another content type.
        MalformedRequest: not a well-formed form, or the body ended early.
        InvalidParameter: the form has no part `image`, or parts other than that one.
        UploadTimeout: the body did not arrive in time.
    """
    content_type, options = parse_options_header(request.headers.get("content-type"))
    is_form = content_type == FORM.encode()
    if not is_form and content_type.decode("latin-1") not in RAW_TYPES:
        raise UnsupportedMediaType(
            f"Send the photo as part `image` of a {FORM} body, or alone as {', '.join(RAW_TYPES)}."
        )
    limit = max_bytes + (_FRAMING_BYTES if is_form else 0)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(max_bytes)

    if is_form:
        parts = _PhotoParts(PHOTO_PART, 1, max_bytes)
        await _arrive(_read_form(request.stream(), options, parts, limit), timeout, "photo")
        (photo,) = parts.photos()
        assert isinstance(photo, bytes)  # a single one that is too large has been refused
        return photo
    return await _arrive(_read_raw(request.stream(), max_bytes), timeout, "photo")


async def read_album(
    request: Request, *, max_photos: int, max_bytes: int, max_photo_bytes: int, timeout: float
) -> list[Upload]:
    """Return the photos of the form that `request` carries, in its parts named `images`.

    Args:
        request: its body must not have been read yet.
        max_photos: most parts.
        max_bytes: of the whole album.
        max_photo_bytes: of one photo.  A larger one is not kept: a `PhotoTooLarge` is in its
            place.
        timeout: seconds for the whole body to arrive.

    Raises:
        PhotoTooLarge: the album as a whole is too large; as soon as its length is announced, or
            when the limit is passed.
        UnsupportedMediaType: the body is no form.
        MalformedRequest: not a well-formed form, or the body ended early.
        InvalidParameter: other parts than `images`, too many of them, or fewer than 2.
        UploadTimeout: the body did not arrive in time.
    """
    content_type, options = parse_options_header(request.headers.get("content-type"))
    if content_type != FORM.encode():
        raise UnsupportedMediaType(f"Send the photos as parts `{ALBUM_PART}` of a {FORM} body.")
    limit = max_bytes + max_photos * _FRAMING_BYTES
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _album_too_large(max_bytes)
    parts = _PhotoParts(ALBUM_PART, max_photos, max_photo_bytes)
    try:
        await _arrive(_read_form(request.stream(), options, parts, limit), timeout, "album")
    except PhotoTooLarge:
        raise _album_too_large(max_bytes) from None
    photos = parts.photos()
    if len(photos) < 2:
        raise InvalidParameter(
            "An album has at least 2 photos; for one photo there is /v1/reconstruct."
        )
    return photos


async def _arrive(reading: Awaitable[Result], timeout: float, what: str) -> Result:
    try:
        return await asyncio.wait_for(reading, timeout)
    except asyncio.TimeoutError:
        raise UploadTimeout(f"The {what} did not arrive within {timeout:g} seconds.") from None
    except ClientDisconnect:
        raise MalformedRequest("The body ended early.") from None


def _too_large(max_bytes: int) -> PhotoTooLarge:
    return PhotoTooLarge(f"The photo has more than {max_bytes} bytes.")


def _album_too_large(max_bytes: int) -> PhotoTooLarge:
    return PhotoTooLarge(f"The album has more than {max_bytes} bytes.")


async def _read_raw(chunks: AsyncIterator[bytes], max_bytes: int) -> bytes:
    photo = bytearray()
    async for chunk in chunks:
        photo += chunk
        if len(photo) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(photo)


async def _read_form(
    chunks: AsyncIterator[bytes], options: dict[bytes, bytes], parts: _PhotoParts, limit: int
) -> None:
    """Read a form of at most `limit` bytes into `parts`."""
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise MalformedRequest("The form's content type names no boundary.")
    received = 0
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
        async for chunk in chunks:
            received += len(chunk)
            if received > limit:
                raise _too_large(parts.max_bytes)
            if chunk:
                parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise MalformedRequest("The body is not well-formed multipart/form-data.") from None


class _PhotoParts:
    """Collects the parts of a form, which must all have one name, as the parser finds them.

    A part of more than `max_bytes` ends a form of one part; of an album it is left out.
    """

    def __init__(self, name: str, most: int, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._part_name = name
        self._most = most
        self._complete = False
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._photos: list[Upload] = []
        self._photo = bytearray()
        self._too_large = False

    def begin(self) -> None:
        self._disposition = b""
        self._photo = bytearray()
        self._too_large = False
        if len(self._photos) == self._most:
            raise self._unexpected()

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
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != self._part_name.encode():
            raise self._unexpected()

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._too_large or len(self._photo) + end - start > self.max_bytes:
            if self._most == 1:
                raise _too_large(self.max_bytes)
            self._too_large = True
            self._photo.clear()
        else:
            self._photo += data[start:end]

    def part_end(self) -> None:
        self._photos.append(_too_large(self.max_bytes) if self._too_large else bytes(self._photo))
        self._photo = bytearray()

    def end(self) -> None:
        self._complete = True

    def photos(self) -> list[Upload]:
        if not self._complete:
            raise MalformedRequest("The form ended before its last boundary.")
        if not self._photos:
            raise InvalidParameter(f"The form has no part named `{self._part_name}`.")
        return self._photos

    def _unexpected(self) -> FacewrightError:
        count = "one part only" if self._most == 1 else f"at most {self._most} parts"
        return InvalidParameter(
            f"The form may have {count}, named `{self._part_name}`; options go into the query "
            "string."
        )
