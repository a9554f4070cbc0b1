"""Choosing the form of an answer from the `Accept` header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facewright.service.errors import NotAcceptable


@dataclass(frozen=True)
class _Range:
    """One media range with its quality; parameters other than `q` make no difference here."""

    type: str
    subtype: str
    quality: float

    def specificity(self, media_type: str) -> int:
        """How closely it names `media_type`: 2 exact, 1 `type/*`, 0 `*/*`, -1 not at all."""
        type_, _, subtype = media_type.partition("/")
        if self.type == "*":
            return 0 if self.subtype == "*" else -1
        if self.type != type_:
            return -1
        if self.subtype == "*":
            return 1
        return 2 if self.subtype == subtype else -1


def choose_media_type(accept: str, offers: Sequence[str]) -> str:
    """Return the media type of `offers` that the header `accept` prefers.

    The range that names an offer most closely sets its quality.  Of equal qualities the
    earlier offer wins, so offers go from the default to the least usual.  An empty header, or
    one in which nothing is well formed, accepts everything.

    Raises:
        NotAcceptable: every offer is excluded.
    """
    ranges = _parse(accept)
    if not ranges:
        return offers[0]
    best, best_quality = "", 0.0
    for offer in offers:
        quality = _quality(offer, ranges)
        if quality > best_quality:
            best, best_quality = offer, quality
    if not best:
        raise NotAcceptable(f"Possible forms of the answer: {', '.join(offers)}.")
    return best


def _quality(offer: str, ranges: Sequence[_Range]) -> float:
    closest, quality = -1, 0.0
    for candidate in ranges:
        specificity = candidate.specificity(offer)
        if specificity > closest or (specificity == closest >= 0 and candidate.quality > quality):
            closest, quality = specificity, candidate.quality
    return quality


def _parse(accept: str) -> list[_Range]:
    ranges = []
    for element in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in element.split(";"))
        type_, slash, subtype = media_range.partition("/")
        quality = _parse_quality(parameters)
        if slash and type_ and subtype and quality is not None:
            ranges.append(_Range(type_, subtype, quality))
    return ranges


def _parse_quality(parameters: Sequence[str]) -> float | None:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
            return quality if 0 <= quality <= 1 else None
    return 1.0
