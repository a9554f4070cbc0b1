"""Folds of age and expression: too fine for the mesh, so drawn as a relief on the skin.

The relief is a height map over the front of the face, in the frame of `Surface.relative` seen from
the front. Pixels turn their normals by its slope and lose light in its valleys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import Array, FloatArray
from facewright.training.appearance.noise import random_field
from facewright.training.appearance.regions import FaceRegions
from facewright.training.appearance.surface import SKIN, Surface

HALF_WIDTH_MM, TOP_MM, BOTTOM_MM = 72.0, 80.0, -112.0
PIXELS_PER_MM = 2.0

# Which blendshapes deepen which fold, without the side; browInnerUp has none.
_CAUSES = {
    "nasolabial": ("mouthSmile", "noseSneer", "mouthDimple"),
    "crows_feet": ("cheekSquint", "eyeSquint", "mouthSmile"),
    "bags": ("cheekSquint", "mouthSmile"),
    "forehead": ("browInnerUp", "browOuterUp"),
    "frown": ("browDown",),
    "marionette": ("mouthFrown",),
}
# Depth (mm) at full activation of an old face, and of old age on a face at rest.
_DEPTHS = {
    "nasolabial": (1.1, 1.1),
    "crows_feet": (0.6, 0.5),
    "bags": (0.5, 0.8),
    "forehead": (0.75, 0.5),
    "frown": (0.8, 0.6),
    "marionette": (0.6, 0.8),
}
_CRINKLE_MM = 0.15
_FOREHEADS = 4
_NOISES = 3
_WANDER_MM = 1.6


@dataclass(frozen=True, eq=False)
class _FrontPlane:
    """The part of a surface that `FaceRegions` reads, on the map's grid instead of a mesh."""

    relative: FloatArray
    relative_landmarks: FloatArray
    parts: NDArray[np.uint8]

    def mask(self, name: str) -> FloatArray:
        """No grid point is known to be part of lips, lids or ears."""
        return np.zeros(len(self.relative), np.float32)


class FoldRelief:
    """Fold maps of one head and how far a face makes them."""

    def __init__(self, surface: Surface, units: Mapping[str, FloatArray]) -> None:
        step = 1 / PIXELS_PER_MM
        x = np.arange(-HALF_WIDTH_MM, HALF_WIDTH_MM, step, dtype=np.float32) + step / 2
        y = np.arange(TOP_MM, BOTTOM_MM, -step, dtype=np.float32) - step / 2
        self.shape = len(y), len(x)
        at = np.stack([*np.meshgrid(x, y), np.zeros(self.shape, np.float32)], -1).reshape(-1, 3)
        plane = _FrontPlane(
            at, surface.relative_landmarks, np.full(len(at), SKIN, np.uint8)
        )  # fmt: skip
        regions = FaceRegions(plane)  # type: ignore[arg-type]
        rng = np.random.default_rng(17)
        self._maps = {
            "nasolabial": [regions.nasolabial_fold],
            "crows_feet": [regions.crows_feet],
            "bags": [regions.eye_bag_line],
            "forehead": [
                regions.forehead_lines(rng.uniform(38, 46), rng.uniform(7, 10), 3 + k % 3)
                for k in range(_FOREHEADS)
            ],
            "frown": [regions.frown_lines],
            "marionette": [regions.marionette_lines],
        }
        self._maps = {
            fold: [np.ascontiguousarray(m.reshape(self.shape), np.float32) for m in maps]
            for fold, maps in self._maps.items()
        }
        broad = [random_field(rng, at, 14).reshape(self.shape) for _ in range(2 * _NOISES)]
        fine = [random_field(rng, at, 1.6, (2.5, 1.0, 1.0)).reshape(self.shape)
                for _ in range(_NOISES)]  # fmt: skip
        loose = np.clip(regions.under_eyes + regions.cheeks + 0.4 * regions.mouth_surround, 0, 1)
        self._broad = broad
        self._crinkles = [f * (0.25 + loose.reshape(self.shape)) for f in fine]
        self._flat = np.zeros((*self.shape, 3), np.float32)
        columns, rows = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in self.shape[::-1]))
        self._columns, self._rows = columns, rows
        middle = len(x) // 2
        self._sides = slice(middle, None), slice(0, middle)
        self._causes = {
            fold: [
                [units[name + side] for name in names if name + side in units]
                + [units[name] for name in names if name in units]
                for side in ("Left", "Right")
            ]
            for fold, names in _CAUSES.items()
        }

    def activation(self, fold: str, expression: FloatArray) -> tuple[float, float]:
        """How far `expression` (64,) deepens a fold on the left and right side, in [0, 1]."""
        sides = []
        for causes in self._causes[fold]:
            shares = [float(expression @ unit / (unit @ unit)) for unit in causes]
            sides.append(float(np.clip(max(shares, default=0.0), 0, 1)))
        return sides[0], sides[1]

    def relief(self, seed: int, expression: FloatArray, age: float) -> Array:
        """(H, W, 3) float32: slope of the height to the right and up, and the depth in mm.

        Args:
            seed: of the person, whose folds stay where they are.
            expression: (64,) coefficients.
            age: 0 young to 1 old.
        """
        rng = np.random.default_rng(seed)
        old = float(np.clip(1.2 * age - 0.1, 0, 1))
        depth: Array = np.zeros(self.shape, np.float32)
        for fold, maps in self._maps.items():
            chosen = maps[int(rng.integers(len(maps)))]
            moved, at_rest = _DEPTHS[fold]
            resting = at_rest * old * rng.uniform(0.2, 1.1)
            moved *= (0.4 + 0.6 * age) * rng.uniform(0.5, 1.1)
            amounts = [resting + moved * a for a in self.activation(fold, expression)]
            for side, amount in zip(self._sides, amounts, strict=True):
                if amount > 0.02:
                    depth[:, side] += np.float32(amount) * chosen[:, side]
        noise = int(rng.integers(_NOISES))
        crinkle = _CRINKLE_MM * old**2 * rng.uniform(0.2, 1.0)
        if not depth.any() and crinkle < 0.01:
            return self._flat
        if depth.any():
            # Real folds are neither straight nor the same on both sides.
            shift = np.float32(_WANDER_MM * PIXELS_PER_MM * 0.6)
            across, along = self._broad[2 * noise], self._broad[2 * noise + 1]
            depth = cv2.remap(depth, self._columns + shift * across, self._rows + shift * along,
                              cv2.INTER_LINEAR)  # fmt: skip
            depth *= np.clip(1 + np.float32(0.35) * along, 0.3, 1.5)
        if crinkle > 0.01:
            depth += np.float32(crinkle) * self._crinkles[noise]
        half = PIXELS_PER_MM / 8
        right = cv2.Sobel(depth, cv2.CV_32F, 1, 0, ksize=3, scale=-half)
        up = cv2.Sobel(depth, cv2.CV_32F, 0, 1, ksize=3, scale=half)
        return cv2.merge([right, up, np.maximum(depth, 0)])
