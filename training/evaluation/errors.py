"""What can be wrong with scans and predictions."""

from __future__ import annotations


class ScanError(ValueError):
    """A scan cannot be compared with a prediction; the message says what is wrong with which."""
