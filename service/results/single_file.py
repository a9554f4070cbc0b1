"""One HTML file out of its parts: what a page refers to by name is put into it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

SHARED = Path(__file__).parent / "static"
"""The folder of the parts that pages have in common."""

_STYLE = re.compile(r'<link rel="stylesheet" href="([^":]+)">')
_SCRIPT = re.compile(r'<script src="([^":]+)"></script>')
_IMAGE = re.compile(r'src="([^":]+)\.jpg"')


def single_file(html: str, folders: Sequence[Path]) -> str:
    """`html` with its style sheets, scripts and JPEG pictures inside, so that nothing is fetched.

    folders: where the parts lie; the first that has a part gives it.
    Raises FileNotFoundError for a part that none of them has.
    """

    def part(name: str) -> Path:
        found = [folder / name for folder in folders if (folder / name).is_file()]
        if not found:
            raise FileNotFoundError(name)
        return found[0]

    def text(tag: str, name: str) -> str:
        return f"<{tag}>\n{part(name).read_text('utf-8')}</{tag}>"

    def picture(name: str) -> str:
        return base64.b64encode(part(name).read_bytes()).decode()

    # Pictures first: what comes with scripts is left as it is.
    html = _IMAGE.sub(lambda m: f'src="data:image/jpeg;base64,{picture(m[1] + ".jpg")}"', html)
    html = _STYLE.sub(lambda m: text("style", m[1]), html)
    return _SCRIPT.sub(lambda m: text("script", m[1]), html)


def hashes(html: str, tag: str) -> str:
    """CSP sources that allow the inline `tag` elements of `html` and no others.

    Elements with attributes, such as a script that holds data, are not among them.
    """
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = (hashlib.sha256(body.encode()).digest() for body in bodies)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
