"""Skin tone as the individual typology angle, and the color of skin that has it.

ITA = arctan((L* - 50) / b*) of CIE L*a*b* under D65 (Chardon et al., "Skin color typology and
suntanning pathways", 1991): above 55 degrees very light, below -30 dark; people cover about -60 to
60. Angles are drawn evenly over that range, so that no tone is the rule and others exceptions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import DoubleArray, FloatArray

DARKEST, LIGHTEST = -60.0, 60.0

# IEC 61966-2-1: linear sRGB to XYZ, and the white of D65.
_XYZ_FROM_RGB = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
_RGB_FROM_XYZ = np.linalg.inv(_XYZ_FROM_RGB)
_WHITE = _XYZ_FROM_RGB.sum(axis=1)
_KNEE = 6 / 29

# Redness and yellowness that go with an angle: spectrophotometers find tanned and brown skin the
# yellowest, the darkest and the lightest skin less so.
_ANGLES = [-60.0, -30.0, 0.0, 20.0, 40.0, 60.0]
_REDNESS = [8.0, 11.0, 12.5, 12.0, 11.0, 9.5]
_YELLOWNESS = [9.5, 14.5, 19.5, 19.5, 17.0, 13.0]


def lab_from_linear(colors: NDArray[np.floating]) -> DoubleArray:
    """CIE L*a*b* (..., 3), D65, of linear sRGB colors (..., 3)."""
    t = np.asarray(colors, np.float64) @ _XYZ_FROM_RGB.T / _WHITE
    f = np.where(t > _KNEE**3, np.cbrt(t), t / (3 * _KNEE**2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def linear_from_lab(lab: NDArray[np.floating]) -> DoubleArray:
    """Linear sRGB (..., 3) of CIE L*a*b* (..., 3); outside [0, 1] where sRGB has no such color."""
    lightness, red, yellow = np.moveaxis(np.asarray(lab, np.float64), -1, 0)
    y = (lightness + 16) / 116
    f = np.stack([y + red / 500, y, y - yellow / 200], axis=-1)
    t = np.where(f > _KNEE, f**3, 3 * _KNEE**2 * (f - 4 / 29))
    return t * _WHITE @ _RGB_FROM_XYZ.T


def typology_angle(colors: NDArray[np.floating]) -> DoubleArray:
    """Individual typology angle (...,) in degrees of linear sRGB colors (..., 3)."""
    lab = lab_from_linear(colors)
    return np.degrees(np.arctan2(lab[..., 0] - 50, lab[..., 2]))


def melanin_of(angle: float) -> float:
    """Position on the tone range, 0 lightest to 1.15 darkest, of a typology angle in degrees."""
    return 1.15 * (LIGHTEST - angle) / (LIGHTEST - DARKEST)


def angle_of(melanin: float) -> float:
    """Typology angle in degrees of a position on the tone range, see `melanin_of`."""
    return LIGHTEST - melanin / 1.15 * (LIGHTEST - DARKEST)


def draw_skin_color(rng: np.random.Generator, angle: float) -> FloatArray:
    """(3,) linear sRGB of skin with a typology angle in degrees, more or less red and yellow."""
    red = np.interp(angle, _ANGLES, _REDNESS) * np.exp(rng.normal(0, 0.16))
    yellow = np.interp(angle, _ANGLES, _YELLOWNESS) * np.exp(rng.normal(0, 0.08))
    lightness = 50 + yellow * np.tan(np.radians(angle))
    color = linear_from_lab(np.array([lightness, red, yellow]))
    return np.clip(color, 0.004, 0.95).astype(np.float32)
