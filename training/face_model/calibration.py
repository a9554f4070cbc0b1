"""Weights of the local controls that bring the mean face and its spread to published norms."""

from __future__ import annotations

CALIBRATION: dict[str, float] = {}
SPREAD: dict[str, float] = {}
