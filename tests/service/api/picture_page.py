"""Take pictures of the service's page, to be looked at.

    .venv/bin/python -m tests.service.api.picture_page runs/page

Six states in light, dark and on a phone: empty, working, one face, four faces, an album with a
failed photo and a stranger, an error.  Runs the service with the shipped models; the photos are
the page's own samples.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.service.api.browser import Page, find_browser

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "service" / "api" / "static" / "samples"
LOOKS = {"light": (1280, 900, False, False), "dark": (1280, 900, True, False),
         "phone": (375, 740, False, True), "phone-dark": (375, 740, True, True)}  # fmt: skip


@contextmanager
def served() -> Iterator[str]:
    """The address of a service of its own, or of the one that FACEWRIGHT_URL names."""
    if url := os.environ.get("FACEWRIGHT_URL"):
        yield url
        return
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "facewright", "serve", "--port", "0"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log)
        try:
            for _ in range(1200):
                time.sleep(0.1)
                log.seek(0)
                found = re.search(r"ready: (http://[^\s\"]+)", log.read())
                if found:
                    break
            else:
                raise RuntimeError("the service did not start")
            yield found[1]
        finally:
            process.terminate()
            process.wait()


def result(page: Page, *names: str) -> None:
    """Send samples and wait for what comes."""
    page.choose_files("#image", [SAMPLES / name for name in names])
    page.wait("document.body.dataset.state !== 'working'")
    page.run("document.activeElement.blur()")
    page.wait("[...document.querySelectorAll('#photos img')].every((image) => image.complete)")


def states(page: Page, scratch: Path) -> dict[str, Callable[[], None]]:
    """What makes each state, in the order in which they can follow each other."""
    broken = scratch / "broken.jpg"
    broken.write_bytes((SAMPLES / "calm.jpg").read_bytes()[:3000])
    large = scratch / "holiday.jpg"
    large.write_bytes((SAMPLES / "calm.jpg").read_bytes() + bytes(400_000))

    def working() -> None:
        page.limit_upload(60_000)
        page.choose_files("#image", [large])
        page.wait("/[3-9].%/.test(document.querySelector('#steps small')?.textContent)")

    def quick() -> None:
        page.run("$('cancel').click()")
        page.limit_upload(-1)

    def album() -> None:
        names = [SAMPLES / f"album-{number}.jpg" for number in (1, 2, 3, 4)]
        page.choose_files("#image", [*names, broken])
        page.wait("document.body.dataset.state !== 'working'")
        page.run("document.activeElement.blur()")
        # On a phone they lie below what is seen, and are loaded when they come near.
        page.run("document.querySelector('#photos').scrollIntoView()")
        page.wait("[...document.querySelectorAll('#photos img')].every((i) => i.complete)")
        page.run("scrollTo(0, 0)")

    def one() -> None:
        quick()
        result(page, "laughing.jpg")

    def error() -> None:
        page.choose_files("#image", [broken])
        page.wait("document.body.dataset.state === 'failed'")

    return {
        "empty": lambda: None,
        "working": working,
        "one": one,
        "four": lambda: result(page, "call.jpg"),
        "album": album,
        "error": error,
    }


def main(out: Path) -> None:
    """Write PNG files named by look and state to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    browser = find_browser()
    assert browser is not None, "needs Chromium or Chrome"
    only = set(sys.argv[2:])
    for look, (width, height, dark, phone) in LOOKS.items():
        if only and look not in only:
            continue
        with (
            tempfile.TemporaryDirectory() as scratch,
            served() as url,
            Page(browser, Path(scratch) / "profile") as page,
        ):
            page.emulate(width, height, dark=dark, phone=phone, still=True)
            page.open(url)
            for state, reach in states(page, Path(scratch)).items():
                reach()
                page.run("scrollTo(0, 0)")
                time.sleep(0.8)
                page.picture(out / f"{look}-{state}.png")
                wide = page.run("document.documentElement.scrollWidth")
                print(look, state, "" if wide <= width else f"scrolls sideways: {wide}", flush=True)
            print(*page.complaints, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/page"))
