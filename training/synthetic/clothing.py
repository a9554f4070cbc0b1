"""Garments and headwear: which part of the mesh is cloth, and how far it stands off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.appearance.regions import FaceRegions, smoothstep
from training.appearance.surface import SKIN, Surface
from training.synthetic.hair import HairGrower
from training.synthetic.shading import Cloth

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Garments:
    """Cloth of a portrait.

    Attributes:
        weight: (V,) float32, above 0.5 where cloth is seen.
        stand_off: (V,) float32 mm along the normal.
        cloth: colours and pattern.
        covers_hair: whether headwear replaces the scalp hair.
    """

    weight: FloatArray
    stand_off: FloatArray
    cloth: Cloth
    covers_hair: bool


class Wardrobe:
    """Dresses one head surface."""

    def __init__(self, surface: Surface, regions: FaceRegions, hair: HairGrower) -> None:
        self._regions = regions
        self._skin = surface.parts == SKIN
        self._scalp_height = hair.height
        self._degrees = hair.degrees
        self._relative = surface.relative

    def draw(self, rng: np.random.Generator) -> Garments:
        """A random garment, in a few portraits with a cap or a headscarf."""
        r = self._regions
        x, y, z = r.x_abs, r.y, r.z
        # The collar's height falls from the nape to the throat; necklines cut deeper in front.
        throat = r.chin_y - rng.uniform(30, 75)
        slope = rng.uniform(0.25, 0.5)
        neckline = throat + slope * np.clip(-z - 20, 0, 110)
        jacket = rng.random() < 0.25
        if not jacket and rng.random() < 0.4:
            cut, wide = rng.uniform(15, 90), rng.uniform(14, 55)
            neckline = neckline - cut * np.exp(-((x / wide) ** 2)) * (z > -90)
        inside = neckline - y
        # A wide ramp: the pixels' threshold at one half then is a smooth line across triangles.
        weight = np.clip(0.5 + inside / 16, 0, 1)
        stand_off = smoothstep(inside, -4.0, 3.0) * rng.uniform(2.0, 7.0)
        covers_hair = False
        kind = rng.random()
        if kind < 0.035:
            covers_hair = True
            low = rng.uniform(-8, 22)
            above = self._scalp_height - low
            hat = np.clip(0.5 + above / 14, 0, 1)
            weight = np.maximum(weight, hat)
            stand_off = stand_off + smoothstep(above, -3, 5) * rng.uniform(4, 10)
        elif kind < 0.065:
            covers_hair = True
            # A scarf leaves the oval of the face.
            oval = (x / rng.uniform(60, 68)) ** 2 + ((y + 28) / rng.uniform(88, 98)) ** 2
            scarf = np.maximum(smoothstep(oval, 0.85, 1.15), smoothstep(-z, 54, 74))
            weight = np.maximum(weight, scarf)
            stand_off = np.maximum(stand_off, scarf * rng.uniform(3, 8))
        weight = np.where(self._skin, weight, 0).astype(np.float32)
        return Garments(
            weight=weight,
            stand_off=np.where(self._skin, stand_off, 0).astype(np.float32),
            cloth=_draw_cloth(rng, jacket, float(throat)),
            covers_hair=covers_hair,
        )


def _draw_cloth(rng: np.random.Generator, jacket: bool, top: float) -> Cloth:
    first = rng.uniform(0.01, 0.85, 3) ** 1.8 * rng.uniform(0.3, 1.0)
    if rng.random() < 0.5:
        first = first.mean() + 0.35 * (first - first.mean())
    second = rng.uniform(0.01, 0.9, 3) ** 1.8
    third = rng.uniform(0.01, 0.6, 3) ** 1.5
    pattern, period = int(rng.choice([0, 1, 2, 3], p=[0.7, 0.12, 0.1, 0.08])), rng.uniform(4, 30)
    if jacket:
        first = rng.uniform(0.005, 0.05) + rng.uniform(0, 0.02, 3)
        second = rng.uniform(0.55, 0.85, 3) if rng.random() < 0.7 else 0.3 + 0.3 * second
        pattern, period = 4, rng.uniform(9, 16) if rng.random() < 0.75 else 0.0
    colours = tuple(float(c) for c in (*first, *second, *third))
    return Cloth(colours=colours, pattern=pattern, period=float(period), top=top)
