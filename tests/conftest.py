"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# Continuous integration judges a change, so it draws the same examples every time; a run by hand
# looks for new ones. Neither has a deadline: a test is not wrong because the machine is busy.
settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("hand", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "hand")
