"""Random people's colors: skin, lips, lids, brows, beards, lashes and eyes on a surface.

Skin color is light absorbed by melanin and haemoglobin in a two-layer approximation: reflectance
= base · exp(−melanin · e_m − haemoglobin · e_h) per channel, with extinction vectors in the ratios
of the pigments' spectra seen by sRGB primaries (Tsumura et al., "Image-based skin color and
texture analysis/synthesis by extracting hemoglobin and melanin information", SIGGRAPH 2003). The
pigments say how color varies over a face; its level is that of a skin tone drawn evenly over the
human range (`training.appearance.tone`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facewright.models.arrays import FloatArray, float32
from facewright.models.color import srgb_from_linear
from facewright.training.appearance.noise import random_field
from facewright.training.appearance.regions import FaceRegions, sigmoid, smoothstep
from facewright.training.appearance.surface import Surface
from facewright.training.appearance.tone import DARKEST, LIGHTEST, draw_skin_color, melanin_of

_BASE = float32([0.83, 0.60, 0.47])
_MELANIN = float32([1.75, 2.35, 2.85])
_HAEMOGLOBIN = float32([0.06, 0.33, 0.26])
_GUMS = float32([0.40, 0.13, 0.12])
_TONGUE = float32([0.36, 0.12, 0.11])
_INSIDE_MOUTH = float32([0.16, 0.045, 0.04])
_CONJUNCTIVA = float32([0.52, 0.26, 0.23])
_BLACK = float32([0.009, 0.007, 0.006])
_IRIS_COLORS = float32(
    [
        [0.050, 0.022, 0.010],  # dark brown
        [0.022, 0.012, 0.007],  # nearly black
        [0.120, 0.190, 0.270],  # blue
        [0.150, 0.190, 0.190],  # gray
        [0.100, 0.120, 0.055],  # green
        [0.110, 0.060, 0.022],  # hazel
    ]
)


@dataclass(frozen=True)
class EyeLook:
    """Colors and sizes of a pair of eyes; linear light, reference mm."""

    iris: FloatArray
    sclera: FloatArray
    iris_radius: float
    pupil_radius: float
    limbal_ring: float
    redness: float


@dataclass(frozen=True, eq=False)
class Appearance:
    """One person's colors on the sampler's surface.

    Attributes:
        albedo_linear: (V, 3) float32 linear reflectance in [0, 1], no shading of any kind.
        albedo_srgb: (V, 3) float32 display-referred sRGB in [0, 1] with ambient occlusion baked
            in, the form that the face model stores.
        gloss: (V,) float32 in [0, 1], strength of the oily highlight.
        brows: (V,) float32 in [0, 1], density of brow hair.
        beard: (V,) float32 in [0, 1], density of beard hair; zero when shaved.
        beard_length_mm: length of beard hair; 0 when shaved.
        lashes: darkness of the lash line in [0, 1].
        eyes: the eyes.
        hair: (3,) float32 linear color of scalp hair.
        brow_hair, beard_hair: (3,) float32 linear colors.
        melanin: position on the skin tone range, 0 lightest to 1.15 darkest.
        age: 0 young to 1 old; drives wrinkles, spots and gray hair.
        masculine: whether beards can grow.
    """

    albedo_linear: FloatArray
    albedo_srgb: FloatArray
    gloss: FloatArray
    brows: FloatArray
    beard: FloatArray
    beard_length_mm: float
    lashes: float
    eyes: EyeLook
    hair: FloatArray
    brow_hair: FloatArray
    beard_hair: FloatArray
    melanin: float
    age: float
    masculine: bool


@dataclass(frozen=True)
class _Person:
    melanin: float
    color: FloatArray
    blood: float
    age: float
    masculine: bool
    makeup: bool


def _draw_person(rng: np.random.Generator) -> _Person:
    angle = float(rng.uniform(DARKEST, LIGHTEST))
    masculine = bool(rng.random() < 0.55)
    return _Person(
        melanin=melanin_of(angle),
        color=draw_skin_color(rng, angle),
        blood=float(np.clip(rng.normal(0.45, 0.25), 0, 1.2)),
        age=float(rng.beta(1.1, 1.5)),
        masculine=masculine,
        makeup=bool(not masculine and rng.random() < 0.55),
    )


@dataclass(frozen=True, eq=False)
class HairColors:
    """Linear colors (3,) of a person's hair."""

    scalp: FloatArray
    brows: FloatArray
    beard: FloatArray


