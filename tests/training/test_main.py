"""The program `facewright-train` where training's packages are not installed."""

from __future__ import annotations

import sys

import pytest

from facewright.training.__main__ import main


def test_what_is_missing_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("facewright.training.c")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit, match="facewright-train: .* is missing: it comes with"):
        main()
