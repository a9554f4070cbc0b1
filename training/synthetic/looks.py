"""Looks that agree with a person's traits: skin, makeup, brows, beard, hair color."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facewright.models.arrays import FloatArray
from facewright.training.appearance.noise import random_field
from facewright.training.appearance.regions import smoothstep
from facewright.training.appearance.skin import Appearance, SkinSampler, _Person, draw_hair_colors
from facewright.training.appearance.tone import angle_of, draw_skin_color
from facewright.training.synthetic.traits import Traits

_LASH = np.float32([0.009, 0.007, 0.006])
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


def _mix(base: FloatArray, color: FloatArray, weight: FloatArray) -> FloatArray:
    return base + weight[:, None] * (color - base)


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
        color = _mix(color, hair.brows, brows * 0.92)
        beard, length, shadow = self._whiskers(rng, traits)
        stubble = 0.55 * hair.beard + np.float32([0.045, 0.05, 0.055]) * color.mean()
        color = _mix(color, stubble, shadow)
        lashes = float(rng.uniform(0.25, 0.75) + (0.2 if person.makeup else 0.0))
        color = _mix(color, _LASH, np.clip(self._lid_margin * lashes, 0, 1))
        eyes = self._draw_eyes(rng, person)
        # In their sockets, under lashes, bright irises look less vivid than in the open.
        eyes = replace(eyes, iris=(0.55 * eyes.iris + 0.25 * eyes.iris.mean()).astype(np.float32))
        color = np.clip(self._parts(rng, color, eyes), 0.002, 1.0).astype(np.float32)
        return Appearance(
            albedo_linear=color,
            albedo_srgb=self._with_occlusion(color),
            gloss=np.float32(0.7) * self._gloss(rng),
            brows=brows,
            beard=beard,
            beard_length_mm=length,
            lashes=lashes,
            eyes=eyes,
            hair=hair.scalp,
            brow_hair=hair.brows,
            beard_hair=hair.beard,
            melanin=person.melanin,
            age=person.age,
            masculine=person.masculine,
        )

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
