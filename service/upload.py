"""Receiving a photo over HTTP: streamed, limited, and only ever in memory.

Photos are biometric data.  The usual form parsers spool uploads to temporary files; this
one keeps the bytes in memory and stops at the limit, before the rest has arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from service.errors import (
    FacewrightError,
    InvalidParameter,
    MalformedRequest,
    PhotoTooLarge,
    UnsupportedMediaType,
    UploadTimeout,
)

FORM = "multipart/form-data"
RAW_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
PHOTO_PART = b"image"

_FRAMING_BYTES = 16_384
"""Room for a form's boundaries and part headers beside the photo itself."""


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
        reading = _read_form(request.stream(), options.get(b"boundary", b""), max_bytes)
    else:
        reading = _read_raw(request.stream(), max_bytes)
    try:
        return await asyncio.wait_for(reading, timeout)
    except asyncio.TimeoutError:
        raise UploadTimeout(f"The photo did not arrive within {timeout:g} seconds.") from None
    except ClientDisconnect:
        raise MalformedRequest("The body ended early.") from None


def _too_large(max_bytes: int) -> FacewrightError:
    return PhotoTooLarge(f"The photo has more than {max_bytes} bytes.")


async def _read_raw(chunks: AsyncIterator[bytes], max_bytes: int) -> bytes:
    photo = bytearray()
    async for chunk in chunks:
        photo += chunk
        if len(photo) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(photo)


async def _read_form(chunks: AsyncIterator[bytes], boundary: bytes, max_bytes: int) -> bytes:
    if not boundary:
        raise MalformedRequest("The form's content type names no boundary.")
    part = _PhotoPart(max_bytes)
    received = 0
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": part.begin,
                "on_header_field": part.header_name,
                "on_header_value": part.header_value,
                "on_header_end": part.header_end,
                "on_headers_finished": part.headers_finished,
                "on_part_data": part.data,
                "on_end": part.end,
            },
        )
        async for chunk in chunks:
            received += len(chunk)
            if received > max_bytes + _FRAMING_BYTES:
                raise _too_large(max_bytes)
            if chunk:
                parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise MalformedRequest("The body is not well-formed multipart/form-data.") from None
    return part.photo()


class _PhotoPart:
    """Collects the one part of the form that may be there, as the parser finds it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts = 0
        self._complete = False
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._photo = bytearray()

    def begin(self) -> None:
        self._parts += 1
        self._disposition = b""
        if self._parts > 1:
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
        if options.get(b"name") != PHOTO_PART:
            raise self._unexpected()

    def data(self, data: bytes, start: int, end: int) -> None:
        if len(self._photo) + end - start > self._max_bytes:
            raise _too_large(self._max_bytes)
        self._photo += data[start:end]

    def end(self) -> None:
        self._complete = True

    def photo(self) -> bytes:
        if not self._complete:
            raise MalformedRequest("The form ended before its last boundary.")
        if not self._parts:
            raise InvalidParameter("The form has no part named `image`.")
        return bytes(self._photo)

    @staticmethod
    def _unexpected() -> FacewrightError:
        return InvalidParameter(
            "The form may have one part only, named `image`; options go into the query string."
        )
