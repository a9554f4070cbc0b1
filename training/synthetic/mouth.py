"""The tongue that an open mouth shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.synthetic.props import Prop, ellipsoid, prop

FloatArray = NDArray[np.float32]

_UPPER, _LOWER, _CORNERS = 62, 66, (60, 64)
_OPEN_MM = 5.0


def tongue(rng: np.random.Generator, landmarks: FloatArray) -> list[Prop]:
    """A tongue behind the lower teeth of an open mouth, nothing in a closed one.

    Args:
        rng: source of its height and colour.
        landmarks: (68, 3) mm, model space.
    """
    upper, lower = landmarks[_UPPER].astype(np.float64), landmarks[_LOWER].astype(np.float64)
    gap = float(upper[1] - lower[1])
    if gap < _OPEN_MM:
        return []
    wide = 0.3 * float(np.linalg.norm(landmarks[_CORNERS[1]] - landmarks[_CORNERS[0]]))
    centre = lower + [0, rng.uniform(-6, 0.15 * gap - 3), -rng.uniform(28, 34)]
    colour = np.float32([0.30, 0.105, 0.10]) * rng.uniform(0.7, 1.2)
    return [prop(ellipsoid(centre, [wide, 6.5, 19]), colour, 0.25)]
