"""The page in a real browser, steered over a pipe (Chrome DevTools Protocol)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "google-chrome", "chromium-browser")


class Browser:
    """One page of a browser without a window."""

    def __init__(self, to: int, of: int) -> None:
        self._to, self._of = os.fdopen(to, "wb", 0), os.fdopen(of, "rb", 0)
        self._number = 0
        self._session: str | None = None
        self._unread = b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:  # events of the browser come between
            answer = json.loads(self._read())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> bytes:
        while b"\0" not in self._unread:
            data = self._of.read(1 << 20)
            assert data, "the browser has ended"
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        return message

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        told = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def until(self, condition: str, seconds: float = 60) -> None:
        patience = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < patience, condition
            time.sleep(0.05)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs Chromium")
    with _browser(program, tmp_path_factory.mktemp("browser")) as running:
        yield running


@contextmanager
def _browser(program: str, directory: Path) -> Iterator[Browser]:
    for_browser, to_browser = os.pipe()
    of_browser, from_browser = os.pipe()
    command = [
        program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-dev-shm-usage", "--disable-background-networking", "--remote-debugging-pipe",
        f"--user-data-dir={directory}",
    ]  # fmt: skip
    # The browser reads from its descriptor 3 and writes to 4.
    shell = f'exec "$@" 3<&{for_browser} 4>&{from_browser}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *command],
        pass_fds=(for_browser, from_browser),
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(directory)},
    )
    os.close(for_browser)
    os.close(from_browser)
    try:
        yield Browser(to_browser, of_browser)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def guarded(
    start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("the-key\n")
    with start_server(api_keys_file=keys) as server:
        yield server


def choose(browser: Browser, photo: bytes) -> None:
    """Put a photo into the form, as a person's choice of a file would."""
    data = base64.b64encode(photo).decode()
    browser.run(
        f"""{{
        const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));
        const files = new DataTransfer();
        files.items.add(new File([bytes], "photo.jpg", {{type: "image/jpeg"}}));
        document.getElementById("image").files = files.files;
        }}"""
    )


def submit(browser: Browser) -> str:
    """Press the button; what the page says in the end."""
    browser.run("document.querySelector('form button').click()")
    browser.until("!busy && document.getElementById('status').textContent !== ''")
    said: str = browser.run("document.getElementById('status').textContent")
    return said


def test_a_face_is_shown(browser: Browser, server: Any, portrait_jpeg: bytes) -> None:
    browser.open(server.url)
    assert browser.run("document.getElementById('key')") is None
    choose(browser, portrait_jpeg)
    assert submit(browser) == "One face was found."
    assert browser.run("document.getElementById('overlay').naturalWidth") == 512
    assert browser.run("document.querySelectorAll('#rows a').length") == 1


def test_the_page_sends_the_key_and_keeps_it_for_the_tab_only(
    browser: Browser, guarded: Any, portrait_jpeg: bytes
) -> None:
    browser.open(guarded.url)
    choose(browser, portrait_jpeg)
    browser.run("document.querySelector('form button').click()")
    assert not browser.run("busy")  # the form asks for the key first
    assert not browser.run("document.getElementById('form').checkValidity()")

    browser.run("document.getElementById('key').value = 'wrong'")
    assert submit(browser).startswith("Unauthorized")
    assert browser.run("sessionStorage.length") == 0

    browser.run("document.getElementById('key').value = ' the-key '")
    assert submit(browser) == "One face was found."
    assert browser.run("document.getElementById('zip').click()") is None
    browser.until("document.getElementById('status').textContent === 'faces.zip is ready.'")

    browser.open(guarded.url + "/?again")
    assert browser.run("document.getElementById('key').value").strip() == "the-key"
    assert browser.run("localStorage.length") == 0
    assert browser.run("document.cookie") == ""
    browser.run("document.getElementById('models').click()")
    browser.until("location.protocol === 'blob:' && document.body.innerText.includes('sha256')")
    assert "the-key" not in guarded.log()
