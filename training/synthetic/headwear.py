"""Hats, caps, helmets, headscarves and face masks: cloth on the head and the parts that jut out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facewright.models.arrays import Array, FloatArray, float32
from facewright.training.appearance.regions import FaceRegions, smoothstep
from facewright.training.appearance.surface import SKIN, Surface
from facewright.training.synthetic.props import Mesh, Prop, join, loft, prop, sheet
from facewright.training.synthetic.traits import Traits

_KINDS = {"none": 0.80, "beanie": 0.025, "cap": 0.045, "hat": 0.02, "helmet": 0.012,
          "headscarf": 0.045, "hood": 0.028, "mask": 0.025}  # fmt: skip

_OPENING_Y = -22.0


@dataclass(frozen=True, eq=False)
class Headwear:
    """What is on a head.

    Attributes:
        kind: a key of the kinds that `Milliner` draws.
        weight: (V,) in [0, 1], above 0.5 where it is seen; stand_off: (V,) mm.
        covers_hair: (V,) in [0, 1], where no hair can be seen.
        color: (3,) linear.
        edge_mm, slope: height of a brim above the eyes in front, and its rise to the front.
        brim_mm: reach of a brim; visor: whether it is in front only.
        opening: half width and height of a scarf's or hood's opening, mm.
    """

    kind: str
    weight: Array
    stand_off: Array
    covers_hair: FloatArray
    color: FloatArray
    edge_mm: float = 0.0
    slope: float = 0.0
    brim_mm: float = 0.0
    visor: bool = False
    opening: tuple[float, float] = (0.0, 0.0)


class Milliner:
    """Fits headwear to one head surface."""

    def __init__(
        self,
        surface: Surface,
        regions: FaceRegions,
        scalp_height: FloatArray,
        degrees: FloatArray,
    ) -> None:
        self._surface = surface
        self._regions = regions
        self._skin = surface.parts == SKIN
        self._height = scalp_height
        self._degrees = degrees
        own = self._skin & (regions.ears < 0.3) & (regions.y > -90)
        self._shell = np.flatnonzero(own)
        self._axis_z = float(np.median(regions.z[self._skin & (np.abs(regions.y - 60) < 40)]))

    def draw(self, rng: np.random.Generator, traits: Traits) -> Headwear:
        """Something for the head; nothing most of the time."""
        r = self._regions
        nothing = np.zeros(len(r.y), np.float32)
        color = rng.uniform(0.01, 0.8, 3) ** 1.8
        color = color.mean() + rng.uniform(0, 1) * (color - color.mean())
        if rng.random() < 0.4:
            color = rng.uniform(0.005, 0.05) + 0.1 * color
        color = color.astype(np.float32)
        shares = dict(_KINDS)
        shares["headscarf"] *= 0.1 if traits.masculine else 1.9
        total = sum(shares.values())
        kind = str(rng.choice(list(shares), p=[share / total for share in shares.values()]))
        if kind == "beanie":
            above = self._height - rng.uniform(-8, 22)
            weight = np.clip(0.5 + above / 14, 0, 1)
            stand_off = smoothstep(above, -3, 5) * rng.uniform(4, 9)
            stand_off = stand_off + smoothstep(above, 10, 60) * rng.uniform(4, 16)
            return Headwear(kind, weight, stand_off, smoothstep(above, -8, 0), color)
        if kind in ("cap", "hat", "helmet"):
            edge, slope = rng.uniform(34, 58), rng.uniform(0.12, 0.3)
            if kind == "helmet":
                edge, slope = rng.uniform(30, 48), rng.uniform(0.0, 0.15)
            above = r.y - (edge + slope * np.clip(r.z, -190, 0))
            above = np.where(r.ears > 0.2, -20, above)
            crown = rng.uniform(4, 22) if kind == "cap" else rng.uniform(8, 30)
            start = rng.uniform(10, 20) if kind == "helmet" else rng.uniform(3, 6)
            stand_off = smoothstep(above, -3, 4) * start + crown * smoothstep(above, 4, 60)
            return Headwear(
                kind,
                np.clip(0.5 + above / 10, 0, 1).astype(np.float32),
                stand_off.astype(np.float32),
                smoothstep(above, -6, 2),
                color,
                edge_mm=edge,
                slope=slope,
                brim_mm=rng.uniform(35, 75) if kind != "helmet" else rng.uniform(0, 40),
                visor=kind != "hat",
            )
        if kind == "hood":
            # Hair shows in front: the rim stands off the forehead and the temples.
            opening = (rng.uniform(68, 80), rng.uniform(98, 112))
            behind = (r.z < -75).astype(np.float32)
            return Headwear(kind, nothing, nothing, behind, color, opening=opening)
        if kind == "headscarf":
            opening = (rng.uniform(58, 66), rng.uniform(88, 96))
            # Cloth on the skin too, where the hood lies close.
            oval = np.hypot(r.x_abs / opening[0], (r.y - _OPENING_Y) / opening[1])
            weight = np.where(r.z > -95, smoothstep(oval, 0.96, 1.08), 1.0).astype(np.float32)
            return Headwear(kind, weight, nothing, nothing + 1, color, opening=opening)
        if kind == "mask":
            top = rng.uniform(-38, -16)
            low = r.chin_y - rng.uniform(0, 12)
            edge = rng.uniform(46, 58)
            inside = np.minimum.reduce(
                [top + 0.1 * (40 - r.x_abs) - r.y, r.y - low + 0.2 * r.x_abs, edge - r.x_abs]
            )
            inside = np.where((r.z > -70) & self._skin, inside, -20)
            weight = np.clip(0.5 + inside / 10, 0, 1).astype(np.float32)
            stand_off = smoothstep(inside, -2, 6)
            pale = rng.uniform(0.45, 0.85) * np.exp(rng.normal(0, 0.05, 3))
            tone = float32([0.25, 0.5, 0.62]) if rng.random() < 0.5 else pale
            tone = color if rng.random() < 0.3 else tone
            return Headwear(kind, weight, stand_off, nothing, np.asarray(tone, np.float32))
        return Headwear(kind, nothing, nothing, nothing, color)

    def parts(
        self,
        rng: np.random.Generator,
        headwear: Headwear,
        vertices: FloatArray,
        landmarks: FloatArray,
    ) -> list[Prop]:
        """Brims, visors and the cloth of scarves and masks.

        Args:
            rng: source of their forms.
            headwear: what is worn.
            vertices: (V, 3) mm, model space, of the person.
            landmarks: (68, 3) mm, likewise.
        """
        if headwear.kind == "mask":
            return [prop(_mask(rng, landmarks), headwear.color)]
        if headwear.kind in ("headscarf", "hood"):
            return [prop(self._scarf(rng, headwear, vertices, landmarks), headwear.color)]
        if headwear.brim_mm > 8:
            shade = headwear.color * np.float32(rng.uniform(0.7, 1.1))
            return [prop(self._brim(rng, headwear, vertices), shade, 0.1)]
        return []

    def _brim(self, rng: np.random.Generator, headwear: Headwear, vertices: FloatArray) -> Mesh:
        """A two-sided sheet around the front, or all around, at the hat's edge."""
        reach = 62.0 if headwear.visor else 180.0
        angles = np.radians(np.linspace(-reach, reach, 25))
        r = self._regions
        edge = headwear.edge_mm + headwear.slope * np.clip(r.z[self._shell], -190, 0)
        near = self._shell[np.abs(r.y[self._shell] - edge) < 9]
        at = np.arctan2(self._surface.relative[near, 0], r.z[near] - self._axis_z)
        distance = np.abs((at[None] - angles[:, None] + np.pi) % (2 * np.pi) - np.pi)
        share = np.exp(-((distance / 0.12) ** 2)) + 1e-9
        inner = (share / share.sum(1, keepdims=True)) @ vertices[near]
        outward = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], 1)
        if headwear.visor:
            # A visor points forward, not radially, and is curved across.
            outward = outward * [0.45, 0, 0.3] + [0, 0, 0.8]
            length = headwear.brim_mm * np.cos(angles / np.radians(reach) * np.pi / 2) ** 0.4
        else:
            length = np.full(len(angles), headwear.brim_mm)
        droop = rng.uniform(0.05, 0.45) if headwear.visor else rng.uniform(-0.1, 0.25)
        t = np.linspace(0, 1, 6)[:, None, None]
        grid = inner + outward * length[:, None] * t
        bend = t * (0.5 + 0.5 * t) * length[:, None]
        grid = grid + float32([0, 1, 0]) * (3 - droop * bend)
        if headwear.visor:
            grid = grid - float32([0, 1, 0]) * (t * 0.004 * (grid[..., :1] - inner[12, 0]) ** 2)
        return sheet(np.ascontiguousarray(grid[::-1]), 2.5)

    def _scarf(
        self,
        rng: np.random.Generator,
        headwear: Headwear,
        vertices: FloatArray,
        landmarks: FloatArray,
    ) -> Mesh:
        """A hood around the oval of the face and a cowl around neck and shoulders."""
        r, surface = self._regions, self._surface
        scale, sides = surface.scale, 48
        turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        wide, tall = headwear.opening
        opening = np.stack([wide * np.sin(turn), _OPENING_Y + tall * np.cos(turn)], 1)
        # A hood lies loosely.
        loose = rng.uniform(8, 18) if headwear.kind == "hood" else 0.0
        front = self._shell[r.z[self._shell] > -95]
        offset = surface.relative[front, :2][None] - opening[:, None]
        weight = np.exp(-(offset**2).sum(2) / 12**2) + 1e-9
        ring = (weight / weight.sum(1, keepdims=True)) @ vertices[front]
        # Below the mouth the edge follows the jaw line.
        jaw_at = np.clip(16 - 16 * (turn - np.pi / 2) / np.pi, 0, 16)
        jaw = np.stack([np.interp(jaw_at, np.arange(17), landmarks[:17, k]) for k in range(3)], 1)
        jaw = jaw + np.column_stack([2 * np.sin(turn), 4 * np.cos(turn), 2 + 0 * turn])
        lower = smoothstep(-np.cos(turn).astype(np.float32), 0.45, 0.8)[:, None]
        ring = ring + lower * (jaw - ring)
        ring[:, :2] += loose * np.stack([np.sin(turn), np.maximum(np.cos(turn), -0.3)], 1)
        head = vertices[self._shell]
        half = float(np.abs(vertices[self._skin & (np.abs(r.y) < 60)][:, 0]).max()) + loose
        high = float(head[:, 1].max()) + loose
        rear = float(head[:, 2].min())
        eyes = vertices[surface.parts == 2].mean(0) if (surface.parts == 2).any() else head.mean(0)
        low = float(eyes[1] + scale * (r.chin_y - 25))
        center = np.array([0, (high + low) / 2])
        radii = np.array([half + rng.uniform(3, 9), (high - low) / 2 + rng.uniform(4, 10)])
        around = np.stack([np.sin(turn), np.cos(turn)], 1)
        outer = center + radii * np.sign(around) * np.abs(around) ** 0.9
        rings = []
        depth = float(ring[:, 2].mean())
        for t in np.linspace(0, 1, 9):
            out = min(1.0, 2.6 * t + 0.04) ** 0.7
            shrink = np.sqrt(max(0.02, 1 - max(0.0, (t - 0.45) / 0.58) ** 2))
            xy = ring[:, :2] + out * (outer - ring[:, :2])
            xy = center + (xy - center) * shrink
            z = (
                (1 - t) * ring[:, 2] + t * (rear - 8)
                if t < 0.4
                else np.full(
                    sides,
                    0.6 * depth + 0.4 * (rear - 8) + (t - 0.4) / 0.6 * 0.6 * (rear - 8 - depth),
                )
            )
            rings.append(np.column_stack([xy, z + (4 if t == 0 else 0)]))
        phase = 5 * np.sin(turn + rng.uniform(0, 6))
        folds = 1 + 0.012 * np.sin(np.arange(9)[:, None] * 1.3 + phase)
        hood = np.stack(rings) * np.stack([folds, folds, np.ones_like(folds)], -1)
        # The ring runs clockwise seen from the front and follows -z: outside is outside.
        axis = depth - 62 * scale
        levels = np.linspace(low + 14, low - 110, 8)
        bend = rng.uniform(0, 6)
        cowl = []
        for k, level in enumerate(levels):
            t = k / 7
            wide_x = (58 + 75 * t**1.6) * scale
            deep = (62 + 42 * t) * scale
            ripple = 1 + 0.035 * np.sin(4 * turn + bend + 5 * t) + 0.02 * np.sin(9 * turn - 3 * t)
            x, z = -wide_x * np.sin(turn) * ripple, axis + deep * np.cos(turn) * ripple
            cowl.append(np.column_stack([x, level + 5 * np.sin(turn * 2 + bend), z]))
        return join([loft(hood, closed=False), loft(np.stack(cowl), closed=False)])


