"""Garments: which part of the mesh is cloth, and how far it stands off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facewright.models.arrays import FloatArray
from facewright.training.appearance.regions import FaceRegions, smoothstep
from facewright.training.appearance.surface import SKIN, Surface
from facewright.training.synthetic.headwear import Headwear, Milliner
from facewright.training.synthetic.props import Prop
from facewright.training.synthetic.shading import Cloth
from facewright.training.synthetic.traits import Traits


@dataclass(frozen=True, eq=False)
class Garments:
    """Cloth of a portrait.

    Attributes:
        weight: (V,) float32; above 0.5 the garment is seen, below -0.5 headwear or a mask.
        stand_off: (V,) float32 mm along the normal.
        cloth: colors and pattern.
        headwear: what is on the head.
    """

    weight: FloatArray
    stand_off: FloatArray
    cloth: Cloth
    headwear: Headwear


class Wardrobe:
    """Dresses one head surface; `scalp_height` and `degrees` as of the hair grower."""

    def __init__(
        self,
        surface: Surface,
        regions: FaceRegions,
        scalp_height: FloatArray,
        degrees: FloatArray,
    ) -> None:
        self._regions = regions
        self._skin = surface.parts == SKIN
        self._milliner = Milliner(surface, regions, scalp_height, degrees)

    def draw(self, rng: np.random.Generator, traits: Traits) -> Garments:
        """Something to wear, in some portraits with headwear or a face mask."""
        r = self._regions
        x, y, z = r.x_abs, r.y, r.z
        # The collar's height falls from the nape to the throat; necklines cut deeper in front.
        throat = r.chin_y - rng.uniform(30, 75)
        slope = rng.uniform(0.25, 0.5)
        neckline = throat + slope * np.clip(-z - 20, 0, 110)
        jacket = rng.random() < (0.5 if traits.masculine else 0.22) * (traits.child < 0.2)
        if not jacket and rng.random() < (0.35 if traits.masculine else 0.6):
            cut, wide = rng.uniform(15, 90), rng.uniform(14, 55)
            neckline = neckline - cut * np.exp(-((x / wide) ** 2)) * (z > -90)
        inside = neckline - y
        # A wide ramp: the pixels' threshold at one half then is a smooth line across triangles.
        weight = np.clip(0.5 + inside / 16, 0, 1)
        stand_off = smoothstep(inside, -4.0, 3.0) * rng.uniform(2.0, 7.0)
        headwear = self._milliner.draw(rng, traits)
        weight = np.where(headwear.weight > weight, -headwear.weight, weight)
        return Garments(
            weight=np.where(self._skin, weight, 0).astype(np.float32),
            stand_off=np.where(self._skin, np.maximum(stand_off, headwear.stand_off), 0).astype(
                np.float32
            ),
            cloth=_draw_cloth(rng, jacket, float(throat), headwear.color),
            headwear=headwear,
        )

    def parts(
        self,
        rng: np.random.Generator,
        headwear: Headwear,
        vertices: FloatArray,
        landmarks: FloatArray,
    ) -> list[Prop]:
        """Parts of the headwear beside the head's own surface, as of `Milliner.parts`."""
        return self._milliner.parts(rng, headwear, vertices, landmarks)


def _draw_cloth(rng: np.random.Generator, jacket: bool, top: float, headwear: FloatArray) -> Cloth:
    first = rng.uniform(0.01, 0.85, 3) ** 1.8 * rng.uniform(0.3, 1.0)
    # Most clothes are dark, white or muted.
    kept = rng.beta(0.8, 2.0)
    first = first.mean() + kept * (first - first.mean())
    if rng.random() < 0.35:
        first = rng.uniform(0.004, 0.03) + 0.2 * first
    elif rng.random() < 0.25:
        first = rng.uniform(0.5, 0.8) + 0.1 * first
    second = rng.uniform(0.01, 0.9, 3) ** 1.8
    third = rng.uniform(0.01, 0.6, 3) ** 1.5
    pattern, period = int(rng.choice([0, 1, 2, 3], p=[0.76, 0.1, 0.07, 0.07])), rng.uniform(4, 30)
    if jacket:
        first = rng.uniform(0.004, 0.06) + rng.uniform(0, 0.02, 3)
        if rng.random() < 0.15:
            first = first + rng.uniform(0.1, 0.4)
        second = rng.uniform(0.5, 0.85) * np.ones(3) * np.exp(rng.normal(0, 0.04, 3))
        if rng.random() < 0.35:
            second = 0.25 + 0.4 * rng.uniform(0, 1, 3) ** 1.5
        pattern, period = 4, rng.uniform(9, 16) if rng.random() < 0.75 else 0.0
    colors = tuple(float(c) for c in (*first, *second, *third, *headwear))
    return Cloth(colors=colors, pattern=pattern, period=float(period), top=top)
