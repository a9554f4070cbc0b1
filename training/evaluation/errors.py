"""What can be wrong with scans and predictions, as exceptions.

ScanError (ValueError)
├── MeshError          a mesh or point set that cannot be measured
├── LandmarkError      landmarks that are missing, misplaced or of an unknown kind
├── EmptyCropError     no point of the scan is near the nose tip
├── AlignmentError     the prediction does not come to lie on the scan
└── BenchmarkError     a folder without the expected files
"""

from __future__ import annotations


class ScanError(ValueError):
    """A scan cannot be compared with a prediction."""


class MeshError(ScanError):
    """Vertices that are not finite, indices out of range, or no triangle that has an area."""


class LandmarkError(ScanError):
    """Landmarks that are not finite, too few, or of an unknown mark-up."""


class EmptyCropError(ScanError):
    """The crop around the nose tip holds too few points of the scan to align with."""


class AlignmentError(ScanError):
    """The alignment left the neighborhood of its start, or the units do not fit."""


class BenchmarkError(ScanError):
    """A benchmark's folder has not the layout it should have."""
