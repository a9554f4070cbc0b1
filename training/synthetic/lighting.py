"""Lights of a portrait and the light that reaches each vertex."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from facewright.models.arrays import FloatArray, float32
from facewright.training.appearance.surface import EYEBALL, SKIN, TEETH
from facewright.training.appearance.visibility import fill_depth_map, light_frame, lit_fractions
from facewright.training.synthetic.props import PROP
from facewright.training.synthetic.strands import Strands, splat_depth

# Red light scatters farther in skin (Jensen et al. 2001: mean free paths roughly 4:2:1), so the
# terminator is wrapped more for red.
_SCATTER = float32([0.24, 0.11, 0.06])
# Directions in which the eye sees the highlights: the camera is along +z of the camera axes.
_TO_CAMERA = float32([0, 0, 1])


@dataclass(frozen=True, eq=False)
class Lights:
    """Directional lights with an ambient hemisphere, in camera axes (+z towards the camera).

    Attributes:
        directions: (L, 3) unit, towards the lights; colors: (L, 3) linear.
        hardness: (L,) in [0, 1], 1 for sharp full shadows; shadowed: how many of them cast any.
        ambient: (3,) linear; up: (3,) where ambient light comes from; slant: its unevenness.
        scatter: strength of subsurface scattering.
        occlusion: exponent of the ambient occlusion.
        shininess: exponent of the skin's highlight.
    """

    directions: FloatArray
    colors: FloatArray
    hardness: FloatArray
    shadowed: int
    ambient: FloatArray
    up: FloatArray
    slant: float
    scatter: float
    occlusion: float
    shininess: float

    def slope_light(self, rotation: npt.ArrayLike) -> FloatArray:
        """Share of the light (2,) that skin loses for a slope of one to the head's +x or +y.

        To first order in the slope, of skin that looks at the camera and sees all lights.

        Args:
            rotation: (3, 3) of the head.
        """
        strength = self.colors.mean(axis=1)
        ambient = float(self.ambient.mean())
        towards = strength @ self.directions + ambient * self.slant * self.up
        total = float(strength @ np.clip(self.directions[:, 2], 0.15, 1)) + ambient
        return (towards @ np.asarray(rotation, np.float32))[:2].astype(np.float32) / np.float32(
            total
        )


def draw_lights(rng: np.random.Generator) -> Lights:
    """One to four lights: key, fill and rims at any time of the day, mostly soft and frontal."""
    count = int(rng.choice([1, 2, 3, 4], p=[0.36, 0.34, 0.22, 0.08]))
    directions, colors = [], []
    flash = rng.random() < 0.2
    studio = rng.random() < 0.55
    for k in range(count):
        if k > 0:
            across, up = rng.uniform(-170, 170), rng.uniform(-10, 75)
        elif flash:
            across, up = rng.normal(0, 8), rng.normal(5, 6)
        elif studio:
            across, up = rng.normal(0, 35), rng.normal(35, 14)
        else:
            across, up = rng.uniform(-95, 95), rng.uniform(-15, 80)
        azimuth, elevation = np.radians([across, up])
        directions.append(
            [
                np.sin(azimuth) * np.cos(elevation),
                np.sin(elevation),
                np.cos(azimuth) * np.cos(elevation),
            ]
        )
        warmth = rng.normal(0, 0.08) * np.array([1, 0, -1.0])
        # Stage lights and screens are colored.
        tint = rng.normal(0, 0.22 if rng.random() < 0.06 else 0.03, 3)
        strength = rng.uniform(0.4, 1.3) * (1.0 if k == 0 else rng.uniform(0.15, 0.9))
        colors.append(np.exp(tint + warmth) * strength)
    up_axis = rng.normal(0, 0.6, 3) + [0, 1.2, 0.3]
    return Lights(
        directions=np.asarray(directions, np.float32),
        colors=np.asarray(colors, np.float32),
        hardness=(rng.uniform(0.15, 0.85, count) if studio else rng.uniform(0.3, 1, count)).astype(
            np.float32
        ),
        shadowed=min(count, 2),
        ambient=(
            np.exp(rng.normal(0, 0.05, 3)) * rng.uniform(0.25 if studio else 0.08, 0.9)
        ).astype(np.float32),
        up=(up_axis / np.linalg.norm(up_axis)).astype(np.float32),
        slant=float(rng.uniform(0.1, 0.7)),
        scatter=float(rng.uniform(0.3, 1.3)),
        occlusion=float(rng.uniform(0.9, 2.0)),
        shininess=float(np.exp(rng.uniform(2.2, 3.9))),
    )


class ShadowCaster:
    """Depth maps of the lights; the map is reused from portrait to portrait."""

    SIZE = 176
    EXTENT_MM = 420.0

    def __init__(self) -> None:
        self._depth = np.empty((self.SIZE, self.SIZE), np.float32)

    def reach(
        self,
        points: FloatArray,
        triangles: NDArray[np.int32],
        strands: list[Strands],
        directions: FloatArray,
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Share of each light that arrives.

        Args:
            points: (V, 3) mm in camera axes; the strands' nodes likewise.
            triangles: (T, 3) that cast shadows.
            strands: hair that casts and receives shadows.
            directions: (L, 3) towards the lights.

        Returns:
            (L, V) at the vertices and one (L, n * k) per strand set.
        """
        center = points.mean(axis=0)
        at_points = np.empty((len(directions), len(points)), np.float32)
        at_strands = [
            np.empty((len(directions), s.nodes.shape[0] * s.nodes.shape[1]), np.float32)
            for s in strands
        ]
        scale = np.float32(self.SIZE / self.EXTENT_MM)
        middle = float32([self.SIZE / 2, self.SIZE / 2, 0])
        for k, direction in enumerate(directions):
            frame = light_frame(direction).T * float32([scale, scale, 1])
            seen = (points - center) @ frame + middle
            self._depth.fill(-1e9)
            fill_depth_map(seen, triangles, False, self._depth)
            hair = [(s.nodes - center) @ frame + middle for s in strands]
            for nodes in hair:
                splat_depth(nodes, self._depth)
            lit_fractions(seen, self._depth, np.float32(4.0), at_points[k])
            for nodes, out in zip(hair, at_strands, strict=True):
                lit_fractions(nodes.reshape(-1, 3), self._depth, np.float32(9.0), out[k])
        return at_points, at_strands


