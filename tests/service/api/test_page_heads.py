"""The page on the shipped models: whole heads that move."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.service.api.app import create_app
from facewright.service.errors import ModelError
from facewright.service.settings import Settings
from tests.service.api.browser import Page, find_browser
from tests.service.api.test_page import FIGURES, settle, text, view

LAUGHING = Path(__file__).parents[3] / "docs/images/portraits/2_laughing.png"
SLIDERS = (
    "Object.fromEntries([...document.querySelectorAll('#sliders input')]"
    ".map(({labels, value}) => [labels[0].innerText, Number(value)]))"
)


@pytest.fixture(scope="module")
def page(shipped_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page with the head of a laughing portrait."""
    browser = find_browser()
    if browser is None:
        pytest.skip("needs Chromium or Chrome")
    profile = tmp_path_factory.mktemp("profile")
    with Page(browser, profile) as page:
        page.emulate(1000, 900, still=True)
        page.open(shipped_server.url)
        page.choose_files("#image", [LAUGHING])
        assert settle(page) == "One face. "
        yield page


def test_heads_are_offered_for_every_face_model_that_has_one(assets: Any) -> None:
    for face_model, offered in ((asset_path(FACE_MODEL), "yes"), (assets.face_model, "no")):
        asked = Event()

        def load(*_: object, asked: Event = asked) -> Any:
            assert asked.wait(60)
            raise ModelError("The page is there before the models are.")

        with TestClient(create_app(Settings(face_model=face_model), load)) as client:
            page = client.get("/").text
            asked.set()
        assert f'data-heads="{offered}"' in page


def move(page: Page, name: str, value: int) -> None:
    page.run(
        f"(([input]) => {{ input.value = {value}; input.dispatchEvent(new Event('input')); }})"
        "([...document.querySelectorAll('#sliders input')]"
        f".filter(({{labels}}) => labels[0].innerText === {json.dumps(name)}))"
    )


def test_the_head_laughs_as_photographed_and_does_as_the_sliders_say(page: Page) -> None:
    assert page.run(FIGURES)[0].startswith("head.glb")
    assert "mesh=head" in text(page, "curl")
    photographed = page.run(SLIDERS)
    assert list(photographed) == [
        "Jaw open", "Smile", "Eyes closed", "Inner brows up", "Lips puckered", "Says “oh”",
    ]  # fmt: skip
    assert photographed["Smile"] > 30
    laughing = view(page)
    page.run("$('neutral').click()")
    assert set(page.run(SLIDERS).values()) == {0}
    neutral = view(page)
    for name in photographed:
        move(page, name, 100)
        assert np.abs(view(page).astype(int) - neutral).max() > 60, name
        move(page, name, 0)
    assert np.abs(view(page).astype(int) - neutral).max() < 8
    page.run("$('as-photo').click()")
    assert page.run(SLIDERS) == photographed
    assert np.abs(view(page).astype(int) - laughing).max() < 8
    assert not page.complaints


def test_sliders_are_moved_by_keys_and_read_aloud(page: Page) -> None:
    page.run("$('neutral').click(); document.querySelector('#sliders input').focus()")
    page.press("ArrowRight")
    values = "(({value, ariaValueText}) => [value, ariaValueText])(document.activeElement)"
    assert page.run(values) == ["1", "1%"]


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_the_sliders_without_scrolling_aside(page: Page, dark: bool) -> None:
    page.emulate(375, 812, phone=True, still=True, dark=dark)
    assert page.run("document.documentElement.scrollWidth") == 375
    assert page.run(
        "[...document.querySelectorAll('#drive :is(input, button)')].every((element) =>"
        "(({left, right, height}) => left >= 0 && right <= 375 && height >= 24)"
        "(element.getBoundingClientRect()))"
    )
    page.emulate(1000, 900, still=True)


def test_a_new_photo_is_not_shown_with_the_last_ones_head(page: Page) -> None:
    page.run("window.readNow = readGlb; readGlb = () => new Promise(() => {})")
    try:
        page.choose_files("#image", [LAUGHING.with_name("3_calm.png")])
        page.wait("$('curl').innerText.includes('3_calm')")
        assert page.run("viewer.weights()") == {}
        assert page.run("$('drive').checkVisibility()") is False
        blank = view(page)
        middle = blank[len(blank) // 3 : len(blank) // 2, 200:300]
        assert middle.std(axis=(0, 1)).max() < 4
    finally:
        page.run("readGlb = readNow")
    page.choose_files("#image", [LAUGHING])
    assert settle(page) == "One face. "
    assert np.abs(view(page).astype(int) - blank).max() > 60
    assert page.run("$('drive').checkVisibility()") is True


def test_the_face_alone_has_no_sliders(page: Page) -> None:
    page.run("document.querySelector('[name=mesh][value=face]').click()")
    assert settle(page) == "One face. "
    assert page.run(FIGURES)[0].startswith("face.glb")
    assert page.run("$('drive').hidden")
    page.run("document.querySelector('[name=mesh][value=head]').click()")
    settle(page)
    assert not page.run("$('drive').hidden")
