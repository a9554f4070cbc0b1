"""The short form of the fuzz suite; `make fuzz` is the long one (`FUZZ_CASES`)."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facewright.service.errors import BadPhoto
from facewright.service.pipeline.photo import ImageLimits, decode_photo
from tests.service.api.fuzz import fuzz, resident_bytes
from tests.service.api.hostile import KINDS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CASES = int(os.environ.get("FUZZ_CASES", "200"))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_hostile_file_is_decoded_or_refused(make: Any, portrait_jpeg: bytes) -> None:
    limits = ImageLimits(max_pixels=20_000_000)
    for number in range(max(8, CASES // 50)):
        with contextlib.suppress(BadPhoto):
            rgb_u8 = decode_photo(make(random.Random(number), portrait_jpeg), limits)
            assert rgb_u8.shape[2:] == (3,)


@pytest.fixture(scope="module")
def bounded(start_server: Callable[..., Any]) -> Iterator[Any]:
    """A server that takes photos of 20 megapixels at most."""
    with start_server(max_pixels=20_000_000) as server:
        yield server


@pytest.mark.timeout(6 * 3600 if CASES >= 1000 else 300)
def test_the_server_survives(bounded: Any, portrait_jpeg: bytes) -> None:
    growth = (lambda: resident_bytes(bounded.process.pid)) if CASES >= 1000 else None
    seen = fuzz(bounded.url, portrait_jpeg, range(CASES), growth)
    assert {"200", "400", "413", "415", "422"} <= set(seen)
    log = bounded.log()
    assert "Traceback" not in log
    assert '"error"' not in log


@pytest.mark.timeout(6 * 3600 if CASES >= 1000 else 600)
def test_every_call_keeps_to_the_document(
    bounded: Any, portrait_jpeg: bytes, tmp_path: Path
) -> None:
    """Schemathesis makes calls of the OpenAPI document, sound and unsound, and judges the answers.

    Statuses, content types, headers and JSON must be those of the document, what it forbids must
    be refused, and what it allows taken.
    """
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(portrait_jpeg)
    before = len(bounded.log())
    command = [
        sys.executable, "-m", "schemathesis.cli",
        "--config-file", str(HERE / "schemathesis.toml"), "run", f"{bounded.url}/openapi.json",
        "--phases", "examples,coverage,fuzzing", "--no-color",
        "--max-examples", str(max(2, CASES // 50)), "--continue-on-failure",
        "--request-timeout", "60", *([] if CASES >= 1000 else ["--seed", "1"]),
    ]  # fmt: skip
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.service.api.sound_bodies",
        "FUZZ_PHOTO": str(photo),
    }
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    log = bounded.log()[before:]
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    (count,) = re.findall(r"(\d+) generated, \1 passed", run.stdout)
    print(f"{count} calls made by schemathesis")
    assert int(count) > 200
    for path in ("/v1/reconstruct", "/v1/albums/reconstruct", "/v1/models"):
        assert re.search(f'"path": "{path}", "status": 200', log)
    assert "Traceback" not in log
