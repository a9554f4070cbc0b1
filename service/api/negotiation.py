"""Choosing the form of an answer from the `Accept` header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from facewright.service.errors import MalformedRequest, NotAcceptable

# One way only to read any text, so that no header takes long.
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[^",;]+|[,;"]', re.DOTALL)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_RANGE = re.compile(rf"{_TOKEN}/{_TOKEN}")
_PARAMETER = re.compile(rf"({_TOKEN})\s*(?:=\s*({_TOKEN}|\".*\"))?", re.DOTALL)
_QUALITY = re.compile(r"\.[0-9]+|0(?:\.[0-9]*)?|1(?:\.0*)?")


def choose_media_type(accept: str, offers: Sequence[str]) -> str:
    """Return the media type of `offers` that the header `accept` prefers.

    The range that names an offer most closely sets its quality.  Of equal qualities the
    earlier offer wins, so offers go from the default to the least usual.  An empty header accepts
    everything.

    Raises:
        MalformedRequest: the header cannot be parsed.
        NotAcceptable: every offer is excluded.
    """
    qualities = _qualities(accept)
    if not qualities:
        return offers[0]

    def quality(offer: str) -> float:
        closest_first = (offer, f"{offer.partition('/')[0]}/*", "*/*")
        return next((qualities[name] for name in closest_first if name in qualities), 0.0)

    best = max(offers, key=quality)
    if not quality(best):
        raise NotAcceptable(f"Possible forms of the answer: {', '.join(offers)}.")
    return best


def _qualities(accept: str) -> dict[str, float]:
    """The media ranges with their qualities; other parameters make no difference here."""
    qualities: dict[str, float] = {}
    for media_range, *parameters in _elements(accept):
        if not media_range and not any(parameters):
            continue  # empty elements are legal
        if media_range == "*":  # old clients write that
            media_range = "*/*"
        if not _MEDIA_RANGE.fullmatch(media_range):
            raise _malformed()
        name = media_range.lower()
        qualities[name] = max(_quality_of(parameters), qualities.get(name, 0.0))
    return qualities


def _elements(accept: str) -> Iterator[list[str]]:
    """The elements of a list, each with its parts; quotes protect commas and semicolons."""
    parts = [""]
    for piece in _PIECE.findall(accept):
        if piece == ",":
            yield [part.strip() for part in parts]
            parts = [""]
        elif piece == ";":
            parts.append("")
        else:
            parts[-1] += piece
    yield [part.strip() for part in parts]


def _quality_of(parameters: Sequence[str]) -> float:
    quality = 1.0
    for parameter in filter(None, parameters):
        found = _PARAMETER.fullmatch(parameter)
        if found is None:
            raise _malformed()
        if found[1].lower() == "q":
            if found[2] is None or not _QUALITY.fullmatch(found[2]):
                raise _malformed()
            quality = float(found[2])
    return quality


def _malformed() -> MalformedRequest:
    return MalformedRequest("The header Accept cannot be parsed: media types separated by commas.")