def draw_hair_colors(rng: np.random.Generator, melanin: float, age: float) -> HairColors:
    """Hair that goes with a skin tone and an age in [0, 1]; beards gray first, brows last."""
    natural = float32(
        [
            [0.008, 0.006, 0.005],
            [0.020, 0.012, 0.008],
            [0.050, 0.027, 0.014],
            [0.120, 0.065, 0.030],
            [0.300, 0.190, 0.090],
            [0.190, 0.060, 0.020],
        ]
    )
    dark = melanin > 0.42
    weights = [0.75, 0.22, 0.03, 0, 0, 0] if dark else [0.18, 0.24, 0.25, 0.14, 0.14, 0.05]
    color = natural[rng.choice(len(natural), p=weights)]
    color = color * np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.06, 3))
    white = float32([0.99, 0.98, 0.95]) * rng.uniform(0.26, 0.66)
    share, of_beard, of_brows = 0.0, 0.0, 0.0
    if rng.random() < 1.2 * age - 0.25:
        share = float(np.clip(rng.normal(1.25 * age - 0.1, 0.3), 0.15, 1.0))
        of_beard = float(np.clip(share + rng.normal(0.15, 0.2), 0, 1))
        of_brows = share * float(rng.uniform(0, 1)) ** 0.7
    elif rng.random() < age:
        of_beard = float(rng.uniform(0.1, 0.8))
    # Brows and beards are darker than fair scalp hair, and seldom fairer than light brown.
    facial = np.clip(color * np.exp(rng.normal(-0.45, 0.25)), 0.004, 0.2)

    def mixed(base: FloatArray, gray: float) -> FloatArray:
        return np.clip(base * (1 - gray) + white * gray, 0.004, 0.7).astype(np.float32)

    return HairColors(mixed(color, share), mixed(facial, of_brows), mixed(facial, of_beard))


def _blend(base: FloatArray, color: FloatArray, weight: FloatArray) -> FloatArray:
    return base + weight[:, None] * (color - base)


