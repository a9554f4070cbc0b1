"""Figures of albums as tables (terminal, JSON, CSV, Markdown) and charts."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from facewright.training.evaluation.albums import (
    CONDITIONS,
    PLAIN,
    AlbumRow,
    ProbeRow,
    as_plain,
)
from facewright.training.evaluation.bootstrap import Interval
from facewright.training.evaluation.charts import Panel, write_charts

# Where a page wants the table.
BEGIN, END = "<!-- albums -->", "<!-- /albums -->"


@dataclass(frozen=True, eq=False)
class AlbumReport:
    """Everything measured on one collection.

    Attributes:
        measured_on: the collection.
        measure, unit: of the errors, say "point-to-plane error" in mm.
        albums, probes: the tables.
        ranks: rank correlations of confidence and accuracy; empty for photographs.
    """

    measured_on: str
    measure: str
    unit: str
    albums: Sequence[AlbumRow]
    probes: Sequence[ProbeRow]
    ranks: Mapping[str, float]

    def show(self, console: Console) -> None:
        """Print the tables."""
        title = f"{self.measured_on}: {self.measure}{f' in {self.unit}' if self.unit else ''}"
        table = Table("condition", "photos", "strategy", "people", title=title)
        for name in ("value", "95%", "less plain mean", "95%"):
            table.add_column(name, justify="right")
        for row in self.albums:
            cells = (row.condition, f"{row.photos}", row.strategy, f"{row.people}")
            table.add_row(*cells, *_cells(row.error), *_cells(row.over_plain, sign=True))
        console.print(table)
        table = Table("confidence by", "strength", "pictures", title="mean confidence")
        for name in ("value", "95%"):
            table.add_column(name, justify="right")
        for probe in self.probes:
            columns = (probe.probe, f"{probe.strength:g}", f"{probe.pictures}")
            table.add_row(*columns, *_cells(probe.confidence))
        console.print(table)
        for name, value in self.ranks.items():
            console.print(f"rank correlation of confidence and accuracy, {name}: {value:.3f}")

    def write(self, directory: Path) -> None:
        """Write `albums.json`, `albums.csv`, `confidences.csv` and two charts (PNG)."""
        directory.mkdir(parents=True, exist_ok=True)
        albums, probes = ([as_plain(row) for row in rows] for rows in (self.albums, self.probes))
        content = {
            "measured_on": self.measured_on,
            "measure": self.measure,
            "unit": self.unit,
            "albums": albums,
            "confidences": probes,
            "rank_correlations": {name: round(value, 4) for name, value in self.ranks.items()},
        }
        (directory / "albums.json").write_text(json.dumps(content, indent=1) + "\n")
        for name, rows in (("albums", albums), ("confidences", probes)):
            with (directory / f"{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
        write_charts(self._album_panels(), directory / "albums.png")
        write_charts(self._probe_panels(), directory / "confidences.png", columns=3)

    def markdown(self) -> str:
        """A table for a page: one line per condition and size, one column per strategy."""
        names = list(dict.fromkeys(row.strategy for row in self.albums))
        cells = {(r.condition, r.photos, r.strategy): r for r in self.albums}
        unit = f" ({self.unit})" if self.unit else ""
        lines = [
            f"{self.measure[:1].upper()}{self.measure[1:]}{unit}, {self.measured_on}; last the"
            f" difference of {names[-1]} and {PLAIN} with its 95% interval over people:",
            "",
            f"| photos | people | {' | '.join(names)} | difference |",
            "|" + "---|" * (len(names) + 3),
        ]
        for condition, photos in dict.fromkeys((r.condition, r.photos) for r in self.albums):
            row = [cells[condition, photos, name] for name in names]
            figures = " | ".join(f"{r.error.value:.3f}" for r in row)
            value, low, high = row[-1].over_plain
            lines.append(
                f"| {photos}, {condition} | {row[0].people} | {figures}"
                f" | {value:+.3f} ({low:+.3f}…{high:+.3f}) |"
            )
        return "\n".join(lines) + "\n"

    def _album_panels(self) -> list[Panel]:
        panels = []
        for condition in CONDITIONS:
            lines: dict[str, dict[float, Interval]] = {}
            for row in self.albums:
                if row.condition == condition:
                    lines.setdefault(row.strategy, {})[row.photos] = row.error
            title = f"{condition} photos"
            panels.append(Panel(title, "photos of an album", self.unit, lines, even=True))
        return panels

    def _probe_panels(self) -> list[Panel]:
        by_probe: dict[str, dict[float, Interval]] = {}
        for row in self.probes:
            by_probe.setdefault(row.probe, {})[row.strength] = row.confidence
        return [
            Panel(
                name,
                "degrees" if name == "yaw" else "strength",
                "mean confidence",
                {"mean confidence": line},
            )
            for name, line in by_probe.items()
        ]


def insert(table: str, page: Path) -> None:
    """Put a table between the page's markers, in place of what is there.

    Raises:
        ValueError: the page has no markers.
    """
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} has no {BEGIN} … {END}")
    page.write_text(f"{before}{begin}\n{table}{end}{after}", "utf-8")


def _cells(interval: Interval, sign: bool = False) -> tuple[str, str]:
    form = "+.3f" if sign else ".3f"
    value, low, high = (f"{number:{form}}" for number in interval)
    return value, f"{low} … {high}"
