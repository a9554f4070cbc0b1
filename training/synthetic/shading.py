"""Colors of the pixels that see the head: skin grain and folds, eyes, teeth, cloth."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import FloatArray, float32
from facewright.training.appearance.skin import EyeLook
from facewright.training.synthetic.creases import HALF_WIDTH_MM, PIXELS_PER_MM, TOP_MM
from facewright.training.synthetic.raster import FrameBuffer

GRAIN_SIZE = 64
_GRAIN_PER_MM = np.float32(2.2)
_RELIEF_LEFT, _RELIEF_TOP = np.float32(HALF_WIDTH_MM), np.float32(TOP_MM)
_RELIEF_PER_MM = np.float32(PIXELS_PER_MM)
# Folds are seen from the front: on the sides of the head there are none.
_RELIEF_BACK = np.float32(-45.0)


def grain_volume() -> FloatArray:
    """Tileable (64, 64, 64) noise of unit variance: pores and fine mottling of skin."""
    white = np.random.default_rng(41).standard_normal((GRAIN_SIZE,) * 3)
    f = np.fft.fftfreq(GRAIN_SIZE)
    radius = np.sqrt(f[:, None, None] ** 2 + f[None, :, None] ** 2 + f[None, None, :] ** 2)
    band = np.exp(-((radius / 0.28) ** 2)) * (1 - np.exp(-((radius / 0.05) ** 2)))
    volume = np.fft.ifftn(np.fft.fftn(white) * band).real
    return np.ascontiguousarray(volume / volume.std(), np.float32)


@dataclass(frozen=True, eq=False)
class EyeShading:
    """What the eye pixels need.

    Attributes:
        look: the person's eyes.
        centers: (2, 3) reference mm, image-left eye first.
        gaze: (2, 3) unit vectors in model axes.
        highlights: (L, 3) unit directions in model axes that mirror a light to the camera.
        light_colors: (L, 3).
    """

    look: EyeLook
    centers: FloatArray
    gaze: FloatArray
    highlights: FloatArray
    light_colors: FloatArray

    def packed(self) -> FloatArray:
        """Numbers of the look in one row, in the order the kernel reads them."""
        look = self.look
        return float32(
            [
                *look.sclera,
                *look.iris,
                look.iris_radius,
                look.pupil_radius,
                look.limbal_ring,
                look.redness,
            ]
        )


@dataclass(frozen=True)
class Cloth:
    """A garment: four linear colors (12 numbers) and its pattern.

    Attributes:
        colors: of the cloth, of its pattern or of the shirt under a jacket, of the tie, of
            headwear.
        pattern: 0 plain, 1 horizontal stripes, 2 vertical stripes, 3 checks, 4 jacket.
        period: mm of the pattern; half the width of a tie.
        top: reference mm at which the collar meets the throat.
    """

    colors: tuple[float, ...]
    pattern: int
    period: float
    top: float


def shade_pixels(
    frame: FrameBuffer,
    triangles: NDArray[np.int32],
    triangle_parts: NDArray[np.uint8],
    attributes: FloatArray,
    grain: FloatArray,
    grain_strength: float,
    eyes: EyeShading,
    cloth: Cloth,
    teeth_edge: float,
    face: NDArray[np.bool_],
    relief: FloatArray,
    slope_light: FloatArray,
    image: FloatArray,
    bare: FloatArray,
) -> None:
    """Write the head's linear colors over `image` (S, S, 3).

    `attributes` (V, 14): reflectance 3, light 3, highlight 3, reference position 3 (mm), cloth
    weight (above 0.5 the pixel shows the garment, below -0.5 headwear), share of painted hair.
    `teeth_edge`: reference mm where the rows meet. `face` (T,): triangles of the face
    model's skin; `bare` (S, S) float32 becomes the share of bare skin where one of them is seen
    without cloth, 0 elsewhere. `relief` (H, W, 3): of `training.synthetic.creases`;
    `slope_light` (2,): share of the light that a slope of one to the right or up takes away.
    """
    _shade(
        frame.triangle_ids,
        frame.weights,
        triangles,
        triangle_parts,
        attributes,
        grain,
        np.float32(grain_strength),
        eyes.packed(),
        eyes.centers,
        eyes.gaze,
        eyes.highlights,
        eyes.light_colors,
        float32(cloth.colors),
        cloth.pattern,
        np.float32(cloth.period),
        np.float32(cloth.top),
        np.float32(teeth_edge),
        face,
        relief,
        slope_light,
        image,
        bare,
    )


@numba.njit(cache=True, fastmath=True, inline="always")
def _ramp(x, low, high):  # type: ignore[no-untyped-def]
    t = min(max((x - low) / (high - low), np.float32(0.0)), np.float32(1.0))
    return t * t * (np.float32(3.0) - np.float32(2.0) * t)


@numba.njit(cache=True, fastmath=True)
def _shade(  # type: ignore[no-untyped-def]
    ids,
    weights,
    triangles,
    triangle_parts,
    attributes,
    grain,
    grain_strength,
    look,
    centers,
    gaze,
    highlights,
    light_colors,
    cloth_colors,
    pattern,
    period,
    cloth_top,
    teeth_edge,
    face,
    relief,
    slope_light,
    image,
    bare,
):
    height, width = ids.shape
    one = np.float32(1.0)
    size = grain.shape[0]
    v = np.empty(14, np.float32)
    for row in range(height):
        for column in range(width):
            t = ids[row, column]
            bare[row, column] = np.float32(0.0)
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            wb = weights[row, column, 0]
            wc = weights[row, column, 1]
            wa = one - wb - wc
            for k in range(14):
                v[k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
            part = triangle_parts[t]
            if part == 2:
                side = 1 if v[9] > 0 else 0
                x = v[9] - centers[side, 0]
                y = v[10] - centers[side, 1]
                z = v[11] - centers[side, 2]
                gx, gy, gz = gaze[side, 0], gaze[side, 1], gaze[side, 2]
                ahead = x * gx + y * gy + z * gz
                ex, ey, ez = x - ahead * gx, y - ahead * gy, z - ahead * gz
                radius = np.sqrt(ex * ex + ey * ey + ez * ez)
                if ahead < 0:
                    radius = np.float32(20.0)
                veins = look[9] * _ramp(radius, np.float32(6.0), np.float32(11.0))
                angle = np.arctan2(ey, ex)
                streak = grain[
                    int(angle * np.float32(9.0) + np.float32(32.0)) % size,
                    int(radius * np.float32(1.3)) % size,
                    side,
                ]
                inner = one + np.float32(0.22) * streak
                near_pupil = (radius - look[7] - np.float32(0.8)) / np.float32(0.9)
                inner *= one + np.float32(0.4) * np.exp(np.float32(-0.5) * near_pupil * near_pupil)
                at_edge = (radius - look[6] + np.float32(0.45)) / np.float32(0.6)
                inner *= one - look[8] * np.exp(np.float32(-0.5) * at_edge * at_edge)
                iris = _ramp(look[6] - radius, np.float32(-0.35), np.float32(0.35))
                pupil = _ramp(look[7] - radius, np.float32(-0.25), np.float32(0.25))
                # The upper lid and lashes shade the top, the sockets the corners.
                shade = one - np.float32(0.55) * _ramp(y, np.float32(0.5), np.float32(6.0))
                shade *= one - np.float32(0.45) * _ramp(abs(x), np.float32(6.0), np.float32(12.0))
                length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
                for k in range(3):
                    tint = one - veins * (np.float32(0.1) if k == 0 else np.float32(0.5))
                    color = look[k] * tint
                    color += iris * (look[3 + k] * inner - color)
                    color += pupil * (np.float32(0.004) - color)
                    v[6 + k] = np.float32(0.0)
                    v[k] = color * shade
                for j in range(highlights.shape[0]):
                    cosine = (
                        x * highlights[j, 0] + y * highlights[j, 1] + z * highlights[j, 2]
                    ) / length
                    spot = _ramp(cosine, np.float32(0.985), np.float32(0.996)) * shade
                    for k in range(3):
                        v[6 + k] += np.float32(0.5) * spot * light_colors[j, k]
            elif part == 3:
                # Gaps between the teeth, and gums away from their edges.
                along = (v[9] / np.float32(7.5) + np.float32(10.5)) % one - np.float32(0.5)
                gap = one - np.float32(0.35) * _ramp(abs(along), np.float32(0.36), np.float32(0.5))
                gum = _ramp(abs(v[10] - teeth_edge), np.float32(8.5), np.float32(10.5))
                for k in range(3):
                    pink = np.float32(0.32) if k == 0 else np.float32(0.11)
                    v[k] = v[k] * gap + gum * (pink - v[k] * gap)
            elif v[12] > 0.5 or v[12] < -0.5:
                first = True
                if pattern == 1 or pattern == 3:
                    first = (v[10] / period) % one < 0.5
                if pattern == 2 or pattern == 3:
                    across = ((v[9] + np.float32(900.0)) / period) % one < 0.5
                    first = across if pattern == 2 else first == across
                offset = 0 if first else 3
                if pattern == 4:
                    # A shirt collar, and a wedge of shirt and tie between the lapels.
                    below = cloth_top - v[10]
                    wedge = np.float32(34.0) - np.float32(0.25) * below
                    if v[11] > np.float32(-100.0) and abs(v[9]) < wedge:
                        tie = abs(v[9]) < period and below > np.float32(6.0)
                        offset = 6 if tie else 3
                    elif v[12] < np.float32(0.98):
                        offset = 3
                    else:
                        offset = 0
                weave = grain[
                    int(v[9] * np.float32(1.7) + np.float32(640.0)) % size,
                    int(v[10] * np.float32(1.7) + np.float32(1280.0)) % size,
                    int(v[11] * np.float32(0.4) + np.float32(640.0)) % size,
                ]
                if v[12] < 0:
                    offset = 9
                for k in range(3):
                    v[k] = cloth_colors[offset + k] * (one + np.float32(0.12) * weave)
                    v[6 + k] *= np.float32(0.15)
            elif part == 0:
                if face[t]:
                    bare[row, column] = one - v[13]
                pore = grain[
                    int(v[9] * _GRAIN_PER_MM + np.float32(640.0)) % size,
                    int(v[10] * _GRAIN_PER_MM + np.float32(1280.0)) % size,
                    int(v[11] * _GRAIN_PER_MM + np.float32(1280.0)) % size,
                ]
                v[0] *= one + np.float32(0.6) * grain_strength * pore
                v[1] *= one + grain_strength * pore
                v[2] *= one + grain_strength * pore
                shine = max(np.float32(0.0), one + np.float32(9.0) * grain_strength * pore)
                for k in range(3):
                    v[6 + k] *= shine
                if v[11] > _RELIEF_BACK:
                    x = int((v[9] + _RELIEF_LEFT) * _RELIEF_PER_MM)
                    y = int((_RELIEF_TOP - v[10]) * _RELIEF_PER_MM)
                    if x >= 0 and y >= 0 and x < relief.shape[1] and y < relief.shape[0]:
                        turned = relief[y, x, 0] * slope_light[0] + relief[y, x, 1] * slope_light[1]
                        turned = one - min(max(turned, np.float32(-0.5)), np.float32(0.6))
                        # Light that scatters in a valley comes out red.
                        dark = min(relief[y, x, 2], np.float32(1.4))
                        v[3] *= turned * (one - np.float32(0.28) * dark)
                        v[4] *= turned * (one - np.float32(0.38) * dark)
                        v[5] *= turned * (one - np.float32(0.40) * dark)
            for k in range(3):
                image[row, column, k] = v[k] * v[3 + k] + v[6 + k]
