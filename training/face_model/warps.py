"""Own smooth displacement fields for what no MakeHuman target moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facewright.training.face_model.cage import MM_PER_UNIT


@dataclass(frozen=True)
class Warp:
    """A Gaussian bump of displacement on both sides of the face.

    Attributes:
        center: (|x|, y, z) mm on the reference head, origin between the eyeballs.
        width: standard deviations of the bump along x, y, z, mm.
        displacement: (outward, up, forward) mm at the center for weight 1.
    """

    center: tuple[float, float, float]
    width: tuple[float, float, float]
    displacement: tuple[float, float, float]

    def field(self, reference: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """(S, 3) float32 displacement of base-mesh vertices, in base-mesh units.

        Args:
            reference: (S, 3) reference head, base-mesh units.
            origin: (3,) mm, the middle between its eyeballs.
        """
        position = reference * MM_PER_UNIT - origin
        side = np.sign(position[:, :1])
        offset = np.concatenate([np.abs(position[:, :1]), position[:, 1:]], axis=1) - self.center
        weight = np.exp(-0.5 * ((offset / self.width) ** 2).sum(axis=1, keepdims=True))
        outward = np.concatenate([side, np.ones((len(position), 2))], axis=1)
        moved = weight * outward * np.array(self.displacement) / MM_PER_UNIT
        return moved.astype(np.float32)


#: Name -> field of one unit; controls use them with either sign.
WARPS: dict[str, Warp] = {
    "warp/mouth-width": Warp((26.0, -71.0, 20.0), (15.0, 15.0, 30.0), (10.0, 0.0, 0.0)),
    "warp/mouth-corner-depth": Warp((28.0, -71.0, 20.0), (11.0, 14.0, 30.0), (0.0, 0.0, -10.0)),
}
