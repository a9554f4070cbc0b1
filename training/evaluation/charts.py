"""Line charts as pictures, drawn by OpenCV: what a report needs, without a plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facewright.training.evaluation.bootstrap import Interval

WIDTH, HEIGHT = 460, 340  # px of a panel
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 36, 46  # px around the axes
LEGEND_ROW = 20
FINER = 3  # drawn larger, then shrunk
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, GRAY = (40, 40, 40), (210, 210, 210)
# BGR; told apart by people who do not see red and green (Okabe and Ito 2008).
COLORS = (
    (178, 114, 0), (0, 94, 213), (115, 158, 0), (167, 121, 204), (0, 159, 230), (60, 60, 60),
    (233, 180, 86),
)  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title, x_label, y_label: ASCII.
        lines: values by x, by name; intervals are drawn as bars.
        ticks: of x; by default every x that occurs.
        even: x positions evenly spaced, whatever their distance.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Mapping[float, Interval]]
    ticks: Sequence[float] = field(default_factory=tuple)
    even: bool = False


def write_charts(panels: Sequence[Panel], path: Path, columns: int = 2) -> None:
    """Write panels side by side, with one legend, as PNG.

    Raises:
        OSError: the file cannot be written.
        ValueError: there is nothing to draw.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    if not names:
        raise ValueError("no lines to draw")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    legend_rows = -(-len(names) // columns) if len(names) > 1 else 0
    shape = (rows * HEIGHT + legend_rows * LEGEND_ROW + 8) * FINER, columns * WIDTH * FINER, 3
    canvas = np.full(shape, 255, np.uint8)
    colors = {name: COLORS[k % len(COLORS)] for k, name in enumerate(names)}
    for k, panel in enumerate(panels):
        row, column = divmod(k, columns)
        _draw(canvas, panel, (column * WIDTH, row * HEIGHT), colors)
    for k, name in enumerate(names if legend_rows else ()):
        row, column = divmod(k, columns)
        x, y = column * WIDTH + LEFT, rows * HEIGHT + row * LEGEND_ROW + 8
        _line(canvas, (x, y), (x + 22, y), colors[name], 2)
        _text(canvas, name, (x + 28, y + 4))
    picture = cv2.resize(canvas, None, fx=1 / FINER, fy=1 / FINER, interpolation=cv2.INTER_AREA)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"cannot write {path}")


def _draw(
    canvas: npt.NDArray[np.uint8],
    panel: Panel,
    origin: tuple[int, int],
    colors: Mapping[str, tuple[int, int, int]],
) -> None:
    xs = sorted({x for line in panel.lines.values() for x in line})
    places = {x: float(k if panel.even else x) for k, x in enumerate(xs)}
    numbers = [v for line in panel.lines.values() for point in line.values() for v in point]
    finite = np.array([v for v in numbers if np.isfinite(v)])
    low, high, step = _scale(float(finite.min()), float(finite.max()))
    left, right = min(places.values()), max(places.values())
    pad = 0.04 * ((right - left) or 1.0)
    left, right = left - pad, right + pad
    x0, y0 = origin[0] + LEFT, origin[1] + TOP
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (places.get(x, x) - left) / (right - left), (y - low) / (high - low)
        return x0 + across * width, y0 + (1 - up) * height

    for value in np.arange(low, high + step / 2, step):
        _, y = at(xs[0], value)
        _line(canvas, (x0, y), (x0 + width, y), GRAY, 1)
        _text(canvas, f"{value:.{_decimals(step)}f}", (x0 - 6, y + 4), "right")
    for x in panel.ticks or xs:
        place, _ = at(x, low)
        _line(canvas, (place, y0 + height), (place, y0 + height + 4), INK, 1)
        _text(canvas, f"{x:g}", (place, y0 + height + 18), "center")
    _line(canvas, (x0, y0 + height), (x0 + width, y0 + height), INK, 1)
    _text(canvas, panel.title, (x0, y0 - 14))
    _text(canvas, panel.x_label, (x0 + width / 2, y0 + height + 36), "center")
    _text(canvas, panel.y_label, (x0 + width, y0 - 14), "right")
    for name, line in panel.lines.items():
        points = [(x, line[x]) for x in sorted(line) if np.isfinite(line[x].value)]
        for (xa, a), (xb, b) in zip(points, points[1:], strict=False):
            _line(canvas, at(xa, a.value), at(xb, b.value), colors[name], 2)
        for x, (value, below, above) in points:
            if np.isfinite(below):
                _line(canvas, at(x, below), at(x, above), colors[name], 1)
            _dot(canvas, at(x, value), colors[name])


def _scale(low: float, high: float) -> tuple[float, float, float]:
    """Ends and step of an axis with round numbers that holds both values."""
    span = (high - low) or abs(high) or 1.0
    raw = span / 5
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if raw <= m * power * (1 + 1e-9))
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step), float(step)


def _decimals(step: float) -> int:
    return next((n for n in range(6) if abs(step * 10**n - round(step * 10**n)) < 1e-6), 6)


def _pixel(point: tuple[float, float]) -> tuple[int, int]:
    return round(point[0] * FINER), round(point[1] * FINER)


def _line(canvas: Any, start: Any, end: Any, color: Any, width: int) -> None:
    cv2.line(canvas, _pixel(start), _pixel(end), color, width * FINER, cv2.LINE_AA)


def _dot(canvas: Any, at: tuple[float, float], color: Any) -> None:
    cv2.circle(canvas, _pixel(at), 3 * FINER, color, -1, cv2.LINE_AA)


def _text(canvas: Any, text: str, at: tuple[float, float], side: str = "left") -> None:
    size, thickness = 0.4 * FINER, FINER
    width = cv2.getTextSize(text, FONT, size, thickness)[0][0]
    x, y = _pixel(at)
    x -= {"left": 0, "center": width // 2, "right": width}[side]
    cv2.putText(canvas, text, (x, y), FONT, size, INK, thickness, cv2.LINE_AA)
