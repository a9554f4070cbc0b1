"""The page in a real browser, on the real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.service.api.browser import Page, find_browser

STATUS = "document.getElementById('status').textContent"
FOCUSED = (
    "document.activeElement.name || document.activeElement.id || document.activeElement.tagName"
)


@pytest.fixture(scope="module")
def browser() -> str:
    found = find_browser()
    if found is None:
        pytest.skip("needs Chromium or Chrome")
    return found


@pytest.fixture(scope="module")
def page(
    start_server: Callable[..., Any],
    telling_weights: Path,
    browser: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Page]:
    profile = tmp_path_factory.mktemp("profile")
    with start_server(weights=telling_weights) as server, Page(browser, profile) as page:
        page.open(server.url)
        yield page


@pytest.fixture
def photos(
    tmp_path: Path, portrait_jpeg: bytes, mirrored_jpeg: bytes, stranger_jpeg: bytes
) -> list[Path]:
    files = {
        "one.jpg": portrait_jpeg,
        "two.jpg": mirrored_jpeg,
        "stranger.jpg": stranger_jpeg,
        "<broken>.jpg": portrait_jpeg[:2000],
        "three.jpg": portrait_jpeg,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in files]


def tab_to(page: Page, place: str) -> list[str]:
    """Press Tab until `place` has the focus; what had it on the way."""
    passed = []
    while (focused := page.run(FOCUSED)) != place:
        assert len(passed) < 20, passed
        passed.append(focused)
        page.press("Tab")
    return passed


def reconstruct(page: Page) -> str:
    """What the page says after the form is sent by the keyboard alone."""
    page.run("document.getElementById('image').focus()")
    tab_to(page, "BUTTON")
    page.press("Enter")
    page.wait(f"{STATUS} && {STATUS} !== 'Working…'")
    said: str = page.run(STATUS)
    return said


def view(page: Page) -> npt.NDArray[np.uint8]:
    """The picture (H, W, 3) of the 3D view."""
    page.run("document.getElementById('stage').scrollIntoView({block: 'center'})")
    left, top, width, height = page.run(
        "(({x, y, width, height}) => [x + scrollX, y + scrollY, width, height])"
        "(document.getElementById('stage').getBoundingClientRect())"
    )
    shot = cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR)
    return shot[round(top) : round(top + height), round(left) : round(left + width)]


def cards(page: Page) -> list[str]:
    found: list[str] = page.run(
        "[...document.querySelectorAll('#sheet li')].map((card) => card.innerText)"
    )
    return found


def test_several_photos_are_an_album(page: Page, photos: list[Path]) -> None:
    page.choose_files("#image", photos)
    said = reconstruct(page)
    assert said == (
        "One face of 4 of 5 photos. Photos that seem to show somebody else: 1. "
        "Photos that could not be used: 1."
    )
    states = page.run("[...document.querySelectorAll('#sheet li')].map((card) => card.className)")
    assert states == ["used", "used", "stranger", "failed", "used"]
    one, _, stranger, broken, _ = cards(page)
    assert one.startswith("one.jpg")
    assert "% of the face" in one
    assert "Confidence 0." in one
    assert "somebody else" not in one
    assert "Seems to be somebody else" in stranger
    assert "<broken>.jpg" in broken
    assert "Photo cannot be decoded" in broken
    page.wait("[...document.querySelectorAll('#sheet img')].every((image) => image.naturalWidth)")
    assert page.run("document.querySelectorAll('#sheet img').length") == 4
    assert not page.complaints


def test_the_identity_can_be_turned_by_keys(page: Page, photos: list[Path]) -> None:
    page.choose_files("#image", photos[:2])
    assert reconstruct(page) == "One face of 2 of 2 photos."
    before = view(page)
    background = before[2, 2].astype(int)
    height, width = before.shape[:2]
    middle = before[height // 3 : -height // 3, 2 * width // 5 : -2 * width // 5]
    assert (np.abs(middle.astype(int) - background).max(axis=2) > 8).mean() > 0.9
    assert "Reconstruct" not in tab_to(page, "stage")
    for _ in range(5):
        page.press("ArrowLeft")
    assert np.abs(view(page).astype(int) - before).max() > 30
    links = "['mesh', 'json'].map((id) => [$(id).download, $(id).href.split(':')[0]])"
    assert page.run(links) == [["identity.glb", "blob"], ["result.json", "blob"]]
    assert not page.complaints


def test_strangers_are_left_out_on_request(page: Page, photos: list[Path]) -> None:
    page.choose_files("#image", [*photos[:3], photos[4]])
    assert page.run("getComputedStyle($('single').children[1]).display") == "grid"
    assert not page.run("$('single').checkVisibility() || $('album').hidden")
    page.run("document.querySelector('[name=outliers]').value = 'drop'")
    assert reconstruct(page).startswith("One face of 3 of 4 photos.")
    assert "Left out" in cards(page)[2]
    page.run("$('zip').click()")
    page.wait(f"{STATUS} !== 'Packing…'")
    assert page.run(STATUS) == "album.zip is ready."
    assert not page.complaints


def test_a_photo_is_no_album(page: Page, photos: list[Path]) -> None:
    page.choose_files("#image", photos[:1])
    assert page.run("$('album').hidden && $('album').disabled && !$('single').disabled")
    assert reconstruct(page) == "One face was found."
    visible = "['overlay', 'faces', 'sheet', 'mesh'].map((id) => $(id).checkVisibility())"
    assert page.run(visible) == [True, True, False, False]
    assert page.run("$('rows').children.length") == 1
    assert not page.complaints


def test_what_the_server_says_of_an_album_is_shown(page: Page, photos: list[Path]) -> None:
    page.choose_files("#image", [photos[3], photos[3]])
    assert reconstruct(page).startswith("Too few")
    assert not page.run("$('result').checkVisibility()")
    # The browser notes the status of the answer, and nothing else.
    assert all("422" in complaint for complaint in page.complaints)
    page.complaints.clear()


def test_a_key_is_sent_and_kept_for_the_tab_only(
    start_server: Callable[..., Any],
    browser: str,
    tmp_path: Path,
    photos: list[Path],
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("the-key\n")
    with start_server(api_keys_file=keys) as server, Page(browser, tmp_path / "profile") as page:
        page.open(server.url)
        page.choose_files("#image", photos[:1])
        page.run("document.querySelector('form button').click()")
        assert not page.run("busy")  # the form asks for the key first
        assert not page.run("document.getElementById('form').checkValidity()")

        page.run("document.getElementById('key').value = 'wrong'")
        assert reconstruct(page).startswith("Unauthorized")
        assert page.run("sessionStorage.length") == 0

        page.run("document.getElementById('key').value = ' the-key '")
        assert reconstruct(page) == "One face was found."
        page.run("document.getElementById('zip').click()")
        page.wait(f"{STATUS} === 'faces.zip is ready.'")

        page.open(server.url + "/?again")
        assert page.run("document.getElementById('key').value").strip() == "the-key"
        assert page.run("localStorage.length") == 0
        assert page.run("document.cookie") == ""
        page.run("document.getElementById('models').click()")
        page.wait("location.protocol === 'blob:' && document.body.innerText.includes('sha256')")
        assert "the-key" not in server.log()