class SkinSampler:
    """Draws appearances on one surface; construction precomputes the surface's maps."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.regions = FaceRegions(surface)
        self._points = np.ascontiguousarray(surface.relative, np.float32)
        self._brow_along, self._brow_above = self.regions.brow_coordinates()
        self._occlusion = surface.occlusion
        self._lid_margin = surface.lid_margin * (self.regions.x_abs < 60)
        self._iris_radius = surface.iris_radius
        self._skin_vertices = np.flatnonzero((self.regions.skin > 0) & self.regions.front)
        # Where dermatologists measure a tone: cheeks and forehead.
        r = self.regions
        self._tone_vertices = np.flatnonzero(
            (r.skin > 0) & ((r.cheeks > 0.5) | ((np.abs(r.y - 50) < 10) & (r.x_abs < 30) & r.front))
        )

    def sample(self, rng: np.random.Generator) -> Appearance:
        """Draw one person; the same generator state gives the same person."""
        person = _draw_person(rng)
        hair = draw_hair_colors(rng, person.melanin, person.age)
        color = self._skin(rng, person)
        color = self._makeup(rng, person, color)
        brows = self._brows(rng, person)
        return self._with_hair(rng, person, color, hair, brows, self._beard(rng, person))

    def _with_hair(
        self,
        rng: np.random.Generator,
        person: _Person,
        color: FloatArray,
        hair: HairColors,
        brows: FloatArray,
        beard_length_shadow: tuple[FloatArray, float, FloatArray],
    ) -> Appearance:
        """A skin on which hair of these densities grows; lashes and eyes are drawn."""
        color = _blend(color, hair.brows, brows * 0.92)
        beard, length, shadow = beard_length_shadow
        stubble = 0.55 * hair.beard + float32([0.045, 0.05, 0.055]) * color.mean()
        color = _blend(color, stubble, shadow)
        lashes = float(rng.uniform(0.25, 0.75) + (0.2 if person.makeup else 0.0))
        color = _blend(color, _BLACK, np.clip(self._lid_margin * lashes, 0, 1))
        eyes = self._draw_eyes(rng, person)
        color = self._parts(rng, color, eyes)
        color = np.clip(color, 0.002, 1.0).astype(np.float32)
        return Appearance(
            albedo_linear=color,
            albedo_srgb=self._with_occlusion(color),
            gloss=self._gloss(rng),
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

    def _noise(
        self,
        rng: np.random.Generator,
        feature_mm: float,
        stretch: tuple[float, float, float] | None = None,
    ) -> FloatArray:
        return random_field(rng, self._points, feature_mm, stretch)

    def _skin(self, rng: np.random.Generator, person: _Person) -> FloatArray:
        r = self.regions
        broad, patchy = self._noise(rng, 45), self._noise(rng, 16)
        blotchy, fine, pores = (self._noise(rng, s) for s in (7, 3.2, 1.6))
        uneven = rng.uniform(0.25, 1.0) ** 1.5 * (0.6 + 0.5 * person.age)
        fair = 1.0 - 0.65 * min(person.melanin, 1.0)

        blood = np.full(len(r.y), person.blood * fair, np.float32)
        blood += (
            rng.uniform(0, 0.75) * r.cheeks
            + rng.uniform(0, 0.7) * r.nose
            + rng.uniform(0, 0.35) * r.under_eyes
            + rng.uniform(0, 0.25) * r.eyelids
            + rng.uniform(0, 0.5) * r.ears
            + rng.uniform(-0.1, 0.25) * r.mouth_surround
            - rng.uniform(0, 0.2) * r.forehead
        ) * np.float32(fair)
        blood += uneven * (0.14 * broad + 0.12 * patchy + 0.10 * blotchy + 0.09 * fine)
        blemishes = smoothstep(self._noise(rng, 5), 1.9, 2.6) * rng.uniform(0, 0.9) ** 2
        blood += blemishes * r.skin

        melanin = np.full(len(r.y), person.melanin, np.float32)
        melanin += (
            rng.uniform(-0.01, 0.10) * r.under_eyes
            + rng.uniform(0, 0.07) * r.eye_sockets
            + rng.uniform(0, 0.06) * r.eyelids
            + rng.uniform(-0.02, 0.06) * r.forehead
            + rng.uniform(0, 0.05) * r.mouth_surround
        )
        melanin += uneven * (0.03 * broad + 0.022 * patchy + 0.016 * blotchy + 0.014 * fine)
        melanin += 0.010 * rng.uniform(0.4, 1.6) * pores
        melanin += self._freckles(rng, person) + self._moles(rng) + self._age_spots(rng, person)

        creases = self._creases(rng, person)
        melanin += 0.10 * creases
        blood += 0.5 * creases

        lips = r.lips * rng.uniform(0.55, 1.0)
        blood += lips * rng.uniform(0.5, 1.7) * (1.0 + 0.25 * r.lower_lip)
        melanin += lips * (rng.uniform(-0.02, 0.10) + 0.10 * max(person.melanin - 0.5, 0))
        melanin -= r.lower_lip * rng.uniform(0, 0.06) * (person.melanin > 0.4)
        streaks = self._noise(rng, 1.6, (1.0, 4.0, 4.0))
        melanin += r.lips * 0.035 * streaks

        melanin = np.clip(melanin, 0, 1.5)
        blood = np.clip(blood, 0, 3.5)
        absorbed = melanin[:, None] * _MELANIN + blood[:, None] * _HAEMOGLOBIN
        color = (_BASE * np.exp(-absorbed)).astype(np.float32)
        level = np.median(color[self._tone_vertices], axis=0)
        return (color * (person.color / level)).astype(np.float32)

    def _freckles(self, rng: np.random.Generator, person: _Person) -> FloatArray:
        r = self.regions
        amount = 0.0
        if person.melanin < 0.4 and rng.random() < 0.3:
            amount = rng.uniform(0.05, 0.22)
        if rng.random() < 0.7 * person.age:
            amount = max(amount, rng.uniform(0.02, 0.10))
        if amount == 0.0:
            return np.zeros(len(r.y), np.float32)
        where = np.clip(r.cheeks + r.nose + 0.35 * r.forehead + rng.uniform(0, 0.4), 0, 1)
        threshold = rng.uniform(0.6, 1.3)
        spots = smoothstep(self._noise(rng, rng.uniform(2.2, 3.4)), threshold, threshold + 0.7)
        return (amount * spots * where * r.skin * (1 - r.lips)).astype(np.float32)

    def _age_spots(self, rng: np.random.Generator, person: _Person) -> FloatArray:
        """Flat brown spots of some millimeters on the sunlit parts of old skin."""
        r = self.regions
        if rng.random() > 1.2 * person.age - 0.3:
            return np.zeros(len(r.y), np.float32)
        where = np.clip(0.8 * r.forehead + r.cheeks + smoothstep(r.x_abs, 40, 55), 0, 1)
        threshold = rng.uniform(1.3, 2.0)
        spots = smoothstep(self._noise(rng, rng.uniform(4, 8)), threshold, threshold + 0.35)
        return (rng.uniform(0.06, 0.25) * spots * where * r.skin * (1 - r.lips)).astype(np.float32)

    def _moles(self, rng: np.random.Generator) -> FloatArray:
        moles = np.zeros(len(self._points), np.float32)
        if len(self._skin_vertices) == 0:
            return moles
        for _ in range(rng.poisson(1.5)):
            center = self._points[rng.choice(self._skin_vertices)]
            squared = ((self._points - center) ** 2).sum(1)
            radius = rng.uniform(0.7, 1.8)
            moles += rng.uniform(0.15, 0.6) * np.exp(-squared / radius**2)
        return moles * self.regions.skin

    def _creases(self, rng: np.random.Generator, person: _Person) -> FloatArray:
        r = self.regions
        depth = float(np.clip(person.age * 1.2 - 0.1, 0.05, 1.0))
        gap = rng.uniform(7, 11)
        lines = r.forehead_lines(rng.uniform(40, 46), gap, int(rng.integers(2, 5)))
        broken = np.clip(0.6 + 0.6 * self._noise(rng, 14), 0, 1.3)
        return np.clip(
            (0.25 + depth) * rng.uniform(0.2, 1.0) * r.nasolabial_fold
            + (0.2 + depth) * rng.uniform(0, 1.0) * r.eye_bag_line
            + depth * broken * rng.uniform(0, 0.9) * lines
            + depth * rng.uniform(0, 0.9) * r.crows_feet
            + depth * rng.uniform(0, 0.8) * r.frown_lines,
            0,
            1.2,
        ).astype(np.float32)

    def _makeup(self, rng: np.random.Generator, person: _Person, color: FloatArray) -> FloatArray:
        if not person.makeup:
            return color
        r = self.regions
        rouge = float32([0.62, 0.20, 0.20]) * rng.uniform(0.6, 1.2)
        color = color * (1 - 0.35 * rng.uniform(0, 1) * r.cheeks[:, None] * (1 - rouge))
        if rng.random() < 0.7:
            strength = rng.uniform(0.1, 0.9)
            tone = float32([rng.uniform(0.2, 0.8), rng.uniform(0.02, 0.2), 0])
            tone[2] = tone[1] * rng.uniform(0.7, 2.0)
            tone = tone * (0.3 + 0.7 * float(color.mean()) / 0.35)
            color = _blend(color, np.clip(tone, 0, 0.8), r.lips * np.float32(strength))
        if rng.random() < 0.5:
            tone = (rng.uniform(0.05, 0.4, 3) * float(color.mean()) / 0.3).astype(np.float32)
            color = _blend(color, tone, r.upper_lids * np.float32(rng.uniform(0, 0.55)))
        return color

    def _brows(self, rng: np.random.Generator, person: _Person) -> FloatArray:
        r = self.regions
        along, above = self._brow_along, self._brow_above
        shift = rng.normal(0, 0.05)
        length = rng.normal(0.98, 0.08)
        t = (along - shift) / length
        clipped = np.clip(t, 0, 1)
        middle = (
            rng.normal(0.3 if not person.masculine else -0.6, 1.3)
            + rng.normal(0.3, 1.3) * np.sin(clipped * np.pi * 0.85)
            + rng.normal(0, 1.5) * (clipped - 0.4)
        )
        thick = float(np.clip(rng.normal(4.4 if person.masculine else 3.3, 0.9), 1.5, 7.0))
        knots, widths = [-0.1, 0, 0.15, 0.55, 0.85, 1.1], [0.6, 0.85, 1.05, 0.95, 0.6, 0.2]
        taper = np.interp(t, knots, widths).astype(np.float32)
        ragged = 0.35 * self._noise(rng, 2.2)
        across = np.abs((above - middle) / (thick * taper)) + ragged * 0.35
        soft = np.exp(-(np.clip(across, 0, None) ** 3))
        ends = sigmoid((t + 0.03 + 0.02 * ragged) / 0.035) * sigmoid((1.03 - t) / 0.05)
        density = float(np.clip(rng.normal(0.88, 0.2), 0.08, 1.0))
        density *= 1 - 0.5 * person.age * rng.random()
        hairs = np.clip(0.86 + 0.22 * self._noise(rng, 1.5, (3.0, 1.0, 3.0)), 0, 1.15)
        monobrow = np.exp(-((r.x_abs / 9) ** 2)) * np.exp(-((above / 3.5) ** 2))
        bridge = rng.uniform(0, 0.35) * (person.masculine and rng.random() < 0.25)
        grown = np.maximum(soft * ends * density, monobrow * np.float32(bridge))
        return np.clip(grown * hairs * r.skin * r.front, 0, 1).astype(np.float32)

    def _beard(
        self, rng: np.random.Generator, person: _Person
    ) -> tuple[FloatArray, float, FloatArray]:
        """Hair density, hair length in mm, and the darkening of the skin below."""
        r = self.regions
        nothing = np.zeros(len(r.y), np.float32)
        if not person.masculine:
            return nothing, 0.0, nothing
        style = rng.choice(
            ["clean", "shadow", "stubble", "full", "goatee", "moustache"],
            p=[0.34, 0.24, 0.16, 0.12, 0.08, 0.06],
        )
        chin = np.exp(-((r.x_abs / rng.uniform(18, 30)) ** 4))
        where = {"goatee": r.beard * chin, "moustache": r.moustache}.get(style, r.beard)
        patchy = np.clip(0.95 + 0.13 * self._noise(rng, 9) + 0.14 * self._noise(rng, 2.2), 0, 1.3)
        where = where * patchy
        if style == "clean":
            return nothing, 0.0, (where * rng.uniform(0, 0.10)).astype(np.float32)
        if style == "shadow":
            return nothing, 0.0, np.clip(where * rng.uniform(0.08, 0.32), 0, 1)
        if style == "stubble":
            density, length, shadow = rng.uniform(0.3, 1.0), rng.uniform(1.0, 3.0), 0.45
        else:
            density, length, shadow = rng.uniform(0.75, 1.0), rng.uniform(3.0, 16.0), 0.85
        grown = np.clip(where * density, 0, 1).astype(np.float32)
        base = np.clip(r.beard * rng.uniform(0, 0.2), 0, 1)
        return grown, float(length), np.maximum(grown * shadow, base).astype(np.float32)

    def _draw_eyes(self, rng: np.random.Generator, person: _Person) -> EyeLook:
        weights = [0.5, 0.5, 0, 0, 0, 0]
        if person.melanin < 0.42:
            weights = [0.34, 0.16, 0.2, 0.1, 0.08, 0.12]
        iris = _IRIS_COLORS[rng.choice(6, p=weights)] * np.exp(rng.normal(0, 0.25, 3) * 0.5)
        sclera = float32([0.56, 0.50, 0.465]) * rng.uniform(0.7, 1.15)
        sclera = sclera * np.exp(-rng.uniform(0, 0.25) * float32([0.1, 0.5, 0.9]))
        return EyeLook(
            iris=iris.astype(np.float32),
            sclera=sclera.astype(np.float32),
            iris_radius=float(rng.normal(5.9, 0.18)),
            pupil_radius=float(rng.uniform(1.2, 3.0)),
            limbal_ring=float(rng.uniform(0.2, 0.8)),
            redness=float(rng.uniform(0, 0.5) ** 2),
        )

    def _parts(self, rng: np.random.Generator, color: FloatArray, eyes: EyeLook) -> FloatArray:
        """Color what is not skin: eyeballs, mouth and lid insides, teeth, tongue."""
        r = self.regions
        behind_lids = r.inside & (r.y > -30)
        color[behind_lids] = _CONJUNCTIVA * np.float32(rng.uniform(0.8, 1.15))
        color[r.inside & ~behind_lids] = _INSIDE_MOUTH * np.float32(rng.uniform(0.7, 1.3))
        enamel = float32([0.62, 0.55, 0.45]) * rng.uniform(0.6, 1.2)
        enamel = np.broadcast_to(np.clip(enamel, 0, 0.9), (int(r.teeth.sum()), 3))
        color[r.teeth] = _blend(enamel, _GUMS, r.gums[r.teeth])
        color[r.tongue] = _TONGUE
        radius = self._iris_radius[r.eyeball]
        veins = (eyes.redness * smoothstep(radius, 6, 11))[:, None] * float32([0.1, 0.5, 0.5])
        ball = eyes.sclera * (1 - veins)
        iris = np.broadcast_to(eyes.iris, ball.shape)
        ring = np.exp(-0.5 * ((radius - eyes.iris_radius + 0.4) / 0.55) ** 2) * eyes.limbal_ring
        inner = np.exp(-0.5 * ((radius - eyes.pupil_radius - 0.8) / 0.9) ** 2)
        iris = iris * (1 + 0.35 * inner)[:, None] * (1 - ring)[:, None]
        ball = _blend(ball, iris, sigmoid((eyes.iris_radius - radius) / 0.25))
        ball = _blend(ball, _BLACK * 0.5, sigmoid((eyes.pupil_radius - radius) / 0.2))
        color[r.eyeball] = ball
        return color

    def _gloss(self, rng: np.random.Generator) -> FloatArray:
        r = self.regions
        oil = rng.gamma(2.0, 0.16)
        gloss = oil * (0.35 + r.t_zone) * (1 + 0.25 * self._noise(rng, 6))
        gloss = gloss + r.lips * rng.uniform(0.05, 0.5)
        return np.clip(gloss * r.skin, 0, 1).astype(np.float32)

    def _with_occlusion(self, color: FloatArray) -> FloatArray:
        """Display sRGB with hollows darkened, redder because skin scatters long wavelengths."""
        hidden = np.float32(0.5) * (1 - self._occlusion)[:, None]
        shade = (1 - hidden) ** float32([0.85, 1.1, 1.1])
        return (srgb_from_linear(color) * shade).astype(np.float32)
