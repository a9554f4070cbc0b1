"""Chromium without a window, driven over a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

PATIENCE = 120.0
"""Seconds for anything that a page does."""


def find_browser() -> str | None:
    """Path of an installed Chromium or Chrome."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page of a browser of its own; a context manager that ends the browser.

    `complaints` are what its console says of errors, blocked content among them.
    """

    def __init__(self, browser: str, profile: Path, width: int = 1000, height: int = 900) -> None:
        self.complaints: list[str] = []
        self._answers: dict[int, Any] = {}
        self._number = 0
        self._session: str | None = None
        commands, self._to_browser = os.pipe()
        self._from_browser, events = os.pipe()
        # The browser reads commands from descriptor 3 and writes to 4.  It is not started by sh,
        # which need not know descriptors of two digits.
        self._process = subprocess.Popen(
            [
                "bash", "-c", f'exec "$@" 3<&{commands} 4>&{events}', "bash", browser,
                "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--no-first-run",
                "--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
                # The processor draws: what only makes edges smoother takes a third of its time.
                "--disable-gpu-compositing", "--webgl-msaa-sample-count=0",
                f"--user-data-dir={profile}", f"--window-size={width},{height}",
            ],
            pass_fds=(commands, events),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(events)
        self._buffer = b""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to_browser)
        os.close(self._from_browser)

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def emulate(
        self,
        width: int,
        height: int,
        *,
        dark: bool = False,
        phone: bool = False,
        still: bool = False,
    ) -> None:
        """Be a window of this size, light or dark, or a phone's screen with a finger on it.

        With `still` nothing moves that does not have to.
        """
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        self._call("Emulation.setTouchEmulationEnabled", enabled=phone)
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        self._call(
            "Emulation.setEmulatedMedia",
            features=[{"name": name, "value": value} for name, value in features.items()],
        )

    def limit_upload(self, bytes_per_second: float) -> None:
        """Make the network slow; -1 for as fast as it is."""
        self._call("Network.enable")
        self._call(
            "Network.emulateNetworkConditions",
            offline=False, latency=0, downloadThroughput=-1, uploadThroughput=bytes_per_second,
        )  # fmt: skip

    def swipe_up(self, x: float, y: float, distance: float) -> None:
        """Swipe with a finger from (x, y), in CSS pixels of the window."""
        places = [{"x": x, "y": y - distance * step / 10} for step in range(11)]
        self._call("Input.dispatchTouchEvent", type="touchStart", touchPoints=places[:1])
        for place in places[1:]:
            self._call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[place])
        self._call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def run(self, script: str) -> Any:
        """The value of an expression, a promise's if it is one."""
        done = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < until, f"{condition}\n{self.complaints}"
            time.sleep(0.05)

    def choose_files(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files as a user does in the dialogue."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def press(self, key: str) -> None:
        """Press a key: a character, or a name such as `Tab` and `ArrowLeft`."""
        text = {"Enter": "\r", "Space": " "}.get(key, key if len(key) == 1 else "")
        name = " " if key == "Space" else key
        codes = {"Tab": 9, "Enter": 13, "Space": 32, "ArrowLeft": 37, "ArrowRight": 39}
        about = {"key": name, "code": key, "windowsVirtualKeyCode": codes.get(key, 0)}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self._call("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self, path: Path | None = None, whole: bool = True) -> bytes:
        """A screenshot, of what is beyond the window's border as well: PNG."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=whole)
        data = base64.b64decode(shot["data"])
        if path is not None:
            path.write_bytes(data)
        return data

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        while self._number not in self._answers:
            self._read()
        answer = self._answers.pop(self._number)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _read(self) -> None:
        data = os.read(self._from_browser, 1 << 20)
        assert data, "the browser has ended"
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            elif message["method"] == "Log.entryAdded":
                entry = message["params"]["entry"]
                if entry["level"] == "error":
                    self.complaints.append(entry["text"])
            elif message["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))
