"""Hairstyles, brows, lashes and beards as strands rooted in the head's triangles."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from facewright.models.arrays import Array, FloatArray, float32
from facewright.training.appearance.noise import random_field
from facewright.training.appearance.regions import FaceRegions, smoothstep
from facewright.training.appearance.skin import Appearance
from facewright.training.appearance.surface import SKIN, Surface
from facewright.training.synthetic.props import Prop, capsule, ellipsoid, prop
from facewright.training.synthetic.strands import Strands, grow

IntArray = NDArray[np.int64]

# Height of the hairline above the eyes (reference mm) by the angle from straight ahead, seen from
# above about the ears' axis.
_HAIRLINE_DEGREES = [0, 35, 50, 62, 70, 78, 88, 100, 112, 130, 180]
_HAIRLINE_MM = [64, 60, 51, 34, 8, -9, 0, 2, -30, -62, -75]


@dataclass(frozen=True, eq=False)
class Roots:
    """Points on triangles: corners (n, 3) vertex indices and weights (n, 3)."""

    corners: IntArray
    weights: FloatArray

    def at(self, values: FloatArray) -> FloatArray:
        """Interpolate per-vertex values (V,) or (V, c) at the roots."""
        picked = values[self.corners]
        if picked.ndim == 2:
            return (picked * self.weights).sum(1)
        return np.einsum("nkc,nk->nc", picked, self.weights)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Roots:
        """A subset of the roots."""
        return Roots(self.corners[chosen], self.weights[chosen])


def scatter_roots(
    rng: np.random.Generator, surface: Surface, chance: FloatArray, count: int
) -> Roots:
    """Draw `count` points, evenly by area times the mean of `chance` (V,) over a triangle."""
    corners = surface.points[surface.triangles]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    weight = area * chance[surface.triangles].mean(1)
    picked = rng.choice(len(weight), count, p=weight / weight.sum())
    a, b = rng.random(count), rng.random(count)
    outside = a + b > 1
    a[outside], b[outside] = 1 - a[outside], 1 - b[outside]
    weights = np.stack([1 - a - b, a, b], 1).astype(np.float32)
    return Roots(surface.triangles[picked].astype(np.int64), weights)


def fit_ellipsoid(points: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Center and radii (3,) of the ellipsoid, axes along x, y, z, nearest to points (n, 3)."""
    p = points.astype(np.float64)
    low, high = p.min(axis=0), p.max(axis=0)

    def error(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        offset = p - parameters[:3]
        reach = np.linalg.norm(offset / parameters[3:], axis=1)
        return (1 - 1 / reach) * np.linalg.norm(offset, axis=1)

    start = np.concatenate([(low + high) / 2, (high - low) / 2])
    found = least_squares(error, start, bounds=([-np.inf] * 3 + [1.0] * 3, np.inf)).x
    return found[:3], found[3:]


@dataclass(frozen=True)
class HairStyle:
    """What a haircut is: numbers in reference mm unless said otherwise.

    Attributes:
        name: one of the styles of `draw_style`.
        length, length_spread: of the strands, the spread relative.
        volume: thickness of the hair over the skull.
        lift: how much a strand leaves along the scalp's normal, 0 flat to 1 upright.
        weight: bend to gravity per mm.
        curl_radius, curl_wave: of the helix.
        part: x of the parting.
        comb: (3,) preferred direction, added to "away from the crown".
        fringe: share of front strands that fall over the forehead.
        hairline: shift of the hairline upwards.
        crown: 1 when the top of the head is bald.
        mess: 0 neatly combed to 1 tousled.
        density: share of the candidate roots used.
        grizzle: spread of brightness between strands.
    """

    name: str
    length: float
    length_spread: float
    volume: float
    lift: float
    weight: float
    curl_radius: float
    curl_wave: float
    part: float
    comb: tuple[float, float, float]
    fringe: float
    hairline: float
    crown: float
    mess: float
    density: float
    grizzle: float


_STYLES = ("bald", "buzz", "short", "combed", "swept", "bob", "long", "tied", "afro")
# How closely a cut follows the skull; short and loose hair stands by itself.
_CLING = {"short": 0.3, "combed": 0.9, "swept": 0.7, "tied": 0.95, "bob": 0.15, "long": 0.25}
_SHARES_MEN = (0.03, 0.11, 0.30, 0.27, 0.12, 0.05, 0.03, 0.02, 0.07)
_SHARES_WOMEN = (0.005, 0.015, 0.06, 0.05, 0.05, 0.30, 0.33, 0.15, 0.045)


def draw_style(rng: np.random.Generator, appearance: Appearance) -> HairStyle:
    """A haircut that goes with a person."""
    weights = np.array(_SHARES_MEN if appearance.masculine else _SHARES_WOMEN)
    if appearance.melanin < 0.45:
        weights[-1] *= 0.12
    elif appearance.melanin > 0.65:
        weights[[1, 8]] *= 3.0
    name = str(rng.choice(_STYLES, p=weights / weights.sum()))
    u = rng.uniform
    curly = rng.random() < (0.7 if appearance.melanin > 0.65 else 0.25)
    radius = u(1.0, 5.0) if curly else u(0, 0.9)
    wave = u(9, 35) if curly else u(30, 90)
    part = float(rng.normal(0, 18))
    side = float(rng.choice([-1, 1]))
    comb = (side * u(0, 0.8), u(-0.2, 0.1), u(-0.3, 0.6))
    fringe = u(0.4, 1.0) if rng.random() < (0.12 if appearance.masculine else 0.3) else 0.0
    receding, crown = 0.0, 0.0
    if appearance.masculine and rng.random() < 0.15 + 0.45 * appearance.age:
        receding = u(4, 26)
        if rng.random() < 0.2 + 0.4 * appearance.age:
            crown = u(0.5, 1.0)
    values = {
        "bald": (1.0, 0.2, 0.5, 0.5, 0.0),
        "buzz": (u(2, 5), 0.2, u(1, 2.5), 0.7, 0.0),
        "short": (u(8, 26), 0.25, u(4, 11), u(0.05, 0.35), 0.012),
        "combed": (u(28, 60), 0.2, u(5, 16), u(0.03, 0.15), u(0.002, 0.010)),
        "swept": (u(35, 75), 0.2, u(6, 16), u(0.03, 0.2), u(0.004, 0.012)),
        "bob": (u(70, 150), 0.15, u(8, 26), u(0.05, 0.3), u(0.015, 0.035)),
        "long": (u(170, 330), 0.18, u(6, 22), u(0.1, 0.3), u(0.015, 0.03)),
        "tied": (u(80, 120), 0.1, u(2, 8), 0.05, 0.008),
        "afro": (u(10, 55), 0.15, u(5, 16), 0.9, 0.0),
    }[name]
    if name == "combed":
        comb = (side * u(0.9, 2.2), 0.0, u(-0.7, 0.25))
        fringe, radius = 0.0, min(radius, 2.5)
    if name == "swept":
        comb = (side * u(0, 0.9), 0.1, u(-2.2, -0.8))
        fringe = 0.0
    if name == "tied":
        comb, fringe = (0.0, -0.1, -2.5), (fringe if rng.random() < 0.3 else 0.0)
        radius = min(radius, 0.8)
    if name == "afro":
        radius, wave = u(1.5, 3.5), u(7, 14)
    return HairStyle(
        name=name,
        length=values[0],
        length_spread=values[1],
        volume=values[2],
        lift=values[3],
        weight=values[4],
        curl_radius=float(radius),
        curl_wave=float(wave),
        part=part,
        comb=comb,
        fringe=float(fringe),
        hairline=float(rng.normal(0, 4.5) + receding),
        crown=float(crown),
        mess=float(rng.beta(1.2, 3.0)),
        density=float(u(0.65, 1.0)),
        grizzle=float(u(0.06, 0.2) + 0.12 * appearance.age * rng.random()),
    )


class HairGrower:
    """Grows hair on persons of one head; construction scatters the candidate roots."""

    NODES = 12
    FACIAL_NODES = 4

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.regions = FaceRegions(surface)
        relative = surface.relative
        ears = self.regions.ears
        self.ear_z = float(relative[ears > 0.5][:, 2].mean()) if (ears > 0.5).any() else -85.0
        degrees = np.degrees(np.arctan2(self.regions.x_abs, relative[:, 2] - self.ear_z))
        height = relative[:, 1] - np.interp(degrees, _HAIRLINE_DEGREES, _HAIRLINE_MM)
        on_skin = (surface.parts == SKIN) & (ears < 0.3) & (relative[:, 1] > -80)
        self.height = np.where(on_skin, height, -60).astype(np.float32)
        self.degrees = degrees.astype(np.float32)
        rng = np.random.default_rng(11)
        self.scalp = scatter_roots(rng, surface, (self.height > -12).astype(np.float32), 6400)
        self.scalp_height = self.scalp.at(self.height)
        self.scalp_relative = self.scalp.at(relative)
        self._crown = smoothstep(self.scalp_relative[:, 1], 62, 88)
        self.skull_vertices = np.flatnonzero((self.height > 2) & (relative[:, 1] > 0))
        self._skull_center, self._skull_radii = fit_ellipsoid(surface.points[self.skull_vertices])
        along, above = self.regions.brow_coordinates()
        near_brow = (np.abs(along - 0.5) < 0.75) & (np.abs(above) < 10) & self.regions.front
        chance = near_brow * self.regions.skin
        self.brows = scatter_roots(rng, surface, chance.astype(np.float32), 2600)
        self.brow_along = self.brows.at(along)
        self.brow_above = self.brows.at(above)
        self.beard = scatter_roots(rng, surface, self.regions.beard, 2600)
        margin = surface.lid_margin * (relative[:, 1] > 0.5) * self.regions.skin
        self.lashes = scatter_roots(rng, surface, np.where(margin > 0.3, margin, 0), 240)

    def scalp_cover(self, rng: np.random.Generator, style: HairStyle) -> FloatArray:
        """(V,) float32 in [0, 1]: how much of the scalp's color is hair, with a ragged edge."""
        if style.name == "bald":
            return np.zeros(len(self.height), np.float32)
        points = self.surface.relative
        ragged = 2.0 * random_field(rng, points, 9) + 1.4 * random_field(rng, points, 3.5)
        edge = 5.0 if style.name == "buzz" else 7.0
        cover = smoothstep(self.height - style.hairline * self._frontal() + ragged, -3.0, edge)
        return cover * (1 - style.crown * smoothstep(self.surface.relative[:, 1], 62, 88))

    def _frontal(self) -> FloatArray:
        return np.exp(-((self.degrees / 60) ** 2)).astype(np.float32)

    def cap(self, style: HairStyle) -> FloatArray:
        """(V,) mm by which the head is thickened under the hair."""
        share = {"bald": 0.0, "buzz": 0.5, "afro": 0.5}.get(style.name, 0.45)
        grown = 1 - style.crown * smoothstep(self.surface.relative[:, 1], 55, 80)
        return share * style.volume * grown * smoothstep(self.height - style.hairline, 0, 26)

    def hair(
        self,
        rng: np.random.Generator,
        style: HairStyle,
        color: FloatArray,
        vertices: FloatArray,
        normals: FloatArray,
        gravity: FloatArray,
        covered: FloatArray,
    ) -> Strands | None:
        """Strands of scalp hair on a person's head (V, 3 mm, model space), None when bald.

        `covered` (V,) in [0, 1]: where headwear leaves no room for hair.
        """
        if style.name == "bald":
            return None
        frontal = np.exp(-((np.degrees(np.arctan2(
            np.abs(self.scalp_relative[:, 0]), self.scalp_relative[:, 2] - self.ear_z)) / 60) ** 2)
        )  # fmt: skip
        height = self.scalp_height - style.hairline * frontal
        n_candidates = len(height)
        wanted = {"buzz": 0.7, "long": 0.45, "bob": 0.55, "tied": 0.6, "swept": 0.7, "combed": 0.8}
        share = style.density * wanted.get(style.name, 0.9)
        chosen = np.flatnonzero(
            (height > rng.normal(0.5, 2.5, n_candidates))
            & (rng.random(n_candidates) < share)
            & (self.scalp.at(covered) < 0.5)
            & (rng.random(n_candidates) > style.crown * self._crown)
        )
        if len(chosen) < 20:
            return None
        roots = self.scalp.take(chosen)
        place, normal = roots.at(vertices), roots.at(normals)
        n, relative = len(chosen), self.scalp_relative[chosen]
        front = (relative[:, 2] > self.ear_z + 45) & (np.abs(relative[:, 0]) < 55)
        falls = front & (rng.random(n) < style.fringe)
        direction = self._comb(rng, style, relative, normal, falls)
        length = style.length * np.exp(style.length_spread * 0.6 * rng.standard_normal(n))
        # A fringe is cut above the eyes, or not far below.
        length[falls] = np.minimum(length[falls], rng.uniform(30, 75))
        under = rng.random(n) < (0.3 if style.length > 60 else 0.0)
        # Sides and neck are cut shorter than the top on short hair.
        if style.name in ("short", "swept", "combed"):
            top = smoothstep(self.scalp_relative[chosen, 1], 10, 70)
            length = length * (0.3 + 0.7 * top)
        center, radii = self._skull(vertices)
        # Broad strands below the fine ones close the gaps of long hair.
        layer = np.where(under, 0.45, 1.0) * rng.random(n) ** 0.7
        lift_off = style.volume * layer + 1.0
        if style.name in ("short", "combed", "swept"):
            lift_off = lift_off * (0.2 + 0.8 * top)
        nodes = np.empty((n, self.NODES, 3), np.float32)
        face_width = face_front = 0.0
        if style.name in ("bob", "long"):
            face_width = float(rng.uniform(46, 78)) * self.surface.scale
            relative_front = self.ear_z + float(rng.uniform(0, 65))
            eyes = self.surface.eye_centers[:, 2].mean()
            face_front = float(relative_front * self.surface.scale + eyes)
        clump = rng.uniform(0, 6.3) + 0.12 * self.scalp_relative[chosen, 0]
        grow(
            place.astype(np.float32),
            direction,
            length.astype(np.float32),
            lift_off.astype(np.float32),
            (clump + rng.normal(0, 0.9, n)).astype(np.float32),
            gravity.astype(np.float32),
            np.float32(style.weight),
            np.float32(style.curl_radius),
            np.float32(style.curl_wave),
            center,
            radii,
            np.float32(face_width),
            np.float32(face_front),
            np.float32(_CLING.get(style.name, 0.0)),
            nodes,
        )
        # Locks differ more than the hairs of a lock.
        lock = random_field(rng, np.ascontiguousarray(self.scalp_relative[chosen]), 7)[:, None]
        uneven = 0.5 * rng.standard_normal((n, 1)) + 0.9 * lock
        shade = np.exp(style.grizzle * uneven - 0.6 * (1 - layer[:, None]))
        tint = np.exp(0.04 * rng.standard_normal((n, 3)))
        width = rng.uniform(0.5, 0.9) * (1.5 if style.length > 60 else 1.0)
        if style.name == "buzz":
            width = 0.4
        return Strands(
            nodes=nodes,
            colors=np.clip(color * shade * tint, 0.002, 0.9).astype(np.float32),
            widths=(width * rng.uniform(0.6, 1.3, n) * np.where(under, 6, 1)).astype(np.float32),
            opacity=np.full(n, 0.9, np.float32),
            gloss=float(rng.uniform(0.1, 0.6)),
        )

    def tail(
        self, rng: np.random.Generator, style: HairStyle, color: FloatArray, vertices: FloatArray
    ) -> list[Prop]:
        """The bun or tail of tied hair on a person's head (V, 3 mm, model space)."""
        if style.name != "tied":
            return []
        center, radii = self._skull(vertices)
        lift = np.radians(rng.uniform(-35, 50))
        knot = center + radii * [0, np.sin(lift), -np.cos(lift)]
        if rng.random() < 0.5:
            mesh = ellipsoid(knot - [0, 0, 8], rng.uniform(22, 40, 3), sides=16)
        else:
            end = knot + [rng.normal(0, 40), -rng.uniform(100, 200), -rng.uniform(10, 50)]
            mesh = capsule(knot, end, rng.uniform(16, 28), rng.uniform(10, 20), sides=12)
        shade = np.exp(0.25 * rng.standard_normal((len(mesh[0]), 1)))
        tied = prop(mesh, np.clip(color * 0.8 * shade, 0.002, 0.9), 0.2)
        return [replace(tied, hair=True)]

    def _comb(
        self,
        rng: np.random.Generator,
        style: HairStyle,
        relative: FloatArray,
        normal: FloatArray,
        falls: NDArray[np.bool_],
    ) -> FloatArray:
        """(n, 3) unit directions in which strands leave the scalp."""
        n = len(relative)
        crown = float32([0, 105, self.ear_z - 25])
        away = relative - crown
        away /= np.linalg.norm(away, axis=1, keepdims=True) + 1e-6
        sideways = np.abs(normal[:, :1])
        # Combed hair leaves the forehead free; cropped hair grows as it will.
        free = np.float32({"combed": 0.35, "swept": 0.25, "tied": 0.5}.get(style.name, 1.0))
        comb = free * away + float32(style.comb) * (1 - float32(0.85) * sideways)
        if style.name in ("bob", "long"):
            side = np.where(relative[:, 0] > style.part, 1.0, -1.0)
            comb[:, 0] += 1.3 * side
            comb[:, 2] -= 0.5
        if style.name in ("short", "combed", "swept"):
            comb += sideways * float32([0, -1.2, -0.9])
        comb[falls] = float32([0.15 * np.sign(style.part + 1e-3), -0.3, 1.2])
        comb -= normal * (comb * normal).sum(1, keepdims=True)
        comb /= np.linalg.norm(comb, axis=1, keepdims=True) + 1e-6
        # Neighbors lie in the same direction; single hairs stray.
        points = np.ascontiguousarray(relative)
        swirl = np.stack([random_field(rng, points, 26) for _ in range(3)], 1)
        neat = 0.3 if style.name == "tied" else 1.0
        stray = neat * (0.05 + 0.22 * style.mess) * rng.standard_normal((n, 3))
        stray = stray + neat * (0.12 + 0.35 * style.mess) * swirl
        out = comb * (1 - style.lift) + normal * style.lift + stray
        return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float32)

    def _skull(self, vertices: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Axis-aligned ellipsoid (center, radii) of a person's scalp: the mean's, stretched."""
        own = vertices[self.skull_vertices].astype(np.float64)
        mean = self.surface.points[self.skull_vertices].astype(np.float64)
        stretch = own.std(axis=0) / mean.std(axis=0)
        center = own.mean(axis=0) + stretch * (self._skull_center - mean.mean(axis=0))
        return center.astype(np.float32), (stretch * self._skull_radii).astype(np.float32)

    def facial(
        self,
        rng: np.random.Generator,
        appearance: Appearance,
        vertices: FloatArray,
        normals: FloatArray,
        gravity: FloatArray,
    ) -> list[Strands]:
        """Strands of brows, lashes and beard."""
        sets = [
            self._brows(rng, appearance, vertices, normals),
            self._lashes(rng, appearance, vertices, normals),
        ]
        if appearance.beard_length_mm > 0:
            sets.append(self._beard(rng, appearance, vertices, normals, gravity))
        return [s for s in sets if s is not None]

    def _straight(
        self,
        rng: np.random.Generator,
        place: FloatArray,
        direction: Array,
        length: FloatArray,
        bend: Array,
    ) -> FloatArray:
        direction = direction / (np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6)
        t = np.linspace(0, 1, self.FACIAL_NODES, dtype=np.float32)[None, :, None]
        reach = length[:, None, None] * t
        return (place[:, None] + reach * direction[:, None] + reach * t * bend).astype(np.float32)

    def _brows(
        self,
        rng: np.random.Generator,
        appearance: Appearance,
        vertices: FloatArray,
        normals: FloatArray,
    ) -> Strands | None:
        density = self.brows.at(appearance.brows)
        chosen = np.flatnonzero(rng.random(len(density)) < 0.55 * density)
        if len(chosen) < 8:
            return None
        roots = self.brows.take(chosen)
        along, above = self.brow_along[chosen], self.brow_above[chosen]
        place = roots.at(vertices)
        # Hairs stand up at the inner end and lie outwards along the tail; upper ones turn down.
        angle = np.radians(np.interp(along, [0, 0.2, 0.6, 1], [75, 40, 12, -15]) - 5 * above)
        angle += rng.normal(0, 0.18, len(chosen))
        side = np.sign(place[:, 0])
        direction = np.stack([side * np.cos(angle), np.sin(angle), np.zeros_like(angle)], 1)
        normal = roots.at(normals)
        direction -= normal * (direction * normal).sum(1, keepdims=True) * 0.9
        length = rng.uniform(2.5, 6.0, len(chosen)).astype(np.float32)
        shade = np.exp(0.25 * rng.standard_normal((len(chosen), 1)))
        return Strands(
            nodes=self._straight(rng, place + 0.3 * normal, direction, length, 0 * normal[:, None]),
            colors=np.clip(appearance.brow_hair * shade, 0.002, 0.8).astype(np.float32),
            widths=np.full(len(chosen), 0.38, np.float32),
            opacity=np.full(len(chosen), 0.7, np.float32),
            gloss=0.05,
        )

    def _lashes(
        self,
        rng: np.random.Generator,
        appearance: Appearance,
        vertices: FloatArray,
        normals: FloatArray,
    ) -> Strands | None:
        count = int(len(self.lashes.corners) * appearance.lashes)
        if count < 4:
            return None
        roots = self.lashes.take(np.arange(count))
        place = roots.at(vertices)
        direction = roots.at(normals) + float32([0, 0.15, 0.9])
        direction = direction + 0.15 * rng.standard_normal((count, 3))
        length = rng.uniform(2.5, 6.5, count).astype(np.float32)
        bend = np.broadcast_to(float32([0, 0.45, 0]), (count, 1, 3))
        return Strands(
            nodes=self._straight(rng, place, direction, length, bend),
            colors=np.full((count, 3), 0.008, np.float32),
            widths=np.full(count, 0.3, np.float32),
            opacity=np.full(count, 0.8, np.float32),
            gloss=0.0,
        )

    def _beard(
        self,
        rng: np.random.Generator,
        appearance: Appearance,
        vertices: FloatArray,
        normals: FloatArray,
        gravity: FloatArray,
    ) -> Strands | None:
        density = self.beard.at(appearance.beard)
        chosen = np.flatnonzero(rng.random(len(density)) < density)
        if len(chosen) < 20:
            return None
        roots = self.beard.take(chosen)
        place, normal = roots.at(vertices), roots.at(normals)
        n = len(chosen)
        direction = 0.5 * normal + 0.9 * gravity + 0.3 * rng.standard_normal((n, 3))
        inward = (direction * normal).sum(1, keepdims=True)
        direction = direction - normal * np.minimum(inward - 0.15, 0)
        length = appearance.beard_length_mm * rng.uniform(0.5, 1.2, n)
        curl = 0.3 * rng.standard_normal((n, 1, 3)) * min(1.0, appearance.beard_length_mm / 8)
        shade = np.exp(0.3 * rng.standard_normal((n, 1)))
        return Strands(
            nodes=self._straight(rng, place, direction, length.astype(np.float32), curl),
            colors=np.clip(appearance.beard_hair * shade, 0.002, 0.8).astype(np.float32),
            widths=np.full(n, 0.4 if appearance.beard_length_mm < 4 else 0.65, np.float32),
            opacity=np.full(n, 0.75, np.float32),
            gloss=0.15,
        )
