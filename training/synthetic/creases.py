"""Skin folds that come and go with the expression: too fine for the mesh, so drawn as shade."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from facewright.training.appearance.regions import FaceRegions

FloatArray = NDArray[np.float32]

# Which blendshapes deepen which fold.
_CAUSES = {
    "nasolabial": ("mouthSmileLeft", "mouthSmileRight", "noseSneerLeft", "noseSneerRight"),
    "crows_feet": ("cheekSquintLeft", "cheekSquintRight", "eyeSquintLeft", "eyeSquintRight"),
    "bags": ("cheekSquintLeft", "cheekSquintRight", "mouthSmileLeft", "mouthSmileRight"),
    "forehead": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    "frown": ("browDownLeft", "browDownRight"),
}


class ExpressionCreases:
    """Fold maps of one head and how far an expression activates them."""

    def __init__(self, regions: FaceRegions, units: Mapping[str, FloatArray]) -> None:
        self._maps = {
            "nasolabial": regions.nasolabial_fold,
            "crows_feet": regions.crows_feet,
            "bags": regions.eye_bag_line,
            "forehead": regions.forehead_lines(43.0, 9.0, 3),
            "frown": regions.frown_lines,
        }
        self._causes = {
            fold: [units[name] for name in names if name in units]
            for fold, names in _CAUSES.items()
        }

    def activation(self, fold: str, expression: FloatArray) -> float:
        """How far ``expression`` (64,) does what deepens a fold, in [0, 1]."""
        causes = self._causes[fold]
        if not causes:
            return 0.0
        shares = [float(expression @ unit / (unit @ unit)) for unit in causes]
        return float(np.clip(max(shares), 0, 1))

    def shade(self, rng: np.random.Generator, expression: FloatArray, age: float) -> FloatArray:
        """(V, 3) factors in (0, 1] on the reflectance; deeper with age in [0, 1]."""
        depth = np.zeros(len(self._maps["frown"]), np.float32)
        for fold, where in self._maps.items():
            strength = self.activation(fold, expression) * (0.35 + 0.65 * age)
            depth += np.float32(strength * rng.uniform(0.3, 1.1)) * where
        return np.exp(-depth[:, None] * np.float32([0.65, 0.85, 0.9]))