def _mask(rng: np.random.Generator, landmarks: FloatArray) -> Mesh:
    """Cloth that spans nose, mouth and chin of a face with the given landmarks (68, 3)."""
    marks = landmarks.astype(np.float64)
    bridge = marks[27] + rng.uniform(0.3, 0.9) * (marks[29] - marks[27]) + [0, 0, 2]
    tip = marks[30] + [0, -2, rng.uniform(2, 7)]
    chin = marks[8] + [0, -4, 5]
    v = np.linspace(0, 1, 9)[:, None]
    # A parabola through bridge, tip and chin.
    middle = bridge * (1 - v) * (1 - 2 * v) + tip * 4 * v * (1 - v) + chin * v * (2 * v - 1)
    top = rng.uniform(1.2, 2.2)
    u = np.linspace(-1, 1, 17)
    sides = []
    for side in (-1, 1):
        jaw = marks[:9] if side < 0 else marks[16:7:-1]
        at = np.clip(top + (4.6 - top) * v[:, 0], 0, 8)
        low = np.floor(at).astype(int)
        share = (at - low)[:, None]
        sides.append(jaw[low] * (1 - share) + jaw[low + 1] * share + [side * 1.5, 0, 3])
    grid = np.empty((9, 17, 3))
    for k, across in enumerate(u):
        edge = sides[0] if across < 0 else sides[1]
        flat = abs(across) ** 1.15
        grid[:, k] = middle + flat * (edge - middle)
        grid[:, k, 2] = middle[:, 2] + abs(across) ** 2.1 * (edge[:, 2] - middle[:, 2])
    pleats = 0.8 * np.sin(v * rng.uniform(8, 22))
    grid[..., 2] += pleats * (1 - np.abs(u)[None] ** 2)
    return sheet(grid[::-1], 1.5)