def illuminate(
    lights: Lights,
    reach: FloatArray,
    normals: FloatArray,
    occlusion: FloatArray,
    gloss: FloatArray,
    parts: NDArray[np.uint8],
) -> tuple[FloatArray, FloatArray]:
    """Diffuse and mirror-like light at the vertices.

    Args:
        lights: of the portrait.
        reach: (L, V) share of each light that arrives.
        normals: (V, 3) camera axes.
        occlusion: (V,) visible part of the sky.
        gloss: (V,) strength of the highlight.
        parts: (V,) part codes of `training.appearance.surface`.

    Returns:
        (V, 3) light to multiply with the reflectance, and (V, 3) highlights to add.
    """
    count = len(lights.directions)
    half = lights.directions + _TO_CAMERA
    half = half / np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
    # Schlick's Fresnel term, relative to its value at normal incidence (0.028 for skin).
    fresnel = 1 + 8 * (1 - np.clip(half[:, 2], 0, 1)) ** 5
    # Enough of a microfacet normalization to keep the highlight's energy even.
    strength = 0.5 * (lights.shininess + 8) / 60 * fresnel
    light = np.empty((len(normals), 3), np.float32)
    highlight = np.empty((len(normals), 3), np.float32)
    _illuminate(
        normals,
        occlusion,
        gloss,
        parts,
        np.ascontiguousarray(reach[:count], np.float32),
        lights.directions,
        lights.colors,
        lights.hardness,
        half.astype(np.float32),
        strength.astype(np.float32),
        lights.ambient,
        lights.up,
        np.float32(lights.slant),
        _SCATTER * np.float32(lights.scatter),
        np.float32(lights.occlusion),
        np.float32(lights.shininess),
        light,
        highlight,
    )
    return light, highlight


@numba.njit(cache=True, fastmath=True)
def _illuminate(  # type: ignore[no-untyped-def]
    normals,
    occlusion,
    gloss,
    parts,
    reach,
    directions,
    colors,
    hardness,
    half,
    strength,
    ambient,
    up,
    slant,
    wrap,
    occlusion_power,
    shininess,
    light,
    highlight,
):
    one = np.float32(1.0)
    zero = np.float32(0.0)
    for i in range(normals.shape[0]):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        if parts[i] == SKIN or parts[i] == PROP:
            sky = occlusion[i] ** occlusion_power
        elif parts[i] == EYEBALL:
            sky = np.float32(0.6)
        else:
            sky = np.float32(0.5)
        sky *= one + slant * (nx * up[0] + ny * up[1] + nz * up[2])
        for c in range(3):
            light[i, c] = ambient[c] * sky
            highlight[i, c] = zero
        softened = np.float32(0.35) * occlusion[i]
        for j in range(directions.shape[0]):
            facing = nx * directions[j, 0] + ny * directions[j, 1] + nz * directions[j, 2]
            arrives = reach[j, i]
            soft = max(arrives, softened)
            visible = hardness[j] * arrives + (one - hardness[j]) * soft
            if parts[i] == TEETH:
                visible = max(visible, np.float32(0.35))
            for c in range(3):
                wrapped = (facing + wrap[c]) / (one + wrap[c])
                if wrapped > zero:
                    light[i, c] += colors[j, c] * wrapped * visible
            mirror = nx * half[j, 0] + ny * half[j, 1] + nz * half[j, 2]
            if facing > zero and mirror > np.float32(0.5):
                lobe = mirror**shininess * strength[j] * gloss[i] * visible
                for c in range(3):
                    highlight[i, c] += lobe * colors[j, c]
