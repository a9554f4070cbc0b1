"""The page in a real browser, on the real server."""

from __future__ import annotations

import base64
import json
import re
import shlex
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.service.api.browser import Page, find_browser

STATUS = "$('status').textContent"
STATE = "document.body.dataset.state"
FOCUSED = "(({dataset, id, tagName}) => dataset.do || id || tagName)(document.activeElement)"
FIGURES = "[...document.querySelectorAll('#files li')].map((row) => row.innerText)"


@pytest.fixture(scope="module")
def browser() -> str:
    found = find_browser()
    if found is None:
        pytest.skip("needs Chromium or Chrome")
    return found


@pytest.fixture(scope="module")
def opened(
    serve_here: Callable[..., Any],
    telling_weights: Path,
    browser: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Page, str]]:
    profile = tmp_path_factory.mktemp("profile")
    with serve_here(weights=telling_weights) as server, Page(browser, profile) as page:
        yield page, server.url


@pytest.fixture
def page(opened: tuple[Page, str]) -> Page:
    """The page as it is before the first photo; nothing on it moves by itself."""
    page, url = opened
    page.emulate(1000, 900, still=True)
    page.complaints.clear()
    page.open(url)
    return page


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


def text(page: Page, place: str) -> str:
    found: str = page.run(f"$('{place}').innerText")
    return found


def settle(page: Page) -> str:
    """What the page says once nothing is at work."""
    page.wait(f"{STATE} !== 'working' && {STATUS} && !{STATUS}.endsWith('…')")
    said: str = page.run(STATUS)
    return said


def send(page: Page, *photos: Path) -> str:
    page.choose_files("#image", photos)
    return settle(page)


def tab_to(page: Page, place: str) -> list[str]:
    """Press Tab until `place` has the focus; what had it on the way."""
    passed: list[str] = []
    while (focused := page.run(FOCUSED)) != place:
        assert len(passed) < 30, passed
        passed.append(focused)
        page.press("Tab")
    return passed


def view(page: Page) -> npt.NDArray[np.uint8]:
    """The picture (H, W, 3) of the 3D view."""
    page.run("document.querySelector('canvas').scrollIntoView({block: 'center'})")
    left, top, width, height = page.run(
        "(({x, y, width, height}) => [x, y, width, height])"
        "(document.querySelector('canvas').getBoundingClientRect())"
    )
    shot = cv2.imdecode(np.frombuffer(page.picture(whole=False), np.uint8), cv2.IMREAD_COLOR)
    return shot[round(top) : round(top + height), round(left) : round(left + width)]


def cards(page: Page) -> list[str]:
    found: list[str] = page.run(
        "[...document.querySelectorAll('#photos > li')].map((card) => card.innerText)"
    )
    return found


