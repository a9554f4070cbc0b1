"""Photos inside JSON, decoded while the body arrives.

A photo in base64 would be in memory three times: as the body, as text, and decoded.  Here the
body is cut at its strings.  Long ones are decoded piece by piece; what is left of the body is
short, and the standard library parses it.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import Any, NoReturn

from facewright.service.errors import MalformedRequest

_LONG = 1024
"""Bytes from which on a string is taken for a photo."""
_SPLIT_ESCAPE = 6
"""Bytes of the longest escape, `\\uXXXX`."""
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_DATA_URI = re.compile(rb"data:[^,]*;base64,", re.IGNORECASE)
_URL = re.compile(rb"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Base64Photo:
    """A photo from base64 or a data URI that comes in pieces.

    Bytes beyond `max_bytes` are counted and not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.data = bytearray()
        self.too_large = False
        self.problem: str | None = None
        """What is wrong with the text, if anything."""
        self._max_bytes = max_bytes
        self._pending = b""
        self._begun = False
        self._padded = False

    def feed(self, text: bytes) -> None:
        """Take the next piece of the text, JSON's escapes resolved."""
        if self.problem is not None:
            return
        self._pending += text.translate(None, b" \t\r\n")
        if not self._begun:
            if len(self._pending) < _LONG // 2:
                return  # until there is enough to see what it is
            self._begin()
        self._decode(len(self._pending) - len(self._pending) % 4)

    def finish(self) -> Base64Photo:
        """The text is complete."""
        if self.problem is None and not self._begun:
            self._begin()
        if self.problem is None:
            self._decode(len(self._pending))
        return self

    def _begin(self) -> None:
        self._begun = True
        if _URL.match(self._pending):
            self.problem = "is a URL; URLs are never fetched: send the photo itself in base64"
        elif found := _DATA_URI.match(self._pending):
            self._pending = self._pending[found.end() :]

    def _decode(self, length: int) -> None:
        if self.problem is not None:
            return
        block, self._pending = self._pending[:length], self._pending[length:]
        if length % 4 or not _BASE64.fullmatch(block) or (self._padded and block):
            self.problem = "is not base64"
            return
        self._padded = block.endswith(b"=") or self._padded
        if not self.too_large:
            self.data += binascii.a2b_base64(block)
            if len(self.data) > self._max_bytes:
                self.too_large = True
                self.data.clear()


class JsonBody:
    """A JSON object with photos in it, as it arrives.

    Args:
        max_photo_bytes: of one photo, decoded.
        max_plain_bytes: of everything but the long strings.
    """

    def __init__(self, max_photo_bytes: int, max_plain_bytes: int) -> None:
        self._max_photo_bytes = max_photo_bytes
        self._max_plain_bytes = max_plain_bytes
        self._plain_bytes = 0
        self._outline = bytearray()
        """The body, with the number of a string in place of each."""
        self._strings: list[str | Base64Photo] = []
        self._rest = b""
        self._string: bytearray | None = None
        """What is not decoded of the string that is open."""
        self._photo: Base64Photo | None = None
        """The string that is open, if it is long."""

    @property
    def too_large(self) -> bool:
        """Whether the photo that arrives is too large already."""
        return self._photo is not None and self._photo.too_large

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the body. Raises `MalformedRequest`."""
        body, at = self._rest + chunk, 0
        self._rest = b""
        while at < len(body):
            if self._string is None:
                quote = body.find(b'"', at)
                end = len(body) if quote < 0 else quote
                self._count(end - at)
                self._outline += body[at:end]
                if quote >= 0:
                    self._string = bytearray()
                at = end + 1
                continue
            found = _STRING.match(body, at)
            assert found is not None  # it matches nothing at least
            self._take(found[0])
            at = found.end()
            if at < len(body) and body[at] == ord("\\"):  # its escape is still to come
                self._rest = body[at:]
                return
            if at < len(body):
                self._close_string()
                at += 1

    def finish(self) -> dict[str, Any]:
        """The object; its long strings, and no others, are `Base64Photo`.

        Raises `MalformedRequest` when it is none, or names something twice.
        """
        try:
            if self._string is not None or self._rest:
                raise ValueError("a string is open")
            outline = self._outline.decode()
            document = self._resolve(
                json.loads(outline, object_pairs_hook=_Object, parse_constant=_refuse)
            )
        except (ValueError, RecursionError):
            raise malformed() from None
        if not isinstance(document, dict):
            raise malformed()
        return document

    def photo(self, value: Any) -> Base64Photo:
        """A value of the object as the photo that it is meant to be."""
        if isinstance(value, Base64Photo):
            return value
        photo = Base64Photo(self._max_photo_bytes)
        if isinstance(value, str):
            photo.feed(value.encode("utf-8", "surrogatepass"))
        else:
            photo.problem = "must be text: the photo in base64, or a data URI"
        return photo.finish()

    def _count(self, more: int) -> None:
        self._plain_bytes += more
        if self._plain_bytes > self._max_plain_bytes:
            raise MalformedRequest("The JSON has more in it than photos and options.")

    def _take(self, raw: bytes) -> None:
        assert self._string is not None
        self._string += raw
        if self._photo is None and len(self._string) <= _LONG:
            return
        if self._photo is None:
            self._photo = Base64Photo(self._max_photo_bytes)
        held = self._string.rfind(b"\\", max(0, len(self._string) - _SPLIT_ESCAPE + 1))
        whole = bytes(self._string if held < 0 else self._string[:held])
        del self._string[: len(whole)]
        self._photo.feed(_unescape_base64(whole))

    def _close_string(self) -> None:
        assert self._string is not None
        raw = bytes(self._string)
        if self._photo is None:
            self._count(len(raw) + 2)
            self._strings.append(_unescape(raw))
        else:
            self._photo.feed(_unescape_base64(raw))
            self._strings.append(self._photo.finish())
        self._outline += b'"%d"' % (len(self._strings) - 1)
        self._string = self._photo = None

    def _resolve(self, value: Any) -> Any:
        """The outline's `value` with its strings in it again."""
        if isinstance(value, str):
            return self._strings[int(value)]
        if isinstance(value, list):
            return [self._resolve(item) for item in value]
        if isinstance(value, _Object):
            resolved = {}
            for key, item in value.pairs:
                name = self._resolve(key)
                if not isinstance(name, str) or name in resolved:
                    raise ValueError("a name is a photo, or is there twice")
                resolved[name] = self._resolve(item)
            return resolved
        return value


class _Object:
    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def malformed() -> MalformedRequest:
    """What is raised for a body that is no JSON object."""
    return MalformedRequest("The body is not a well-formed JSON object with each name once.")


def _unescape(raw: bytes) -> str:
    try:
        text: str = json.loads(b'"' + raw + b'"')
    except ValueError:
        raise malformed() from None
    return text


def _unescape_base64(raw: bytes) -> bytes:
    """A piece of a long text, which may begin or end inside a character that is not ASCII."""
    if b"\\" in raw and raw.isascii():
        return _unescape(raw).encode("utf-8", "surrogatepass")
    if _CONTROL.search(raw):
        raise malformed()
    return raw


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
