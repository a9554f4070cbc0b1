"""Rows of a run's CSV files, and figures in a line."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a CSV file, under the columns of its first row."""
    columns = list(row)
    if path.exists():
        with path.open(newline="") as file:
            columns = next(csv.reader(file))
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerow(columns)
    with path.open("a", newline="") as file:
        csv.DictWriter(file, columns, extrasaction="ignore").writerow(row)


def one_line(values: Mapping[str, float]) -> str:
    """Names and values for people."""
    return " ".join(f"{name} {value:.3g}" for name, value in values.items())
