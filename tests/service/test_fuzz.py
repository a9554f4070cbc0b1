"""The short form of the fuzz suite; `make fuzz` is the long one (`FUZZ_CASES`)."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from service.errors import BadPhoto
from service.imaging import ImageLimits, decode_photo
from tests.service.fuzz import fuzz, resident_bytes
from tests.service.hostile import KINDS

CASES = int(os.environ.get("FUZZ_CASES", "200"))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_hostile_file_is_decoded_or_refused(make: Any, portrait_jpeg: bytes) -> None:
    limits = ImageLimits(max_pixels=20_000_000)
    for number in range(max(8, CASES // 50)):
        with contextlib.suppress(BadPhoto):
            rgb_u8 = decode_photo(make(random.Random(number), portrait_jpeg), limits)
            assert rgb_u8.shape[2:] == (3,)


@pytest.mark.timeout(6 * 3600 if CASES > 1000 else 300)
def test_the_server_survives(start_server: Callable[..., Any], portrait_jpeg: bytes) -> None:
    with start_server(max_pixels=20_000_000) as server:
        growth = (lambda: resident_bytes(server.process.pid)) if CASES > 1000 else None
        seen = fuzz(server.url, portrait_jpeg, range(CASES), growth)
        assert {"200", "400", "413", "415", "422"} <= set(seen)
        log = server.log()
        assert "Traceback" not in log
        assert '"error"' not in log
