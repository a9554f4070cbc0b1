"""The renderer for CUDA: visibility from nvdiffrast (Laine et al. 2020).

nvdiffrast has a license of its own (non-commercial) and is built on the machine, so it is no
dependency: this module imports it only when a renderer is made.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from facewright.models.camera import CROP_SIZE, FOCAL_LENGTH
from facewright.models.camera_torch import depth
from facewright.training.render.interpolation import NEAR, Rendering, Visibility, interpolate

_FAR: Final = 1e5
"""mm; what lies beyond is cut away."""


def clip_positions(posed_mm: Tensor) -> Tensor:
    """Homogeneous clip coordinates (N, V, 4) of posed points (N, V, 3) mm.

    x / w and y / w run from -1 to 1 over the crop, y downwards: nvdiffrast's first row is the
    lowest in clip space and the first of a picture is the top one.  z / w runs from -1 at `NEAR`
    to 1 far away.
    """
    depths = depth(posed_mm)
    scale = 2.0 * FOCAL_LENGTH / CROP_SIZE
    slope = (_FAR + NEAR) / (_FAR - NEAR)
    offset = -2.0 * _FAR * NEAR / (_FAR - NEAR)
    return torch.stack(
        [scale * posed_mm[..., 0], -scale * posed_mm[..., 1], slope * depths + offset, depths],
        dim=-1,
    )


class NvdiffrastRenderer:
    """Renders float32 tensors on the given device.

    Raises ImportError when nvdiffrast is not installed.
    """

    def __init__(self, device: torch.device) -> None:
        import nvdiffrast.torch as nvdiffrast  # type: ignore[import-not-found]

        self._nvdiffrast: Any = nvdiffrast
        self._context: Any = nvdiffrast.RasterizeCudaContext(device=device)

    def __call__(
        self, posed_mm: Tensor, triangles: Tensor, attributes: Tensor, size: int = CROP_SIZE
    ) -> Rendering:
        """See `training.render.renderer.Renderer`."""
        with torch.no_grad():
            raster, _ = self._nvdiffrast.rasterize(
                self._context,
                clip_positions(posed_mm).contiguous(),
                triangles.int().contiguous(),
                resolution=[size, size],
                grad_db=False,
            )
        # Channels are the coordinates of the first two corners, depth, and the id plus one.
        first, second = raster[..., 0], raster[..., 1]
        visibility = Visibility(
            raster[..., 3].long() - 1, torch.stack([first, second, 1.0 - first - second], -1)
        )
        return interpolate(posed_mm, triangles, attributes, visibility)
