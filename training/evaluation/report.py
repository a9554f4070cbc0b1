"""Measured numbers beside their baselines: as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured number; the model card takes a list of them.

    Attributes:
        measured_on: the data.
        measure: what was measured.
        unit: of value and baseline, may be empty.
        value: of the network.
        baseline: of the mean face, or None.
    """

    measured_on: str
    measure: str
    unit: str
    value: float
    baseline: float | None


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print a table."""
    table = Table("measured on", "measure", "unit")
    table.add_column("network", justify="right")
    table.add_column("baseline", justify="right")
    for figure in figures:
        baseline = "" if figure.baseline is None else f"{figure.baseline:.3f}"
        table.add_row(
            figure.measured_on, figure.measure, figure.unit, f"{figure.value:.3f}", baseline
        )
    console.print(table)


def write(figures: Sequence[Figure], path: Path) -> None:
    """Write `{"figures": [...]}`, numbers to four decimals."""
    rows = [asdict(figure) for figure in figures]
    for row in rows:
        for key in ("value", "baseline"):
            row[key] = None if row[key] is None else round(row[key], 4)
    path.write_text(json.dumps({"figures": rows}, indent=2) + "\n")
