"""Where each quantity lives in the coefficient vector that R-Net regresses.

Two layouts exist: the paper's 239 numbers (Deng et al. 2019, section 3, monochrome light)
and the 257 of the released checkpoints (light per color channel).  Everything else in the
project asks a layout instead of counting columns.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

from facewright.models.light import BAND_COUNT


class Coefficients(NamedTuple):
    """The parts of N coefficient vectors, all NumPy arrays or all torch tensors.

    Shape and albedo coefficients are in standard deviations (1 = one sigma).
    """

    identity: Any
    """(N, 80)."""
    expression: Any
    """(N, 64)."""
    albedo: Any
    """(N, 80)."""
    light: Any
    """(N, channels, 9) spherical-harmonics coefficients, ready for `light.shade`."""
    rotation: Any
    """(N, 3) pitch, yaw, roll in radians; see `camera.rotation_matrix`."""
    translation: Any
    """(N, 3) in units of 100 mm."""


@dataclass(frozen=True)
class CoefficientLayout:
    """Column ranges of a coefficient vector.

    `light_offset` is added to the first spherical-harmonics coefficient of every light
    channel by `split` and taken off again by `join`: networks of the 257 layout regress
    the difference from an ambient light.
    """

    name: str
    identity: slice
    expression: slice
    albedo: slice
    light: slice
    rotation: slice
    translation: slice
    light_channels: int
    light_offset: float

    @property
    def size(self) -> int:
        """Length of the coefficient vector."""
        return max(part.stop for part in self._parts())

    def split(self, x: Any) -> Coefficients:
        """Cut (N, size) vectors, NumPy or torch, into their parts.

        `light` is a copy with the offset added; the other parts are views of `x`.
        Raises ValueError when `x` is not (N, size).
        """
        if x.ndim != 2 or x.shape[1] != self.size:
            raise ValueError(f"expected (N, {self.size}) coefficients, got {tuple(x.shape)}")
        light = x[:, self.light].reshape(-1, self.light_channels, BAND_COUNT) + 0.0
        light[..., 0] += self.light_offset
        return Coefficients(
            identity=x[:, self.identity],
            expression=x[:, self.expression],
            albedo=x[:, self.albedo],
            light=light,
            rotation=x[:, self.rotation],
            translation=x[:, self.translation],
        )

    def join(self, coefficients: Coefficients) -> Any:
        """Inverse of `split`: (N, size), of the parts' own array library and dtype.

        Raises ValueError when a part's shape does not fit the layout.
        """
        light = coefficients.light + 0.0
        light[..., 0] -= self.light_offset
        parts = coefficients._replace(light=light.reshape(len(light), -1))
        for name, columns, part in zip(parts._fields, self._parts(), parts, strict=True):
            if part.ndim != 2 or part.shape[1] != columns.stop - columns.start:
                raise ValueError(f"{name} of shape {tuple(part.shape)} does not fit {columns}")
        ordered = [
            part
            for _, part in sorted(
                zip(self._parts(), parts, strict=True), key=lambda pair: pair[0].start
            )
        ]
        # `concatenate` of whichever library made the parts: serving never loads torch.
        library = sys.modules[type(light).__module__.partition(".")[0]]
        return library.concatenate(ordered, 1)

    def _parts(self) -> tuple[slice, ...]:
        return (
            self.identity,
            self.expression,
            self.albedo,
            self.light,
            self.rotation,
            self.translation,
        )


LAYOUT_239 = CoefficientLayout(
    name="239",
    identity=slice(0, 80),
    expression=slice(80, 144),
    albedo=slice(144, 224),
    light=slice(224, 233),
    rotation=slice(233, 236),
    translation=slice(236, 239),
    light_channels=1,
    light_offset=0.0,
)
"""The paper's x = (alpha, beta, delta, gamma, p)."""

LAYOUT_257 = CoefficientLayout(
    name="257",
    identity=slice(0, 80),
    expression=slice(80, 144),
    albedo=slice(144, 224),
    rotation=slice(224, 227),
    light=slice(227, 254),
    translation=slice(254, 257),
    light_channels=3,
    light_offset=0.8,
)
"""The released checkpoints: light per color channel, relative to an ambient 0.8."""


LAYOUTS: dict[str, CoefficientLayout] = {layout.name: layout for layout in (LAYOUT_239, LAYOUT_257)}


def layout_of(coefficients: Any) -> CoefficientLayout:
    """The layout of coefficient vectors (..., size), which their length tells.

    Raises ValueError for another length.
    """
    size = coefficients.shape[-1]
    for layout in LAYOUTS.values():
        if layout.size == size:
            return layout
    raise ValueError(f"no coefficient layout has {size} numbers")
