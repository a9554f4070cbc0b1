"""Settings of all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import settings

# Continuous integration judges a change, so it draws the same examples every time; a run by hand
# looks for new ones. Neither has a deadline: a test is not wrong because the machine is busy.
settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("hand", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "hand")


SERVING = {"server", "start_server", "serve_here"}
"""Fixtures that start the whole server."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Share the tests out between workers.

    The tests of a file stay together, and so do, wherever they are, all that watch the clock
    (`xdist_group("clock")`) and all that ask the server on the shipped models. Files with slow
    tests start first, so that none is left at the end.
    """
    for item in items:
        if SERVING & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    # What xdist tells its workers; their own `dist` is "no".
    if getattr(config.option, "loadgroup", False):
        for item in items:
            if item.get_closest_marker("xdist_group") is None:
                file = f"{item.path.parent.name}/{item.path.stem}"
                group = "shipped" if "shipped_server" in item.fixturenames else file
                item.add_marker(pytest.mark.xdist_group(group))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long byte strings by their parameter.

    What they hold may depend on the time (a color profile has the date of its making), and workers
    have to agree on the names of the tests.
    """
    return argname if isinstance(val, bytes) and len(val) > 16 else None


@pytest.fixture
def longest_shutdown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], float]:
    """Seconds from SIGTERM until a server with these variables has surely ended."""
    import uvicorn

    from facewright.service.api.server import run_server
    from facewright.service.settings import Settings
    from facewright.service.telemetry.metrics import MULTIPROCESS_VARIABLE

    def ask(variables: Mapping[str, str]) -> float:
        told: dict[str, Any] = {}
        monkeypatch.setattr(uvicorn, "run", lambda *_, **options: told.update(options))
        monkeypatch.setenv(MULTIPROCESS_VARIABLE, "")  # so that it is taken away again
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        run_server({"workers": 2})
        return Settings().drain_seconds + float(told["timeout_graceful_shutdown"])

    return ask
