"""Content negotiation against the rules and examples of RFC 9110, section 12.5.1."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewright.service.api.negotiation import choose_media_type
from facewright.service.errors import MalformedRequest, NotAcceptable

OFFERS = ("application/json", "model/gltf-binary", "model/obj", "image/jpeg", "image/png")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("model/obj", "model/obj"),
        ("MODEL/OBJ", "model/obj"),
        ("model/*", "model/gltf-binary"),
        ("image/*", "image/jpeg"),
        ("image/png", "image/png"),
        ("text/html, model/obj;q=0.5", "model/obj"),
        ("model/obj;q=0.5, image/png;q=0.6", "image/png"),
        ("model/obj; q=0.5 , image/png ; q=0.4", "model/obj"),
        ("image/*;q=0.8, image/jpeg;q=0.1", "image/png"),
        ("*/*, application/json;q=0", "model/gltf-binary"),
        ("*/*;q=0.1, image/png", "image/png"),
        ("image/png;q=1.000, image/jpeg;q=0.999", "image/png"),
        ("image/jpeg;level=1, image/png;q=0.3", "image/jpeg"),
        ("application/problem+json, model/gltf-binary", "model/gltf-binary"),
        # What a browser sends when it opens a page.
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            "application/json",
        ),
        # What Java sends when nobody says anything.
        ("text/html, image/gif, *; q=.2, */*; q=.2", "application/json"),
        (",, model/obj,", "model/obj"),
        (", ,", "application/json"),
        ("model/obj;", "model/obj"),
        ('text/html;a="b,c;d\\"", model/obj;q=0.5', "model/obj"),
    ],
)
def test_choice(accept: str, chosen: str) -> None:
    assert choose_media_type(accept, OFFERS) == chosen


@pytest.mark.parametrize(
    "accept",
    ["text/html", "image/webp, text/*;q=0.4", "*/*;q=0", "*/obj", "image/png;q=0, text/css"],
)
def test_nothing_acceptable_names_what_is_possible(accept: str) -> None:
    with pytest.raises(NotAcceptable) as refusal:
        choose_media_type(accept, OFFERS)
    assert "model/gltf-binary" in refusal.value.detail


@pytest.mark.parametrize(
    "accept",
    [
        "rubbish",
        "model/obj;q=2",
        "model/obj;q=nan",
        "model/obj;q=",
        "model/obj;q",
        ";;,,/",
        "a/b/c",
        "model obj",
        'model/obj;a="b',
        "/obj",
    ],
)
def test_what_cannot_be_parsed_is_said(accept: str) -> None:
    with pytest.raises(MalformedRequest, match="Accept"):
        choose_media_type(accept, OFFERS)


@pytest.mark.parametrize("part", ["; ", ";" + " " * 50, ";a ", ';a="', "a/b;", '"', "\\", ","])
def test_no_header_takes_long(part: str) -> None:
    start = time.thread_time()
    with contextlib.suppress(NotAcceptable, MalformedRequest):
        choose_media_type("a/b" + part * (65_536 // len(part)) + "\0", OFFERS)
    assert time.thread_time() - start < 0.5


@given(
    qualities=st.lists(
        st.integers(0, 1000).map(lambda q: q / 1000), min_size=len(OFFERS), max_size=len(OFFERS)
    ),
    order=st.permutations(range(len(OFFERS))),
)
def test_the_best_quality_wins_whatever_the_order(qualities: list[float], order: list[int]) -> None:
    header = ", ".join(f"{OFFERS[i]};q={qualities[i]:.3f}" for i in order)
    if max(qualities) == 0:
        with pytest.raises(NotAcceptable):
            choose_media_type(header, OFFERS)
    else:
        assert choose_media_type(header, OFFERS) == OFFERS[qualities.index(max(qualities))]


@given(st.text(max_size=60))
def test_any_header_gives_an_offer_or_a_refusal(header: str) -> None:
    with contextlib.suppress(NotAcceptable, MalformedRequest):
        assert choose_media_type(header, OFFERS) in OFFERS
