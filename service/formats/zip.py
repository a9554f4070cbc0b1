"""Put files into one archive."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext


def zip_files(
    files: Iterable[tuple[str, bytes]],
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> bytes:
    """Names and contents as a ZIP file; `around` surrounds the packing of each."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, data in files:
            # A fixed time, so that the same photo gives the same bytes.
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with around():
                archive.writestr(entry, data, compresslevel=1)
    return body.getvalue()
