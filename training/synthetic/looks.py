"""Looks that agree with a person's traits: skin, makeup, brows, beard, hair color."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facewright.models.arrays import FloatArray
from facewright.training.appearance.noise import random_field
from facewright.training.appearance.regions import smoothstep
from facewright.training.appearance.skin import (
    Appearance,
    EyeLook,
    SkinSampler,
    _Person,
    draw_hair_colors,
)
from facewright.training.appearance.tone import angle_of, draw_skin_color
from facewright.training.synthetic.traits import Traits

_BEARDS = {
    # Share, density and length (mm) ranges of the hair, share of the skin's darkening.
    "clean": (0.50, (0.0, 0.0), (0.0, 0.0), 0.0),
    "shadow": (0.17, (0.0, 0.0), (0.0, 0.0), 0.0),
    "stubble": (0.11, (0.3, 1.0), (1.0, 3.0), 0.45),
    "full": (0.07, (0.75, 1.0), (4.0, 12.0), 0.85),
    "long": (0.02, (0.85, 1.0), (18.0, 45.0), 0.85),
    "circle": (0.04, (0.7, 1.0), (2.0, 8.0), 0.8),
    "goatee": (0.03, (0.7, 1.0), (3.0, 14.0), 0.8),
    "moustache": (0.06, (0.7, 1.0), (4.0, 9.0), 0.85),
}


class LookSampler(SkinSampler):
    """Draws appearances of given people; the pigments are those of the face model's albedo."""

    def of(self, rng: np.random.Generator, traits: Traits) -> Appearance:
        """One look that goes with `traits`."""
        person = _Person(
            melanin=traits.melanin,
            color=draw_skin_color(rng, angle_of(traits.melanin)),
            blood=float(np.clip(rng.normal(0.42, 0.2), 0, 1.1)),
            age=traits.age,
            masculine=traits.masculine,
            makeup=bool(not traits.masculine and traits.child < 0.2 and rng.random() < 0.6),
        )
        tone = max(traits.melanin, 0.5) if traits.dark_hair else traits.melanin
        # Women dye their hair more often.
        hair = draw_hair_colors(rng, tone, traits.age if traits.masculine else 0.8 * traits.age)
        color = self._makeup(rng, person, self._skin(rng, person))
        brows = self._brows(rng, person)
        return self._with_hair(rng, person, color, hair, brows, self._whiskers(rng, traits))

    def _draw_eyes(self, rng: np.random.Generator, person: _Person) -> EyeLook:
        """In their sockets, under lashes, bright irises look less vivid than in the open."""
        eyes = super()._draw_eyes(rng, person)
        return replace(eyes, iris=(0.55 * eyes.iris + 0.25 * eyes.iris.mean()).astype(np.float32))

    def _gloss(self, rng: np.random.Generator) -> FloatArray:
        return np.float32(0.7) * super()._gloss(rng)

    def _whiskers(
        self, rng: np.random.Generator, traits: Traits
    ) -> tuple[FloatArray, float, FloatArray]:
        """Hair density, hair length in mm, and the darkening of the skin below."""
        r = self.regions
        nothing = np.zeros(len(r.y), np.float32)
        if not traits.masculine or traits.child > 0.15:
            return nothing, 0.0, nothing
        names = list(_BEARDS)
        style = str(rng.choice(names, p=[_BEARDS[name][0] for name in names]))
        _, densities, lengths, darkening = _BEARDS[style]
        chin = np.exp(-((r.x_abs / rng.uniform(17, 28)) ** 4))
        around = np.exp(-((r.x_abs / rng.uniform(26, 34)) ** 6))
        below = 1 - smoothstep(r.y, r.mouth_y - 10, r.mouth_y - 4)
        where = {
            "goatee": r.beard * chin * below,
            "circle": r.beard * around,
            "moustache": r.moustache,
        }.get(style, r.beard)
        patchy = 0.95 + 0.13 * random_field(rng, self._points, 9)
        patchy = patchy + 0.14 * random_field(rng, self._points, 2.2)
        where = where * np.clip(patchy, 0, 1.3)
        shaved = r.beard * np.float32(rng.uniform(0, 0.12))
        if style == "clean":
            return nothing, 0.0, shaved
        if style == "shadow":
            return nothing, 0.0, np.clip(where * rng.uniform(0.08, 0.30), 0, 1)
        grown = np.clip(where * rng.uniform(*densities), 0, 1).astype(np.float32)
        length = float(rng.uniform(*lengths))
        return grown, length, np.maximum(grown * np.float32(darkening), shaved)
