"""A page with three.js, in a real browser, that shows files of a directory."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service.api.browser import Page, find_browser

THREE = Path(__file__).resolve().parents[2] / "node_modules" / "three"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def three_page(root: Path, profile: Path) -> Iterator[Page]:
    """The page over the files of `root`; it must not have complained of anything at the end."""
    browser = find_browser()
    if browser is None or not THREE.is_dir():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs Chromium and `npm ci` in tests/")
    (root / "three").symlink_to(THREE)
    shutil.copy(Path(__file__).with_name("three_view.html"), root / "index.html")
    (root / "favicon.ico").touch()
    handler = functools.partial(_Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Page(browser, profile, 660, 660) as page:
            page.open(f"http://127.0.0.1:{server.server_port}/index.html")
            page.wait("window.ready === true")
            yield page
            assert page.complaints == []
        server.shutdown()