def test_one_photo_makes_one_face_in_3d(page: Page, photos: list[Path]) -> None:
    assert page.run(STATE) == "empty"
    assert send(page, photos[0]) == "One face. "
    picture = view(page)
    height, width = picture.shape[:2]
    background = picture[height // 2, 8].astype(int)
    middle = picture[height // 3 : -height // 3, 2 * width // 5 : -2 * width // 5]
    assert (np.abs(middle.astype(int) - background).max(axis=2) > 8).mean() > 0.9
    assert "Confidence" in text(page, "facts")
    assert "points" in text(page, "facts")
    names = [row.split("\n")[0] for row in page.run(FIGURES)]
    assert names[:2] == ["face.glb", "face.obj"]
    assert names[-3:] == ["overlay.jpg", "result.json", "faces.zip"]
    sized = re.compile(r"([0-9] [kM]B|made when asked for)$")
    assert all(sized.search(row) for row in page.run(FIGURES))
    visible = "['compare', 'sheet', 'faces', 'job'].map((id) => $(id).checkVisibility())"
    assert page.run(visible) == [True, False, False, False]
    assert not page.complaints


def test_the_steps_are_named_in_their_order(page: Page, photos: list[Path]) -> None:
    page.run(
        "window.said = []; new MutationObserver(() => said.push($('status').textContent))"
        ".observe($('status'), {childList: true})"
    )
    page.limit_upload(150_000)
    page.choose_files("#image", photos[:1])
    page.wait("/^[1-9][0-9]?%$/.test(document.querySelector('#steps small').textContent)")
    assert page.run("document.querySelector('#previews img').naturalWidth") == 512
    page.limit_upload(-1)
    settle(page)
    *steps, last = page.run("said")
    named = ["Upload…", "Find faces…", "Reconstruct…", "Texture…"]
    assert steps == [step for step in named if step in steps]
    assert steps[:2] == named[:2]
    assert last == "One face. "


def test_what_the_server_counts_is_what_is_named(page: Page) -> None:
    """Of an album of three, whose stages the server counts."""
    page.run(
        "window.job3 = {photos: [1, 2, 3].map((n) => new File([], `${n}.jpg`)), album: true, "
        "query: new URLSearchParams('texture=photo')}; announce(job3)"
    )
    for counted, current in (
        ({"decode": 1}, ["Find faces", "photo 1 of 3"]),
        ({"decode": 2, "detect": 1}, ["Find faces", "photo 2 of 3"]),
        ({"decode": 3, "detect": 3, "regress": 2}, ["Reconstruct", ""]),
        ({"decode": 5, "detect": 3, "texture": 1, "overlay": 2}, ["Texture", "drawing 2 of 3"]),
        ({"decode": 3}, ["Texture", "drawing 2 of 3"]),  # a late answer takes nothing back
    ):
        page.run(f"advance(job3, {{stages: {json.dumps(counted)}}})")
        shown = (
            "(({childNodes: [, name, detail]}) => [name.textContent, detail.textContent])"
            "(document.querySelector('#steps [aria-current]'))"
        )
        assert page.run(shown) == current


def test_the_face_is_turned_by_keys_and_shown_as_clay(page: Page, photos: list[Path]) -> None:
    send(page, photos[0])
    before = view(page)
    page.run("document.querySelector('canvas').focus()")
    for _ in range(5):
        page.press("ArrowLeft")
    turned = view(page)
    assert np.abs(turned.astype(int) - before).max() > 30
    assert page.run("document.querySelector('[data-do=sway]').ariaPressed") == "false"
    page.press("0")
    inside = np.s_[20:-90, 20:-20]  # without the ring of the focus, and the buttons
    assert np.abs(view(page)[inside].astype(int) - before[inside]).max() < 8
    assert "skin" in tab_to(page, "clay")
    page.press("Enter")
    clay = view(page)
    height, width = clay.shape[:2]
    middle = clay[height // 2, width // 2].astype(int)
    assert np.ptp(middle) < 40 < np.abs(middle - before[height // 2, width // 2]).max() + 40
    assert not page.complaints


def test_the_slider_shows_photo_or_mesh(page: Page, photos: list[Path]) -> None:
    send(page, photos[0])
    page.wait("$('photo').complete && $('overlay').complete")
    shown = "$('overlay').computedStyleMap().get('clip-path').toString()"
    assert page.run(shown) == "inset(0px 0px 0px 50%)"
    page.run("$('split').focus()")
    for _ in range(3):
        page.press("ArrowRight")
    assert page.run(shown) == "inset(0px 0px 0px 53%)"
    assert page.run("$('split').ariaValueText") == "53% photo"


def test_another_face_is_picked_in_the_picture(
    page: Page, tmp_path: Path, group_jpeg: bytes
) -> None:
    (tmp_path / "group.jpg").write_bytes(group_jpeg)
    assert send(page, tmp_path / "group.jpg").startswith("Three faces")
    assert page.run("$('boxes').children.length") == 3
    facts = [text(page, "facts")]
    for face in (1, 2):
        page.run(f"$('boxes').children[{face}].click()")
        page.wait(f"$('faces').children[{face}].firstChild.ariaPressed === 'true'")
        facts.append(text(page, "facts"))
    # One of them is mirrored.
    assert len(set(facts)) > 1
    assert page.run(FIGURES)[0].startswith("face2.glb")
    # A box lies where the face is: over the right third of the picture.
    place = "(({x, width}) => x + width / 2)"
    right = page.run(
        f"{place}($('boxes').children[1].getBoundingClientRect()) > "
        f"{place}($('boxes').children[0].getBoundingClientRect())"
    )
    left = page.run(
        f"{place}($('boxes').children[2].getBoundingClientRect()) > "
        f"{place}($('boxes').children[0].getBoundingClientRect())"
    )
    assert right != left  # the largest stands between the two others
    assert not page.complaints


def test_several_photos_are_an_album(page: Page, photos: list[Path]) -> None:
    said = send(page, *photos)
    assert said == (
        "One face of 4 of 5 photos. "
        "One photo seems to show somebody else. One photo could not be used."
    )
    kinds = page.run("[...document.querySelectorAll('#photos .card')].map((c) => c.className)")
    expected = ["used", "used", "stranger", "failed", "used"]
    assert kinds == [f"card {kind}" for kind in expected]
    one, _, stranger, broken, _ = cards(page)
    assert one.startswith("one.jpg")
    assert "% of the face" in one
    assert "somebody else" not in one
    assert "Seems somebody else" in stranger
    assert "<broken>.jpg" in broken
    assert "Photo cannot be decoded" in broken
    shares = [float(card.split("%")[0].split()[-1]) for card in cards(page) if "%" in card]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert page.run(FIGURES)[0].startswith("identity.glb")
    page.run("document.querySelectorAll('#photos button')[1].click()")
    page.wait("$('caption').textContent === 'two.jpg'")
    assert "two.jpg" in text(page, "facts")
    assert not page.complaints


def test_an_option_changed_computes_anew(page: Page, photos: list[Path]) -> None:
    send(page, *photos[:3], photos[4])
    page.run("document.querySelector('[name=outliers]:checked').focus()")
    page.press("ArrowRight")
    assert page.run(STATE) == "working"
    assert page.run("$('result').checkVisibility()")  # the last result stays meanwhile
    assert settle(page).startswith("One face of 3 of 4 photos")
    assert "Left out" in cards(page)[2]
    assert "outliers=drop" in text(page, "curl")
    assert page.run("document.activeElement.value") == "drop"
    assert not page.complaints


def test_files_are_made_when_they_are_asked_for(page: Page, photos: list[Path]) -> None:
    send(page, *photos[:2])
    for name in ("identity.obj", "album.zip"):
        page.run(
            "[...document.querySelectorAll('#files button')]"
            f".find((button) => button.innerText.startsWith('{name}')).click()"
        )
        page.wait(f"{STATUS} === '{name} is ready.'")
        row = next(row for row in page.run(FIGURES) if row.startswith(name))
        assert re.search(r"[0-9] [kM]B$", row)
        assert page.run(f"document.querySelector('[download=\"{name}\"]').href.slice(0, 5)") == (
            "blob:"
        )
    assert not page.complaints


def test_an_error_leaves_the_last_result(page: Page, photos: list[Path]) -> None:
    send(page, photos[0])
    said = send(page, photos[3], photos[3])
    assert said.startswith("Too few")
    assert page.run(STATE) == "failed"
    assert text(page, "found") == "One face"
    assert page.run("$('result').checkVisibility() && $('again').checkVisibility()")
    page.run("$('dismiss').click()")
    assert page.run(f"{STATE} === 'result' && !$('job').checkVisibility()")
    # The options are again those of the photo that is shown.
    assert page.run("document.querySelector('[name=expression]').checkVisibility()")
    # The browser notes the status of the answer, and nothing else.
    assert all("422" in complaint for complaint in page.complaints)


def test_cancel_goes_back_to_what_was_there(page: Page, photos: list[Path]) -> None:
    page.limit_upload(20_000)
    page.choose_files("#image", photos[:1])
    tab_to(page, "cancel")
    page.press("Enter")
    page.limit_upload(-1)
    assert page.run(f"[{STATE}, {STATUS}]") == ["empty", "Cancelled."]
    assert not page.complaints


def test_samples_travel_in_the_page(page: Page) -> None:
    labels = page.run("[...document.querySelectorAll('#samples button')].map((b) => b.innerText)")
    assert len(labels) == 5
    assert all(labels)
    page.run("document.querySelectorAll('#samples button')[1].focus()")
    page.press("Enter")
    assert settle(page) == "One face. "
    assert "laughing.jpg" in page.run(FIGURES)[-1]
    fetched = page.run(
        "performance.getEntriesByType('resource').map((entry) => entry.name)"
        ".filter((name) => !/^(data|blob):/.test(name)).map((name) => new URL(name).pathname)"
    )
    assert fetched
    assert all(path.startswith("/v1/") for path in fetched), fetched
    page.run("document.querySelectorAll('#samples button')[4].click()")
    assert " of 4 photos" in settle(page)


def test_photos_are_dropped_and_pasted(page: Page, portrait_jpeg: bytes) -> None:
    page.run(
        "window.bring = (name) => { const data = new DataTransfer(); data.items.add(new File(["
        f"Uint8Array.from(atob('{base64.b64encode(portrait_jpeg).decode()}'), "
        "(c) => c.charCodeAt(0))], name, {type: 'image/jpeg'})); return data; }"
    )
    page.run(
        "document.querySelector('nav').dispatchEvent(new DragEvent('drop', "
        "{bubbles: true, cancelable: true, dataTransfer: bring('dropped.jpg')}))"
    )
    assert settle(page) == "One face. "
    assert text(page, "caption") == "dropped.jpg"
    page.run(
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: bring('pasted.jpg')}))"
    )
    settle(page)
    assert text(page, "caption") == "pasted.jpg"


def test_the_line_for_a_terminal_does_the_same(
    page: Page, tmp_path: Path, portrait_jpeg: bytes
) -> None:
    odd = tmp_path / 'it\'s "one"; $HOME, two.jpg'
    odd.write_bytes(portrait_jpeg)
    send(page, odd)
    page.run("document.querySelector('[name=expression][value=neutral]').click()")
    settle(page)
    line = page.run("$('curl').textContent")
    assert shlex.split(line)[0] == "curl"
    subprocess.run(["sh", "-c", f"{line} -s -f"], cwd=tmp_path, check=True, timeout=60)
    answer = json.loads((tmp_path / "result.json").read_text())
    assert answer["expression"] == "neutral"
    assert answer["texture"] == "photo"
    assert answer["faces"][0]["mesh"]["data"]


def test_a_phone_scrolls_only_down_and_past_the_face(page: Page, photos: list[Path]) -> None:
    page.emulate(375, 700, phone=True, still=True)
    wide = "document.documentElement.scrollWidth"
    assert page.run(wide) == 375
    assert page.run("document.querySelector('.camera').checkVisibility()")
    send(page, *photos)
    assert page.run(wide) == 375
    send(page, photos[0])
    assert page.run(wide) == 375
    page.run("scrollTo(0, 0)")
    x, y = page.run(
        "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        "(document.querySelector('canvas').getBoundingClientRect())"
    )
    page.swipe_up(x, y, 250)
    page.wait("scrollY > 150")
    send(page, photos[3])
    assert page.run(f"[{STATE}, {wide}]") == ["failed", 375]


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_their_ground(page: Page, photos: list[Path], dark: bool) -> None:
    """WCAG 2.2's contrast of 4.5, of every word against the nearest ground that is opaque."""
    page.emulate(1000, 900, dark=dark, still=True)
    send(page, *photos)
    worst = page.run("""(() => {
      const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
      const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
      };
      const bright = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
      let worst = [99, ""];
      for (const element of document.querySelectorAll("body *")) {
        const words = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!words || !element.checkVisibility() || element.closest(".visually-hidden")) continue;
        let ground = element;
        while (ground.parentElement && rgba(getComputedStyle(ground).backgroundColor)[3] < 200) {
          ground = ground.parentElement;
        }
        const [a, b] = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor]
          .map((color) => bright(rgba(color))).sort((p, q) => q - p);
        const contrast = (a + 0.05) / (b + 0.05);
        if (contrast < worst[0]) worst = [contrast, `${element.tagName} ${element.textContent}`];
      }
      return worst;
    })()""")
    assert worst[0] >= 4.5, worst


def test_everything_to_press_has_a_name(page: Page, photos: list[Path]) -> None:
    send(page, *photos)
    nameless = page.run("""[...document.querySelectorAll("button, input, a, canvas[tabindex]")]
      .filter((element) => element.checkVisibility() && !(element.ariaLabel
        || element.closest("label")?.innerText.trim() || element.innerText.trim()))
      .map((element) => element.outerHTML)""")
    assert nameless == []


def test_the_viewer_reads_what_gltf_allows(page: Page) -> None:
    """A mesh of its own: strided, placed by a node, its morph target sparse and half applied."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
    strided = np.concatenate([points, np.full((3, 1), 9, "<f4")], 1)
    moved = np.array([[0, 0, 4]], "<f4")
    blob = strided.tobytes() + struct.pack("<HH", 2, 0) + moved.tobytes()
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"children": [1], "scale": [2, 2, 2]}, {"mesh": 0, "translation": [0, 3, 0]}],
        "meshes": [
            {
                "weights": [0.5],
                "primitives": [
                    {
                        "attributes": {"POSITION": 0, "NORMAL": 0},
                        "targets": [{"POSITION": 1}],
                        "mode": 4,
                    }
                ],
            }
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {
                "componentType": 5126,
                "count": 3,
                "type": "VEC3",
                "sparse": {
                    "count": 1,
                    "indices": {"bufferView": 1, "componentType": 5123},
                    "values": {"bufferView": 2},
                },
            },
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": 48, "byteStride": 16},
            {"buffer": 0, "byteOffset": 48, "byteLength": 2},
            {"buffer": 0, "byteOffset": 52, "byteLength": 12},
        ],
        "buffers": [{"byteLength": len(blob)}],
    }
    head = json.dumps(document).encode()
    head += b" " * (-len(head) % 4)
    glb = struct.pack("<4sII", b"glTF", 2, 28 + len(head) + len(blob))
    glb += struct.pack("<I4s", len(head), b"JSON") + head
    glb += struct.pack("<I4s", len(blob), b"BIN\0") + blob
    found = page.run(
        f"readGlb(new Blob([Uint8Array.from(atob('{base64.b64encode(glb).decode()}'), "
        "(c) => c.charCodeAt(0))])).then(([part]) => ({...part, values: "
        "[...part.position.values], position: null, normal: null}))"
    )
    points[2, 2] = 2
    assert found["values"] == points.ravel().tolist()
    assert found["place"] == [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 6, 0, 1]
    assert found["lit"]
    told = page.run("readGlb(new Blob(['no mesh at all, but long enough']))"
                    ".catch((error) => error.message)")  # fmt: skip
    assert told == "This is no GLB file."


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
        assert "asks for an API key" in settle(page)  # and nothing was sent
        assert page.run("document.activeElement.id") == "key"

        page.run("$('key').value = 'wrong'")
        assert send(page, photos[0]).startswith("Unauthorized")
        assert page.run("sessionStorage.length") == 0

        page.run("$('key').value = ' the-key '")
        page.run("$('again').click()")
        assert settle(page) == "One face. "
        assert "X-API-Key: $KEY" in text(page, "curl")
        page.run("document.querySelector('#files li:last-child button').click()")
        page.wait(f"{STATUS} === 'faces.zip is ready.'")

        page.open(server.url + "/?again")
        assert page.run("$('key').value").strip() == "the-key"
        assert page.run("localStorage.length") == 0
        assert page.run("document.cookie") == ""
        page.run("$('models').click()")
        page.wait("location.protocol === 'blob:' && document.body.innerText.includes('sha256')")
        assert "the-key" not in server.log()
