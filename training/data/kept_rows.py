"""What is computed row by row into files of a directory, and goes on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

META = "meta.json"


def rows_done(directory: Path, made_of: Mapping[str, Any]) -> int:
    """Rows that an earlier computation of the same has left; what is of anything else is forgotten.

    Args:
        directory: of the files.
        made_of: what the rows follow from, as JSON has it.
    """
    path = directory / META
    if not path.exists():
        return 0
    meta = json.loads(path.read_text())
    if meta["of"] != made_of:
        path.unlink()
        return 0
    done: int = meta["done"]
    return done


def note_rows_done(directory: Path, made_of: Mapping[str, Any], done: int) -> None:
    """Remember that the first `done` rows are in the files."""
    (directory / META).write_text(json.dumps({"of": made_of, "done": done}))
