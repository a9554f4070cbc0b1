"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# Continuous integration judges a change, so it draws the same examples every time; a run by hand
# looks for new ones.
settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
